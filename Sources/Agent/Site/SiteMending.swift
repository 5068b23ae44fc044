import Fleet
import Host
import Models
import Storage
import Trust

extension ModelRegistry {
  /// Models that were active here, are still wanted, and whose file is damaged or gone.
  func mendable() -> [InstalledModel] {
    models.filter { model in
      guard !model.isRetired, model.installedAt != nil, model.failures < InstalledModel.failureLimit else {
        return false
      }
      return model.state == .corrupt
        || model.state == .active && DurableFile.size(store.blobPath(model.manifest.sha256)) != model.manifest.length
    }
  }

  /// Makes such models whole again without a word from the hub: which bytes they are to have was admitted when they were
  /// installed. Nothing new comes in and nothing goes. Returns the labels of those that are whole now; throws what the
  /// source throws.
  func mend(from source: any ModelSource, progress: ProgressHandler? = nil) async throws -> [String] {
    guard !isReconciling else { throw RegistryError.busy }
    isReconciling = true
    defer { isReconciling = false }
    var mended: [String] = []
    for var model in mendable() {
      let seeds = models.map(\.manifest).filter { $0.sha256 != model.manifest.sha256 }
      let installer = ModelInstaller(
        manifest: model.manifest, seeds: seeds, store: store, source: source, progress: progress)
      let fetched = try await installer.gather()
      var record = fields(of: model, event: "mended")
      record["fetchedBytes"] = .integer(Int64(clamping: fetched))
      try await audit(.model, "system", record)
      (model.state, model.problem) = (.active, nil)
      try await put(model)
      mended.append(model.manifest.label)
    }
    return mended
  }
}

/// A hub that can't be reached now.
struct UnreachableHub: FleetSource {
  let hub: String

  private var error: SyncError { SyncError.unreachable(hub: hub, reason: "and no neighbour had it") }

  func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]? { throw error }
  func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]? { throw error }
  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] { throw error }
  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] { throw error }
}

/// Mends from the neighbours while the hub is out of reach; a sync that begins ends it.
actor SiteMender {
  private let registry: ModelRegistry
  private let site: SiteService
  private var current: Task<Void, Never>?
  /// No neighbour had it a moment ago: tried again after this reading of the clock, in seconds.
  private var restsUntil = 0.0

  init(registry: ModelRegistry, site: SiteService) {
    self.registry = registry
    self.site = site
  }

  /// Begins if there is something to mend and neighbours to ask.
  func begin(hub: String) async {
    guard current == nil, !site.hood.boxes.isEmpty, Neighbourhood.now >= restsUntil,
      await !registry.mendable().isEmpty, current == nil
    else { return }
    current = Task { await self.run(hub) }
  }

  func end() async {
    current?.cancel()
    await finish()
  }

  /// Waits for what is under way.
  func finish() async { await current?.value }

  private func run(_ hub: String) async {
    do {
      let mended = try await registry.mend(from: site.source(over: UnreachableHub(hub: hub)))
      Log.shared.notice("mended from neighbours", ["models": mended.joined(separator: " ")])
    } catch {
      restsUntil = Neighbourhood.now + 60
      if !Task.isCancelled { Log.shared.warning("neighbours could not mend it", ["reason": "\(error)"]) }
    }
    current = nil
  }
}
