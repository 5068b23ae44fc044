import Access
import Fleet
import Host
import Models
import Storage
import Trust

/// Takes in the policy that the fleet signed for this box, keeps it, and verifies it at each start.
///
/// The document lies in `policy/SHA256.json5` before the row in the database names it, and the row is what puts it in
/// force: a kill at any point leaves the last one or the next. What is refused changes nothing.
struct FleetPolicies: Sendable {
  let access: AccessControl
  /// `policy` in the state directory.
  let directory: String
  /// Whose decisions a new policy is tried on; nil: none.
  let log: AuditLog?

  /// No more records are replayed for a trial.
  static let mostReplayed: UInt64 = 200_000

  private func path(_ digest: Digest) -> String { "\(directory)/\(digest.hex).json5" }
  private var serials: SerialFile { SerialFile(path: directory + "/serials.json") }

  /// Whether this one is still to be taken: it is not in force, and was not refused a moment ago.
  func needs(_ target: PolicyTarget) -> Bool {
    access.state.withLock { state in
      !FleetPolicies.holds(target, state.fleet) && state.refusal?.sha256 != target.sha256
    }
  }

  private static func holds(_ target: PolicyTarget, _ fleet: FleetStanding?) -> Bool {
    guard let fleet, let row = fleet.row, fleet.damage == nil else { return false }
    return row.sha256 == target.sha256 && row.path == target.path
  }

  /// Fetches a policy that both repositories name, and puts it in force when nothing stands against it. False when it is
  /// in force already.
  ///
  /// Throws `FleetPolicyRefused`, which is on record; an `AttackReport`, which is not yet; and what the source, the disk
  /// and the audit log throw. In each case what was in force stays.
  func take(_ target: PolicyTarget, from source: any FleetSource, registry: ModelRegistry) async throws -> Bool {
    if FleetPolicies.holds(target, access.state.withLock(\.fleet)) {
      try await registry.renewVoucher(target)
      return false
    }
    guard target.length <= UInt64(FleetPolicy.limit) else {
      throw AttackReport(.endlessData, role: "policy", reason: "more than \(FleetPolicy.limit) bytes")
    }
    let bytes = try await source.target(target.filePath, target.sha256, limit: Int(target.length))
    guard UInt64(bytes.count) == target.length, Digest(of: bytes) == target.sha256 else {
      throw AttackReport(.tamperedContent, role: "policy", reason: "its bytes do not have the signed digest")
    }
    return try await access.changes.run { try await adopt(target, bytes, registry) }
  }

  // MARK: taking over

  /// What stands against a policy, in words.
  private struct Objection: Error { let reason: String }

  private func adopt(_ target: PolicyTarget, _ bytes: [UInt8], _ registry: ModelRegistry) async throws -> Bool {
    do {
      try demandNewer(target)
      let policy = try read(target, bytes)
      let trial = try await tried(policy, isKnown: access.state.withLock { $0.fleet?.row?.sha256 == target.sha256 })
      do { try await registry.vouch(for: target) } catch RegistryError.unvouched(_, let reason) {
        throw Objection(reason: "nobody vouches for it: \(reason)")
      }
      let row = FleetPolicyRow(
        name: target.name.description, path: target.path, sha256: target.sha256, serial: target.serial, document: bytes,
        adoptedAt: access.now(), replayed: trial?.replayed ?? 0, changed: trial?.changed ?? 0)
      try await apply(row, policy, trial)
      try await registry.forgetVouchers(allBut: target)
      return true
    } catch let objection as Objection {
      let refused = FleetPolicyRefused(
        name: target.name.description, serial: target.serial, sha256: target.sha256, reason: objection.reason)
      access.state.withLock { $0.refusal = refused }
      try await access.record(
        .policy, "system",
        [
          "event": "refused", "name": .string(refused.name), "serial": .integer(refused.serial),
          "sha256": .string(refused.sha256.hex), "reason": .string(refused.reason.brief),
        ])
      throw refused
    }
  }

  /// Never back: the serial rises with each policy of a name. The last one of a name may come again, after another's.
  private func demandNewer(_ target: PolicyTarget) throws {
    // What is damaged says nothing.
    let row = access.state.withLock { state in state.fleet.flatMap { $0.damage == nil ? $0.row : nil } }
    var had = serials.load()[target.name.description] ?? SerialFile.Had(serial: 0)
    if let row, row.name == target.name.description, row.serial >= had.serial {
      had = SerialFile.Had(serial: row.serial, sha256: row.sha256)
    }
    guard had.admits(target.serial, target.sha256) else {
      throw AttackReport(
        .rollback, role: "policy",
        reason: "serial \(target.serial) where the box has had \(had.serial)"
          + (target.serial == had.serial ? ", otherwise" : ""))
    }
  }

  private func read(_ target: PolicyTarget, _ bytes: [UInt8]) throws(Objection) -> FleetPolicy {
    let policy: FleetPolicy
    do { policy = try FleetPolicy(parsing: bytes) } catch { throw Objection(reason: "\(error)") }
    guard policy.serial == target.serial else {
      throw Objection(reason: "it says serial \(policy.serial), and the signed metadata \(target.serial)")
    }
    guard !policy.isExpired(at: access.now()) else {
      throw Objection(reason: "it expired at \(TrustedClock.text(policy.expires))")
    }
    if let error = policy.errors().first { throw Objection(reason: "\(error)") }
    return policy
  }

  private struct Trial: Sendable {
    var replayed: Int
    var changed: Int
    /// Of the changed ones.
    var denied: Int
  }

  /// Puts it together with what the box adds, and replays the decisions of the last days; nil where there is no log, or
  /// where it was tried before.
  private func tried(_ policy: FleetPolicy, isKnown: Bool) async throws -> Trial? {
    let (file, stored, fleet) = access.state.withLock { ($0.file, $0.stored, $0.fleet) }
    let next = policy.combined(with: file, bound: stored).policy
    guard !next.administrators.isEmpty || !policy.policy.administrators.isEmpty else {
      throw Objection(reason: "no binding would let anybody give roles any more")
    }
    guard let log, !isKnown else { return nil }
    // One that has expired would make the next one look like a change of everything.
    let now = fleet?.policy?.combined(with: file, bound: stored).policy ?? access.standing
    let (access, days) = (access, policy.trial.days)
    let simulation = try await offPool {
      try access.simulate(next, against: now, days: days, log: log, most: FleetPolicies.mostReplayed)
    }
    // What the policy in force would decide otherwise too is no change of this one's.
    let changes = simulation.changes.filter { $0.isAllowedNow == $0.wasAllowed }
    let trial = Trial(
      replayed: simulation.replayed, changed: changes.reduce(simulation.unlisted) { $0 + $1.times },
      denied: changes.filter(\.wasAllowed).reduce(0) { $0 + $1.times })
    // Callers, not decisions: who is to lose a role must not be able to keep it by asking often.
    if let most = policy.trial.mostChanged, simulation.concerned.count > most {
      throw Objection(
        reason:
          "\(simulation.concerned.count) callers of the last \(days) days would lose or gain something "
          + "(\(trial.changed) of \(trial.replayed) decisions would come out otherwise), and it lets \(most); "
          + "see: skerry role simulate")
    }
    return trial
  }

  private func apply(_ row: FleetPolicyRow, _ policy: FleetPolicy, _ trial: Trial?) async throws {
    try await offPool { [directory] in
      try DurableFile.makeDirectory(directory, mode: 0o700)
      try DurableFile.replace("\(directory)/\(row.sha256.hex).json5", with: row.document)
    }
    var fields: [String: JSONValue] = [
      "event": "adopted", "name": .string(row.name), "serial": .integer(row.serial), "sha256": .string(row.sha256.hex),
      "expires": .integer(policy.expires),
    ]
    if let trial {
      fields["replayed"] = .integer(Int64(trial.replayed))
      fields["changed"] = .integer(Int64(trial.changed))
      fields["denied"] = .integer(Int64(trial.denied))
    }
    try await access.record(.policy, "system", fields)
    try await access.database.write { try row.save($0) }
    try access.hold(FleetStanding(row: row, policy: policy, damage: nil))
    try await settle(row)
  }

  /// What follows the row and may be made up for at the next start: the serials, and the files of policies before.
  private func settle(_ row: FleetPolicyRow) async throws {
    let (serials, directory) = (serials, directory)
    try await offPool {
      var had = serials.load()
      let kept = SerialFile.Had(serial: row.serial, sha256: row.sha256)
      if had[row.name] != kept, (had[row.name]?.serial ?? 0) <= kept.serial {
        had[row.name] = kept
        try serials.save(had)
      }
      for name in try DurableFile.names(in: directory)
      where name != "serials.json" && name != "\(row.sha256.hex).json5" {
        try DurableFile.remove("\(directory)/\(name)")
      }
    }
  }

  // MARK: the start

  /// At the start, before anybody is served: what was kept must be what was signed for this box. What is not is on record
  /// as an attack, and only the stale roles count until a sync brings what is signed.
  func recall(_ registry: ModelRegistry) async throws {
    let row = try await access.database.read { try FleetPolicyRow.load($0) }
    let had = serials.load()
    guard let row else {
      if !had.isEmpty {
        try await distrust(
          nil, nil, AttackReport(.tamperedContent, role: "policy", reason: "the database has lost the fleet's policy"))
      }
      return
    }
    let file = try? DurableFile.read(path(row.sha256), limit: FleetPolicy.limit)
    var report: AttackReport?
    if file.map({ Digest(of: $0) }) != row.sha256 {
      report = AttackReport(
        .tamperedContent, role: "policy", reason: "the kept file does not have the digest that was signed")
    }
    if let had = had[row.name], !had.admits(row.serial, row.sha256) {
      report = AttackReport(
        .rollback, role: "policy",
        reason: "serial \(row.serial) is kept where the box has had \(had.serial)"
          + (row.serial == had.serial ? ", otherwise" : ""))
    }
    let whole = [file, row.document].compactMap(\.self).first { Digest(of: $0) == row.sha256 }
    var policy = whole.flatMap { try? FleetPolicy(parsing: $0) }
    if let failure = try await registry.voucherFailure(of: row.path, row.sha256) {
      policy = nil
      report = AttackReport(.foreignImage, role: "policy", reason: failure)
    }
    if let report { return try await distrust(row, policy, report) }
    guard let policy else {
      return try await distrust(row, nil, AttackReport(.malformed, role: "policy", reason: "it can't be read"))
    }
    try access.hold(FleetStanding(row: row, policy: policy, damage: nil))
    try await settle(row)
  }

  private func distrust(_ row: FleetPolicyRow?, _ policy: FleetPolicy?, _ report: AttackReport) async throws {
    try access.hold(FleetStanding(row: row, policy: policy, damage: report.reason))
    Log.shared.error(
      "the fleet's policy on this box is not believed; only its stale roles count", ["reason": "\(report)"])
    try await report.record(to: access.audit)
  }
}
