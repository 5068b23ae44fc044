import Fleet
import FoundationEssentials
import Models
import Trust

/// The one way in for anything signed, from the hub or from a stick: refreshes the metadata, decides what this box is to
/// hold, puts each refused attack on record, and reconciles.
struct Intake: Sendable {
  let registry: ModelRegistry
  /// The id of this box.
  let device: DeviceID
  let clock: TrustedClock
  let audit: AuditWriter

  struct Outcome: Sendable {
    /// The versions of some metadata rose.
    var isMetadataChanged = false
    var models = ReconcileResult()
    /// What was refused on the way, each on record.
    var attacks: [AttackReport] = []
  }

  /// Takes in what the source has. What it throws is on record where it stands for an attack: `TUFError` for image
  /// metadata that is not trusted, what the source throws, and what the audit log and the disk throw. Whatever it
  /// throws, the installed models go on running and the next call goes on where this one stopped.
  ///
  /// Expiry is decided by the trusted clock, at one time for the whole run.
  func run(
    from source: any FleetSource, desired: [String]?, progress: ProgressHandler? = nil
  ) async throws -> Outcome {
    let ledger = AttackLedger(audit: audit)
    var outcome = Outcome()
    do {
      let before = await registry.trusted?.timestampVersion
      let trusted = try await refreshImage(from: source, ledger)
      outcome.isMetadataChanged = trusted.timestampVersion != before
      let grace = try await admitTime(trusted, ledger)
      outcome.models = try await registry.reconcile(
        trusted: trusted, desired: desired, source: source, progress: progress)
      try await tellOfGrace(grace, outcome.models)
    } catch {
      // Some of it may be newer and trusted all the same, a root above all.
      try await registry.recall()
      try await settleTime(last: true)
      try await ledger.close()
      throw error
    }
    try await ledger.close()
    outcome.attacks = await ledger.reports
    return outcome
  }

  /// One update of the image repository's metadata (TUF 1.0.34, section 5).
  private func refreshImage(
    from source: any FleetSource, _ ledger: AttackLedger
  ) async throws -> TrustedMetadata {
    guard let local = try await registry.metadataState() else { throw SyncError.notEnrolled }
    return try await named(.image, ledger) {
      try await TUFWorkflow.refresh(
        local: local, time: { root in try await startTime(root: root, ledger) },
        fetch: { file, limit in try await source.imageMetadata(file, limit: limit) },
        persist: { file, bytes in try await registry.persistMetadata(file, bytes) })
    }
  }

  /// Puts on record what attack an error stands for, and throws it on.
  private func named<T>(
    _ repository: FleetRepository, _ ledger: AttackLedger, _ work: () async throws -> T
  ) async throws -> T {
    do {
      return try await work()
    } catch let error as TUFError {
      if let report = AttackReport(error, in: repository) { try await ledger.record(report) }
      throw error
    } catch let error as SourceFault {
      try await ledger.record(error.report("\(repository.rawValue)/metadata"))
      throw error
    } catch let error as AttackReport {
      try await ledger.record(error)
      throw error
    }
  }
}
