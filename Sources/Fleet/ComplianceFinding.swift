import Trust

/// One thing about a box that is not as it should be, and what to do.
public struct ComplianceFinding: Codable, Sendable, Hashable {
  public enum Severity: String, Codable, Sendable, CaseIterable, Comparable {
    /// A promise is broken: act now.
    case critical
    /// A promise is at risk: act soon.
    case warning
    /// Worth knowing.
    case notice

    public static func < (left: Severity, right: Severity) -> Bool {
      allCases.firstIndex(of: left) ?? 0 < allCases.firstIndex(of: right) ?? 0
    }
  }

  /// A stable name for programs: "model-corrupt".
  public let id: String
  public let severity: Severity
  /// "model:smollm2", "audit:log", "box:NAME", "role:admin", "token:app1".
  public let subject: String
  public let message: String
  /// What to do.
  public let remedy: String
}

extension ComplianceFinding {
  /// Without a sync for so long a box is worth a look, in seconds: 30 days. Offline is normal; forgotten is not.
  static let longSilence: Int64 = 30 * 86_400
  /// Bytes below which the disk is nearly full: the audit log needs room, or nothing is served.
  static let littleRoom: UInt64 = 512 << 20
  /// A clock so far ahead of the hub's is worth a look, in seconds.
  static let farAhead: Int64 = 86_400

  static func findings(
    now: Int64, device: ComplianceReport.Device, models: [ComplianceReport.Model], roles: [ComplianceReport.Role],
    tokens: [ComplianceReport.Token], audit: ComplianceReport.Audit, repository: ComplianceReport.Repository,
    sync: ComplianceReport.Sync, sandbox: ComplianceReport.Sandbox, clock: ComplianceReport.Clock?,
    policy: ComplianceReport.Policy? = nil
  ) -> [ComplianceFinding] {
    let all =
      models.flatMap(about) + about(audit, device) + about(sandbox) + about(sync, device, now) + about(repository, now)
      + about(clock, device, now) + about(policy)
      + roles.compactMap(about) + tokens.compactMap { about($0, now) } + about(device)
    // The order within a severity is the one above.
    return ComplianceFinding.Severity.allCases.flatMap { severity in all.filter { $0.severity == severity } }
  }

  private static func about(_ model: ComplianceReport.Model) -> [ComplianceFinding] {
    var found: [ComplianceFinding] = []
    let subject = "model:\(model.name)"
    let label = "\(model.name) \(model.version)"
    if model.state == "corrupt" {
      found.append(
        ComplianceFinding(
          id: "model-corrupt", severity: .critical, subject: subject,
          message: "The stored weights of \(label) don't have their signed digest; they are not served.",
          remedy: "Run skerry sync to mend them, and find out who or what wrote to the state directory."))
    } else if let problem = model.problem {
      found.append(
        ComplianceFinding(
          id: "model-problem", severity: .warning, subject: subject, message: "\(label): \(problem)",
          remedy: "Publish a corrected version, or run skerry sync once the cause is gone."))
    }
    if model.signers.isEmpty {
      found.append(
        ComplianceFinding(
          id: "model-unsigned", severity: .critical, subject: subject,
          message: "Nobody's signature vouches for \(label).",
          remedy: "Publish it in a signed repository and run skerry sync."))
    }
    return found
  }

  private static func about(
    _ audit: ComplianceReport.Audit, _ device: ComplianceReport.Device
  ) -> [ComplianceFinding] {
    var found: [ComplianceFinding] = []
    if audit.cosignedSize == 0, audit.size > 0 {
      found.append(
        ComplianceFinding(
          id: "audit-never-cosigned", severity: device.isEnrolled ? .warning : .notice, subject: "audit:log",
          message: "No witness has cosigned the audit log; only the box itself vouches for its \(audit.size) entries.",
          remedy: device.isEnrolled ? "Run skerry sync." : "Enrol the box with a hub: skerry enroll TOKEN."))
    } else if audit.uncosignedTail > 0 {
      found.append(
        ComplianceFinding(
          id: "audit-uncosigned-tail", severity: .notice, subject: "audit:log",
          message: "The last \(audit.uncosignedTail) of \(audit.size) audit entries are not cosigned yet.",
          remedy: "Run skerry sync when the hub can be reached."))
    }
    if let index = audit.hashesRebuiltFrom {
      found.append(
        ComplianceFinding(
          id: "audit-hashes-rebuilt", severity: .notice, subject: "audit:log",
          message: "The hashes of the audit log from entry \(index) on were computed again after a crash.",
          remedy: "Nothing, if the box lost power; the records agree with all signed heads."))
    }
    return found
  }

  private static func about(_ sandbox: ComplianceReport.Sandbox) -> [ComplianceFinding] {
    if sandbox.isActive { return [] }
    return [
      ComplianceFinding(
        id: "engine-unsandboxed", severity: .warning, subject: "box:engine",
        message: "Engines run without a sandbox" + (sandbox.reason.map { ": \($0)" } ?? "."),
        remedy: sandbox.mode == "off"
          ? "Set engine.sandbox to \"required\" in agent.json5." : "Install bubblewrap and allow user namespaces.")
    ]
  }

  private static func about(
    _ sync: ComplianceReport.Sync, _ device: ComplianceReport.Device, _ now: Int64
  ) -> [ComplianceFinding] {
    let subject = "box:\(device.name)"
    guard device.isEnrolled else {
      return [
        ComplianceFinding(
          id: "not-enrolled", severity: .notice, subject: subject, message: "The box belongs to no fleet.",
          remedy: "Get a token from the hub and run skerry enroll TOKEN.")
      ]
    }
    let why = sync.lastError.map { " The last attempt failed: \($0)" } ?? ""
    guard let last = sync.lastSuccess else {
      return [
        ComplianceFinding(
          id: "never-synced", severity: .warning, subject: subject,
          message: "The box has never synced with its hub.\(why)",
          remedy: "Run skerry sync where the hub can be reached.")
      ]
    }
    guard now - last > longSilence else { return [] }
    return [
      ComplianceFinding(
        id: "sync-overdue", severity: .warning, subject: subject,
        message: "The last sync was \((now - last) / 86_400) days ago.\(why)",
        remedy: "Run skerry sync where the hub can be reached.")
    ]
  }

  private static func about(_ repository: ComplianceReport.Repository, _ now: Int64) -> [ComplianceFinding] {
    let expired = repository.expires.filter { $0.value <= now }.keys.sorted()
    if expired.isEmpty { return [] }
    if let end = repository.refusesAt, end <= now {
      return [
        ComplianceFinding(
          id: "models-stale", severity: .critical, subject: "box:repository",
          message: "The signed metadata (\(expired.joined(separator: ", "))) expired longer ago than the repository's "
            + "policy allows. Installed models no longer answer; nothing was removed.",
          remedy: "Run skerry sync where the hub can be reached, or import a bundle from it.")
      ]
    }
    return [
      ComplianceFinding(
        id: "metadata-expired", severity: .warning, subject: "box:repository",
        message: "The signed metadata has expired: \(expired.joined(separator: ", ")). Installed models go on working.",
        remedy: "Sync; if it stays expired, the publisher must sign anew: skerry repo publish.")
    ]
  }

  private static func about(_ policy: ComplianceReport.Policy?) -> [ComplianceFinding] {
    guard let policy else { return [] }
    var found: [ComplianceFinding] = []
    let subject = "policy:\(policy.name ?? "unknown")"
    switch policy.state {
    case "damaged":
      found.append(
        ComplianceFinding(
          id: "policy-damaged", severity: .critical, subject: subject,
          message: "The fleet's policy on the box is not as it was signed; only its stale roles count.",
          remedy: "Run skerry sync to bring it anew, and find out who or what wrote to the state directory."))
    case "stale":
      found.append(
        ComplianceFinding(
          id: "policy-stale", severity: .warning, subject: subject,
          message: "The fleet's policy has expired; only its stale roles count.",
          remedy: "Run skerry sync; if it stays expired, sign a newer one: skerry repo access add."))
    default: break
    }
    if let reason = policy.refused {
      found.append(
        ComplianceFinding(
          id: "policy-refused", severity: .warning, subject: subject,
          message: "A newer policy of the fleet's was refused: \(reason)",
          remedy: "Publish one that the box can take over: skerry repo access add."))
    }
    return found
  }

  private static func about(_ role: ComplianceReport.Role) -> ComplianceFinding? {
    let manages = role.allows.contains { $0.hasPrefix("role.manage") || $0.hasPrefix("token.manage") }
    guard manages, role.holders.contains("local") else { return nil }
    return ComplianceFinding(
      id: "everyone-manages", severity: .warning, subject: "role:\(role.name)",
      message: "Everyone with an account on the box holds the role \(role.name), which hands out rights.",
      remedy: "skerry role unbind \(role.name) local")
  }

  private static func about(_ token: ComplianceReport.Token, _ now: Int64) -> ComplianceFinding? {
    switch token.expiresAt {
    case nil:
      ComplianceFinding(
        id: "token-without-end", severity: .notice, subject: "token:\(token.name)",
        message: "The token \(token.name) never expires.",
        remedy: "Create one with --expires, and skerry token revoke \(token.name).")
    case let end? where end <= now:
      ComplianceFinding(
        id: "token-expired", severity: .notice, subject: "token:\(token.name)",
        message: "The token \(token.name) has expired and is of no use.", remedy: "skerry token revoke \(token.name)")
    default: nil
    }
  }

  private static func about(
    _ clock: ComplianceReport.Clock?, _ device: ComplianceReport.Device, _ now: Int64
  ) -> [ComplianceFinding] {
    var found: [ComplianceFinding] = []
    let subject = "box:\(device.name)"
    if let doubt = clock?.doubt {
      found.append(
        ComplianceFinding(
          id: "clock-wrong", severity: .warning, subject: subject,
          message:
            "The box's clock can't be right (\(doubt)): the box reckons with the signed time floor and its uptime. "
            + "The times in the audit log are what the clock shows.",
          remedy: "Set the clock, or let it sync by NTP; if the clock is right, skerry sync."))
    } else if let ahead = clock?.aheadOfHub, ahead > farAhead {
      found.append(
        ComplianceFinding(
          id: "clock-ahead", severity: .warning, subject: subject,
          message: "The box's clock is \(ahead / 86_400) days ahead of the time that the hub signed.",
          remedy: "Set the clock, or let it sync by NTP."))
    }
    if let reason = clock?.refused {
      found.append(
        ComplianceFinding(
          id: "time-refused", severity: .critical, subject: subject,
          message: "A signed statement of the time is not believed: \(reason).",
          remedy: "Find out who holds the hub's online key, and rotate it with a new root."))
    }
    return found
  }

  private static func about(_ device: ComplianceReport.Device) -> [ComplianceFinding] {
    var found: [ComplianceFinding] = []
    if let room = device.diskFree, room < littleRoom {
      found.append(
        ComplianceFinding(
          id: "disk-nearly-full", severity: .warning, subject: "box:\(device.name)",
          message: "Only \(room >> 20) MiB are free. When the audit log can't be written, nothing is served.",
          remedy: "Make room on the state directory's file system."))
    }
    return found
  }
}
