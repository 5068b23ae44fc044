import Fleet
import Trust

extension AttackReport {
  /// Makes a durable record of kind `attack`. Throws when the audit log can't be written.
  func record(by actor: String = "system", to audit: AuditWriter) async throws {
    try await audit(
      .attack, actor, ["attack": .string(attack.rawValue), "role": .string(role), "reason": .string(reason)])
  }
}

/// The attacks of one sync: each distinct one goes into the audit log once, and no attacker fills it.
actor AttackLedger {
  /// So many distinct ones are recorded by themselves; the others are counted.
  static let limit = 16

  private let audit: AuditWriter
  private(set) var reports: [AttackReport] = []
  private var more: Set<AttackReport> = []

  init(audit: @escaping AuditWriter) { self.audit = audit }

  /// Records it, durably, unless it stands there already. Throws when the audit log can't be written.
  func record(_ report: AttackReport) async throws {
    guard !reports.contains(report) else { return }
    guard reports.count < AttackLedger.limit else {
      if more.count < 1000 { more.insert(report) }
      return
    }
    reports.append(report)
    try await report.record(to: audit)
  }

  /// At the end of the sync: one record for all that were only counted.
  func close() async throws {
    guard !more.isEmpty else { return }
    let counts = Dictionary(grouping: more, by: \.attack)
    more = []
    try await audit(
      .attack, "system",
      [
        "attack": "more", "role": "all", "reason": "further distinct ones in the same sync, by name",
        "counts": .object(
          Dictionary(uniqueKeysWithValues: counts.map { ($0.key.rawValue, JSONValue.integer(Int64($0.value.count))) })),
      ])
  }
}
