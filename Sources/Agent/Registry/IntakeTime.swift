import Fleet
import FoundationEssentials
import Trust

/// What time it is for an intake: whose word counts by the newest roots, what the metadata itself says of the time, and
/// how far the signed grace reaches.
extension Intake {
  /// Judges the hub's answer that waits, by the roots that are trusted now. A forged or old one is an attack and on
  /// record; one that nobody here can vouch for says nothing. Throws what the audit log and the disk throw.
  ///
  /// - last: no newer root is to come in this sync.
  func settleTime(last: Bool = false) async throws {
    if let trusted = await registry.trusted {
      try await settle(root: trusted.root, targets: trusted.targetsMetadata)
      if let timestamp = trusted.timestamp {
        _ = try learn(timestamp, signers: trusted.signers(of: "timestamp"), root: trusted.root)
      }
    }
    try await hearReply(last: last) { try await $0.record(to: audit) }
  }

  /// The time of the whole run, once the root is the newest: what it takes away counts no longer, and its grace is taken
  /// off what expiries are held against. `director` is a newer root of the director's than the trusted one.
  func startTime(root: TUFRoot, director: TUFRoot?, _ ledger: AttackLedger) async throws -> Date {
    let targets = await registry.trusted?.targetsMetadata
    try await settle(root: root, director: director, targets: targets)
    try await hearReply(last: false) { try await ledger.record($0) }
    return graceStart(root)
  }

  /// The director's newest root, when it takes away keys whose word made it later than it can be told to be without them;
  /// nil when it does not.
  func revoked(from source: any FleetSource) async throws -> TUFRoot? {
    guard let local = try await registry.metadataState() else { return nil }
    let (before, image) = (clock.now(), try TrustedMetadata(trustedRoot: local.root))
    let look = DirectorRefresh(registry: registry, device: device, image: image, started: .distantPast)
    // What is wrong with it is found again, and told of, when the director's turn comes.
    guard let newest = try? await look.newestRoot(from: source) else { return nil }
    let targets = await registry.trusted?.targetsMetadata
    try await settle(root: image.root, director: newest, targets: targets)
    return clock.now() < before ? newest : nil
  }

  /// The same for what the director signs: its timestamp may show that it is later than the box knew.
  func admitDirectorTime(_ director: TrustedMetadata, image: TrustedMetadata, _ ledger: AttackLedger) async throws {
    try await settle(root: image.root, director: director.root, targets: image.targetsMetadata)
    if let timestamp = director.timestamp,
      case .implausible? = try learn(timestamp, signers: director.signers(of: "timestamp"), root: director.root)
    {
      try await ledger.record(
        AttackReport(
          .clock, role: "director/timestamp", reason: "it claims to be signed after all that was signed offline"))
    }
    let past = graceStart(image.root)
    if let role = director.expired(at: past).first, let since = director.expiries[role] {
      throw TUFError.expired(role: role, since: since)
    }
  }

  /// The time that expiries are held against: now, less the grace that a root signs.
  func graceStart(_ root: TUFRoot?) -> Date {
    date(clock.now() - (root.map { RepositoryPolicy($0).graceSeconds } ?? 0))
  }

  /// Takes in what the timestamp says of the time, and holds all expiries against what is known then: a box that did not
  /// know how late it is must not install what its own metadata shows to be over. Returns the roles that have expired
  /// and are good by the signed grace alone. Throws `TUFError.expired`.
  func admitTime(_ trusted: TrustedMetadata, _ ledger: AttackLedger) async throws -> [String] {
    try await settle(root: trusted.root, targets: trusted.targetsMetadata)
    if let timestamp = trusted.timestamp,
      case .implausible? = try learn(timestamp, signers: trusted.signers(of: "timestamp"), root: trusted.root)
    {
      try await ledger.record(
        AttackReport(
          .clock, role: "image/timestamp", reason: "it claims to be signed after all that was signed offline"))
    }
    let now = clock.now()
    let past = date(now - RepositoryPolicy(trusted.root).graceSeconds)
    if let role = trusted.expired(at: past).first, let since = trusted.expiries[role] {
      let error = TUFError.expired(role: role, since: since)
      if let report = AttackReport(error, in: .image) { try await ledger.record(report) }
      throw error
    }
    return trusted.expired(at: date(now))
  }

  /// What came in under grace is on record as that.
  func tellOfGrace(_ expired: [String], _ result: ReconcileResult) async throws {
    guard !expired.isEmpty, !result.activated.isEmpty else { return }
    try await audit(
      .grace, "system", ["event": "installed", "expired": list(expired), "models": list(result.activated)])
  }

  private func settle(root: TUFRoot, director: TUFRoot? = nil, targets: TUFTargets?) async throws {
    let trusted = await registry.director?.root
    let gone = try clock.settle(
      roots: [root] + [director ?? trusted].compactMap(\.self), offlineSigned: [targets?.document].compactMap(\.self))
    guard !gone.isEmpty else { return }
    try await audit(
      .clock, "system",
      [
        "event": "forgotten", "reason": "the root no longer lists the keys that said so",
        "times": .array(gone.map { .integer($0.time) }),
      ])
  }

  private func learn(_ timestamp: TUFTimestamp, signers: [String], root: TUFRoot) throws -> TimeFloor.Verdict? {
    guard let statement = TimeStatement(timestamp, signers: signers, root: root) else { return nil }
    return try clock.learn(statement)
  }

  private func hearReply(last: Bool, _ record: (AttackReport) async throws -> Void) async throws {
    do {
      if case .implausible? = try clock.answered(last: last)?.verdict, last {
        try await record(
          AttackReport(.clock, role: "hub/time", reason: "it is later than all that was signed offline makes plausible")
        )
      }
    } catch let error as TimeReplyError {
      switch error {
      case .unknownKey: break
      case .badSignature:
        try await record(
          AttackReport(.badSignature, role: "hub/time", reason: "the signature on the time is not valid"))
      case .malformed:
        try await record(AttackReport(.malformed, role: "hub/time", reason: "the signed time can't be read"))
      case .replayed:
        try await record(AttackReport(.replay, role: "hub/time", reason: "the signed time answers another question"))
      }
    }
  }

  private func date(_ seconds: Int64) -> Date { Date(timeIntervalSince1970: Double(seconds)) }
  private func list(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
}
