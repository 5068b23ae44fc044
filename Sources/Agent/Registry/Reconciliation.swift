import Fleet
import Models
import Storage
import Trust

/// What one reconciliation did.
public struct ReconcileResult: Sendable {
  /// Models that are now active and were not, as `NAME:VERSION`; mended ones are among them.
  public var activated: [String] = []
  public var removed: [String] = []
  /// Models that could not be brought in, with the reason. The others were.
  public var failures: [(model: String, error: any Error)] = []
  /// Bytes of chunks fetched, compressed as they travelled.
  public var fetchedBytes: UInt64 = 0

  /// Why some models wait: quiet hours, or a budget that is used up.
  public var hold: TransferHold?

  public var isChanged: Bool { !activated.isEmpty || !removed.isEmpty }
  public init() {}
}

extension ModelRegistry {
  /// True when a wanted model is not active, or one of the active files is not there in its full length, or a model is
  /// to go.
  func needsWork(wanted: [AdmittedModel], kept: [ModelManifest] = []) async -> Bool {
    let stays = Set(wanted.map(\.manifest) + kept)
    if models.contains(where: { !$0.isRetired && !stays.contains($0.manifest) }) { return true }
    if await !inventory().garbage.isEmpty { return true }
    return wanted.contains { !isPresent($0.manifest) && !marks.isEvicted($0.manifest) }
  }

  /// Brings the box to what was admitted: gathers, verifies and activates what is missing, mends what is corrupt, and
  /// then removes what is neither wanted nor kept and not in use.
  ///
  /// A model that can't be brought in for a reason of its own stands among the result's failures. Throws what the
  /// source throws (the network), the audit log and the disk: the next call goes on where this one stopped.
  func reconcile(
    wanted: [AdmittedModel], kept: [ModelManifest] = [], source: any ModelSource, progress: ProgressHandler? = nil
  ) async throws -> ReconcileResult {
    guard !isReconciling else { throw RegistryError.busy }
    isReconciling = true
    defer { isReconciling = false }

    var result = ReconcileResult()
    let manifests = wanted.map(\.manifest)
    let started = now()
    try await forgetEvictions(allBut: manifests + kept)
    // Bases before their adapters.
    for admitted in wanted.sorted(by: { $0.manifest.kind == .model && $1.manifest.kind == .adapter }) {
      let manifest = admitted.manifest
      if marks.isEvicted(manifest) { continue }
      if isPresent(manifest) {
        try await renewVoucher(manifest)
        continue
      }
      do {
        try demandBase(of: manifest)
        try await makeRoom(for: manifest, started: started)
        result.fetchedBytes += try await install(
          admitted, among: manifests + kept, source: source, progress: progress)
        result.activated.append(manifest.label)
      } catch let error as RegistryError {
        result.failures.append((manifest.label, error))
      } catch let hold as TransferHold {
        // What arrived is kept. Others may have all that they need here.
        result.hold = hold
      }
    }
    result.removed = try await retire(allBut: manifests, kept: kept)
    return result
  }

  /// Active, with a file of the right length in place.
  private func isPresent(_ manifest: ModelManifest) -> Bool {
    models.contains { $0.manifest == manifest && $0.state == .active && !$0.isRetired }
      && DurableFile.size(store.blobPath(manifest.sha256)) == manifest.length
  }

  /// From signed metadata to an active model. Returns the bytes fetched.
  private func install(
    _ admitted: AdmittedModel, among wanted: [ModelManifest], source: any ModelSource, progress: ProgressHandler?
  ) async throws -> UInt64 {
    let (manifest, signers) = (admitted.manifest, admitted.signers)
    var model = InstalledModel(
      manifest: manifest, state: .fetching, signers: signers, installedAt: nil, problem: nil, isRetired: false)
    let before = models.first { $0.isSameFile(as: model) }
    if let before, before.manifest == manifest, before.failures >= InstalledModel.failureLimit {
      throw RegistryError.givenUp(model: manifest.label, reason: before.problem ?? "it was refused")
    }
    let seeds = models.map(\.manifest).filter { $0.sha256 != manifest.sha256 }
    let installer = ModelInstaller(manifest: manifest, seeds: seeds, store: store, source: source, progress: progress)

    // Staged before a crash, or kept from an earlier time: a rollback needs no network.
    let isKept = before?.manifest == manifest && before?.state == .active
    let isComplete =
      (before?.state == .staged || isKept) && DurableFile.size(store.blobPath(manifest.sha256)) == manifest.length
    var fetched: UInt64 = 0
    if !isComplete {
      try await put(model)
      do {
        fetched = try await installer.gather()
      } catch let error as RegistryError {
        if error.isPublishersFault {
          // Of the bytes that came, nothing can be wrong but what was signed: a GGUF that is none stays none.
          if case .refused = error { model.failures = InstalledModel.failureLimit }
          model.failures = min((before?.failures ?? 0) + 1 + model.failures, InstalledModel.failureLimit)
          try await markCorrupt(model, event: "refused", problem: error.description)
        }
        throw error
      }
      model.state = .staged
      try await put(model)
    }

    try await vouch(for: manifest)
    // Requests go to the version before until the new one's engine runs.
    if manifest.kind == .model { await warmUp?(model, self) }
    progress?(SyncProgress(.activate, model: manifest.label, done: 1, total: 1))
    let mended = before?.state == .corrupt
    var record = fields(of: model, event: mended ? "mended" : "activated")
    record["signers"] = .array(signers.map { .string($0) })
    record["fetchedBytes"] = .integer(Int64(clamping: fetched))
    // A step back that the director signed is on record as one.
    if let from = admitted.rollbackFrom { record["rollbackFrom"] = .string(from.description) }
    try await audit(.model, "system", record)
    model.state = .active
    model.installedAt = now()
    // The new version comes and the old ones go in one transaction.
    let replaced = models.filter { $0.name == model.name && !$0.isSameFile(as: model) && !$0.isRetired }
    let leaving = replaced.filter { old in !wanted.contains { $0 == old.manifest } }.map(\.retired)
    let floor = versionFloors()[model.name] ?? model.version
    try await activate(
      model, replacing: leaving, floor: admitted.rollbackFrom == nil ? max(floor, model.version) : model.version)
    return fetched
  }

  /// Retires what is not wanted, unless a newer one of its name is still on its way, and removes the retired that
  /// nobody needs. Returns the labels of those removed.
  private func retire(allBut wanted: [ModelManifest], kept: [ModelManifest]) async throws -> [String] {
    func isAwaited(_ model: InstalledModel) -> Bool {
      model.state == .active && wanted.contains { $0.name == model.name && !isPresent($0) }
    }
    let leaving = models.filter { model in
      !model.isRetired && !(wanted + kept).contains { $0 == model.manifest } && !isAwaited(model)
    }
    // From the row on callers are refused, which may be long before the file can go.
    for model in leaving where model.state == .active {
      try await audit(.model, "system", fields(of: model, event: "withdrawn"))
    }
    if !leaving.isEmpty { try await put(leaving.map(\.retired)) }

    return try await collectGarbage().removed
  }
}
