import Fleet
import FoundationEssentials
import Models
import Trust

/// The one way in for anything signed, from the hub or from a stick: refreshes both repositories' metadata, decides what
/// this box is to hold, puts each refused attack on record, and reconciles.
struct Intake: Sendable {
  let registry: ModelRegistry
  /// The id of this box.
  let device: DeviceID
  let clock: TrustedClock
  let audit: AuditWriter

  /// Something that kept part of what was meant from being done; the rest was.
  struct Failure: Sendable {
    /// `NAME:VERSION`; empty when it is about no single model.
    var model: String
    var message: String
  }

  struct Outcome: Sendable {
    /// The versions of some metadata rose.
    var isMetadataChanged = false
    /// Another policy of the fleet's is in force.
    var isPolicyChanged = false
    var models = ReconcileResult()
    var failures: [Failure] = []
    /// What was refused on the way, each on record.
    var attacks: [AttackReport] = []
  }

  /// Takes in what the source has. What it throws is on record where it stands for an attack: `TUFError` and
  /// `AttackReport` for image metadata that is not trusted, what the source throws, and what the audit log and the disk
  /// throw. Whatever it throws, the installed models go on running and the next call goes on where this one stopped.
  ///
  /// Without a director's word that can be trusted nothing new is installed; why stands among the outcome's failures.
  /// Expiry is decided by the trusted clock, at one time for each repository.
  func run(from source: any FleetSource, progress: ProgressHandler? = nil) async throws -> Outcome {
    let ledger = AttackLedger(audit: audit)
    do {
      var outcome = try await run(source, ledger, progress)
      try await ledger.close()
      outcome.attacks = await ledger.reports
      return outcome
    } catch {
      // Some of it may be newer and trusted all the same, a root above all.
      try await registry.recall()
      try await settleTime(last: true)
      try await ledger.close()
      throw error
    }
  }

  private func run(
    _ source: any FleetSource, _ ledger: AttackLedger, _ progress: ProgressHandler?
  ) async throws -> Outcome {
    var outcome = Outcome()
    let before = await versions()
    var round = try await refresh(from: source, ledger)
    var admission = try await admission(round, from: source, ledger, &outcome)
    // A publication may have come between the two repositories: seen once more, it is none of anybody's attack.
    let seen = await versions()
    if admission.refusals.contains(where: { [.foreignImage, .directorDisagrees].contains($0.report.attack) }) {
      round = try await refresh(from: source, ledger)
      if await versions() != seen {
        outcome = Outcome()
        admission = try await self.admission(round, from: source, ledger, &outcome)
      }
    }
    for refusal in admission.refusals {
      try await ledger.record(refusal.report)
      outcome.failures.append(Failure(model: refusal.model, message: "refused: \(refusal.report)"))
    }
    outcome.failures += admission.malformed.map { Failure(model: "", message: "\($0)") }
    if let problem = round.problem { outcome.failures.append(Failure(model: "", message: problem)) }
    // Before the models, which may take long.
    try await takePolicy(admission.policy, from: source, ledger, &outcome)
    do {
      outcome.models = try await registry.reconcile(
        wanted: admission.wanted, kept: admission.kept, source: source, progress: progress)
    } catch let fault as SourceFault {
      try await ledger.record(fault.report("content"))
      throw fault
    }
    try await tellOfGrace(round.grace, outcome.models)
    for (model, error) in outcome.models.failures {
      if let report = (error as? RegistryError)?.attack { try await ledger.record(report) }
      outcome.failures.append(Failure(model: model, message: "\(error)"))
    }
    outcome.isMetadataChanged = await versions() != before
    return outcome
  }

  /// Whether something is left to be done by what is on disk, without any network.
  func hasWork() async -> Bool {
    guard let image = await registry.trusted, image.targetsMetadata != nil else { return false }
    var statement: DirectorStatement?
    if let director = await registry.director {
      guard let targets = director.targetsMetadata, let said = try? DirectorStatement(targets) else { return true }
      statement = said
    }
    // Nothing expires here: it was fresh when it was taken in, and the next look at the hub tells.
    var (trusted, failures) = (image, [Failure]())
    guard
      let answers = try? await images(
        of: await paths(statement), in: &trusted, at: .distantPast, from: nil, nil, &failures),
      let admission = try? await decide(statement, answers), admission.refusals.isEmpty
    else { return true }
    if let policy = admission.policy, await registry.policies?.needs(policy) == true { return true }
    return await registry.needsWork(wanted: admission.wanted, kept: admission.kept)
  }

  private func takePolicy(
    _ policy: PolicyTarget?, from source: any FleetSource, _ ledger: AttackLedger, _ outcome: inout Outcome
  ) async throws {
    guard let policy, let policies = await registry.policies else { return }
    do {
      outcome.isPolicyChanged = try await policies.take(policy, from: source, registry: registry)
    } catch let report as AttackReport {
      try await ledger.record(report)
      outcome.failures.append(Failure(model: "", message: "the fleet's policy \(policy.name) is refused: \(report)"))
    } catch let fault as SourceFault {
      try await ledger.record(fault.report("policy"))
      throw fault
    } catch let error where error is FleetPolicyRefused || error is RegistryError {
      outcome.failures.append(Failure(model: "", message: "\(error)"))
    }
  }

  // MARK: metadata

  /// What one refresh of both repositories gave.
  private struct Round {
    var image: TrustedMetadata
    /// The time that expiries are held against.
    var started: Date
    /// Roles that have expired and are good by the signed grace alone.
    var grace: [String]
    var statement: DirectorStatement?
    /// Why there is no statement.
    var problem: String?
  }

  private func versions() async -> [Int64?] {
    let (image, director) = (await registry.trusted, await registry.director)
    return [image, director].flatMap {
      [$0?.rootVersion, $0?.timestampVersion, $0?.snapshotVersion, $0?.targetsVersion]
    }
  }

  private func refresh(from source: any FleetSource, _ ledger: AttackLedger) async throws -> Round {
    let image = try await refreshImage(from: source, ledger)
    let grace = try await admitTime(image, ledger)
    var round = Round(image: image, started: graceStart(image.root), grace: grace)
    let before = await registry.director
    do {
      let started = round.started
      let director = try await named(.director, ledger) {
        try await DirectorRefresh(registry: registry, device: device, image: image, started: started).run(from: source)
      }
      await registry.setDirector(director)
      try await noteRecovery(from: before, to: director, in: .director, ledger)
      try await named(.director, ledger) { try await admitDirectorTime(director, image: image, ledger) }
      guard let targets = director.targetsMetadata else { throw TUFError.outOfOrder("no targets") }
      round.statement = try await named(.director, ledger) { try DirectorStatement(targets) }
      round.grace += director.expired(at: graceStart(nil)).map { "director/\($0)" }
    } catch let error where error is TUFError || error is AttackReport || error is SourceFault || error is DirectorError
    {
      // Some of it may be newer and trusted all the same.
      try await registry.recall()
      round.problem = "nothing new is installed: \(error)"
    }
    return round
  }

  /// One update of the image repository's metadata (TUF 1.0.34, section 5).
  private func refreshImage(
    from source: any FleetSource, _ ledger: AttackLedger
  ) async throws -> TrustedMetadata {
    guard let local = try await registry.metadataState() else { throw SyncError.notEnrolled }
    let before = await registry.trusted
    let trusted = try await named(.image, ledger) {
      do {
        return try await refreshImage(local, from: source, director: nil, ledger)
      } catch let error as TUFError {
        // Over by a time that the director's next root may take back: what a stolen key said must not keep the box from
        // the root that takes the key away.
        guard case .expired = error, let newer = try await revoked(from: source) else { throw error }
        return try await refreshImage(local, from: source, director: newer, ledger)
      }
    }
    await registry.setTrusted(trusted)
    try await registry.pruneDelegated(trusted)
    try await noteRecovery(from: before, to: trusted, in: .image, ledger)
    return trusted
  }

  /// `director` is the director's newest root where it is newer than the trusted one.
  private func refreshImage(
    _ local: TUFLocalState, from source: any FleetSource, director: TUFRoot?, _ ledger: AttackLedger
  ) async throws -> TrustedMetadata {
    try await TUFWorkflow.refresh(
      local: try await registry.metadataState() ?? local,
      time: { root in try await startTime(root: root, director: director, ledger) },
      fetch: { file, limit in try await source.imageMetadata(file, limit: limit) },
      persist: { file, bytes in
        if let bytes { try check(file, bytes, local) }
        try await registry.persistMetadata(file, bytes)
      })
  }

  /// The last look before a trusted file of the image repository is kept: it is none of a director's, and it leaps not.
  private func check(_ file: String, _ bytes: [UInt8], _ local: TUFLocalState) throws {
    guard let role = TUFRole(rawValue: AttackReport.role(file)) else { return }
    let document = try TUFDocument(parsing: bytes, as: role)
    guard TUFBinding(of: document) == .image else { throw TUFError.foreign(role: role.rawValue) }
    if role != .root { try VersionLeap.check(document, before: local, in: .image) }
  }

  /// Fast-forward recovery (TUF 1.0.34, section 5.3.11): new keys took back version numbers that the old ones had raised.
  private func noteRecovery(
    from before: TrustedMetadata?, to now: TrustedMetadata, in repository: FleetRepository, _ ledger: AttackLedger
  ) async throws {
    guard let before, now.rootVersion > before.rootVersion else { return }
    for (role, had, has) in [
      ("timestamp", before.timestampVersion, now.timestampVersion),
      ("snapshot", before.snapshotVersion, now.snapshotVersion),
    ] {
      guard let had, let has, has < had else { continue }
      try await ledger.record(
        AttackReport(
          .fastForward, role: "\(repository.rawValue)/\(role)",
          reason: "recovered: root version \(now.rootVersion) has new keys, and version \(had) became \(has)"))
    }
  }

  // MARK: admission

  private func admission(
    _ round: Round, from source: any FleetSource, _ ledger: AttackLedger, _ outcome: inout Outcome
  ) async throws -> Admission {
    var image = round.image
    let answers = try await images(
      of: await paths(round.statement), in: &image, at: round.started, from: source, ledger, &outcome.failures)
    do {
      return try await decide(round.statement, answers)
    } catch let report as AttackReport {
      try await ledger.record(report)
      outcome.failures.append(Failure(model: "", message: "nothing new is installed: \(report)"))
      return try await decide(nil, answers)
    }
  }

  /// The paths that the decision is about.
  private func paths(_ statement: DirectorStatement?) async -> Set<String> {
    Set((statement?.entries ?? []).map(\.target.path) + (await registry.known()).map(\.manifest.targetPath))
  }

  private func decide(_ statement: DirectorStatement?, _ answers: ImageAnswers) async throws -> Admission {
    try Admission(
      device: device, statement: statement, images: answers.images, unclear: answers.unclear,
      known: await registry.known(), floors: await registry.versionFloors())
  }
}
