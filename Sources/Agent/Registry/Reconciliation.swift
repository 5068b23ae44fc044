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
  /// Names that the hub wants here and no signed target bears.
  public var unknown: [String] = []
  /// Bytes of chunks fetched, compressed as they travelled.
  public var fetchedBytes: UInt64 = 0

  public var isChanged: Bool { !activated.isEmpty || !removed.isEmpty }
  public init() {}
}

extension ModelRegistry {
  /// True when a wanted model is not active, or one of the active files is not there in its full length.
  public func needsWork(desired: [String]?) -> Bool {
    guard let trusted else { return false }
    let selection = ModelSelection(targets: trusted.targets, desired: desired)
    if models.contains(where: \.isRetired) { return true }
    let kept = Set(selection.wanted.map(\.sha256))
    return selection.wanted.contains { !isPresent($0) }
      || models.contains { $0.state == .active && !kept.contains($0.manifest.sha256) }
  }

  /// Brings the box to what the signed metadata and the hub's wish say: gathers, verifies and activates what is
  /// missing, mends what is corrupt, and then removes what is no longer wanted and not in use.
  ///
  /// A model that can't be brought in for a reason of its own stands among the result's failures. Throws what the
  /// source throws (the network), the audit log and the disk: the next call goes on where this one stopped.
  public func reconcile(
    trusted: TrustedMetadata, desired: [String]?, source: any ModelSource, progress: ProgressHandler? = nil
  ) async throws -> ReconcileResult {
    guard !isReconciling else { throw RegistryError.busy }
    isReconciling = true
    defer { isReconciling = false }
    setTrusted(trusted)

    let selection = ModelSelection(targets: trusted.targets, desired: desired)
    var result = ReconcileResult()
    result.unknown = selection.unknown
    result.failures = selection.malformed.map { ("", $0) }
    let signers = trusted.signers(of: "targets")

    for manifest in selection.wanted {
      if isPresent(manifest) {
        try await unretire(manifest)
        continue
      }
      do {
        result.fetchedBytes += try await install(
          manifest, among: selection.wanted, signers: signers, source: source, progress: progress)
        result.activated.append(manifest.label)
      } catch let error as RegistryError {
        result.failures.append((manifest.label, error))
      }
    }
    result.removed = try await retire(allBut: selection.wanted)
    return result
  }

  /// Active, with a file of the right length in place.
  private func isPresent(_ manifest: ModelManifest) -> Bool {
    models.contains { $0.manifest == manifest && $0.state == .active }
      && DurableFile.size(store.blobPath(manifest.sha256)) == manifest.length
  }

  private func unretire(_ manifest: ModelManifest) async throws {
    for model in models where model.manifest == manifest && model.isRetired {
      var wanted = model
      wanted.isRetired = false
      try await put(wanted)
    }
  }

  /// From signed metadata to an active model. Returns the bytes fetched.
  private func install(
    _ manifest: ModelManifest, among wanted: [ModelManifest], signers: [String], source: any ModelSource,
    progress: ProgressHandler?
  ) async throws -> UInt64 {
    var model = InstalledModel(
      manifest: manifest, state: .fetching, signers: signers, installedAt: nil, problem: nil, isRetired: false)
    let before = models.first { $0.isSameFile(as: model) }
    if let before, before.manifest == manifest, before.failures >= InstalledModel.failureLimit {
      throw RegistryError.givenUp(model: manifest.label, reason: before.problem ?? "it was refused")
    }
    let seeds = models.map(\.manifest).filter { $0.sha256 != manifest.sha256 }
    let installer = ModelInstaller(manifest: manifest, seeds: seeds, store: store, source: source, progress: progress)

    let isComplete = before?.state == .staged && store.has(manifest.sha256)
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

    progress?(SyncProgress(.activate, model: manifest.label, done: 1, total: 1))
    let mended = before?.state == .corrupt
    try await audit(
      "model", "system",
      fields(of: model, event: mended ? "mended" : "activated").merging(
        ["signers": .array(signers.map { .string($0) }), "fetchedBytes": .integer(Int64(clamping: fetched))]
      ) { _, new in new })
    model.state = .active
    model.installedAt = now()
    // The new version comes and the old ones go in one transaction.
    let replaced = models.filter { $0.name == model.name && !$0.isSameFile(as: model) && !$0.isRetired }
    try await put([model] + replaced.filter { old in !wanted.contains { $0 == old.manifest } }.map(\.retired))
    return fetched
  }

  /// Retires what is not wanted, unless a newer one of its name is still on its way, and removes the retired that
  /// nobody uses. Returns the labels of those removed.
  private func retire(allBut wanted: [ModelManifest]) async throws -> [String] {
    func isAwaited(_ model: InstalledModel) -> Bool {
      model.state == .active && wanted.contains { $0.name == model.name && !isPresent($0) }
    }
    let leaving = models.filter { model in
      !model.isRetired && !wanted.contains { $0 == model.manifest } && !isAwaited(model)
    }
    // From the row on callers are refused, which may be long before the file can go.
    for model in leaving where model.state == .active {
      try await audit("model", "system", fields(of: model, event: "withdrawn"))
    }
    if !leaving.isEmpty { try await put(leaving.map(\.retired)) }

    var gone: [InstalledModel] = []
    for model in models where model.isRetired {
      if model.state == .active, await isInUse(model.manifest) { continue }
      gone.append(model)
    }
    for model in gone where model.state == .active {
      try await audit("model", "system", fields(of: model, event: "removed"))
    }
    if !gone.isEmpty { try await forget(gone) }
    try await sweep()
    return gone.map(\.manifest.label)
  }

  /// Removes files that no row names: of models just forgotten, or of a run that was killed between row and file.
  private func sweep() async throws {
    let named = Set(models.flatMap { [$0.manifest.sha256.hex, $0.manifest.index.sha256.hex] })
    let root = store.root
    try await offPool {
      for folder in ["blobs/sha256", "partial", "indexes"] {
        for file in try DurableFile.names(in: "\(root)/\(folder)") where !named.contains(String(file.prefix(64))) {
          try DurableFile.remove("\(root)/\(folder)/\(file)")
        }
      }
    }
  }
}
