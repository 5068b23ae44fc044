import Models
import Storage
import Trust

/// What a garbage collection took away, or would.
public struct StoreCollection: Sendable, Hashable {
  /// Models that went, as `NAME:VERSION`.
  public var removed: [String] = []
  /// Retired models that stay, and why.
  public var kept: [String: StoreInventory.Reason] = [:]
  /// Files that went: blobs, indexes, downloads.
  public var files = 0
  /// Their bytes on the disk.
  public var bytes: UInt64 = 0
}

/// What the store takes on the disk, in bytes.
public struct StoreSize: Sendable, Hashable {
  public var used: UInt64 = 0
  public var free: UInt64 = 0

  static let folders = ["blobs/sha256", "partial", "indexes", "admitted"]

  /// Counts what is allocated, holes left out.
  init(of store: ContentStore) throws(StorageError) {
    for folder in StoreSize.folders {
      for name in try DurableFile.names(in: "\(store.root)/\(folder)") {
        used += BlobFile.allocated("\(store.root)/\(folder)/\(name)")
      }
    }
    free = try store.freeSpace()
  }
}

extension ModelRegistry {
  /// Uses of a model are written down once in so many seconds: more would wear the disk out for nothing.
  static let useGrain: Int64 = 60
  /// What stays free on the disk besides a model, in bytes.
  static let diskReserve: UInt64 = 32 << 20

  /// Who needs what, as it is now.
  func inventory() async -> StoreInventory {
    var holdings: [StoreInventory.Holding] = []
    for model in models {
      holdings.append(
        StoreInventory.Holding(
          model.manifest, isActive: model.state == .active, isRetired: model.isRetired,
          isPinned: marks.pins.contains(model.manifest.label), isInUse: await isInUse(model.manifest),
          lastUse: max(marks.uses[model.manifest.sha256] ?? 0, model.installedAt ?? 0),
          activatedAt: model.installedAt))
    }
    return StoreInventory(holdings, keepsPrevious: policy.keepPrevious)
  }

  /// What the store takes and what is free.
  public func size() async throws -> StoreSize {
    let store = store
    return try await offPool { try StoreSize(of: store) }
  }

  // MARK: pins and uses

  /// Keeps a model from being evicted or collected, whatever else becomes of it. Throws `RegistryError.unknownModel`.
  func setPin(_ label: String, _ isPinned: Bool, by actor: String) async throws -> InstalledModel {
    let named = models.filter { $0.manifest.label == label || $0.name.description == label }
    guard let model = named.max(by: { ($0.isRetired ? 0 : 1, $0.version) < ($1.isRetired ? 0 : 1, $1.version) }) else {
      throw RegistryError.unknownModel(label)
    }
    guard marks.pins.contains(model.manifest.label) != isPinned else { return model }
    try await audit(.model, actor, fields(of: model, event: isPinned ? "pinned" : "unpinned"))
    let now = now()
    try await database.write { connection in
      if isPinned {
        try StoreMarks.pin(model, at: now, connection)
      } else {
        try StoreMarks.unpin(model, connection)
      }
    }
    if isPinned { marks.pins.insert(model.manifest.label) } else { marks.pins.remove(model.manifest.label) }
    return model
  }

  public func isPinned(_ model: InstalledModel) -> Bool { marks.pins.contains(model.manifest.label) }
  public func lastUse(_ model: InstalledModel) -> Int64? { marks.uses[model.manifest.sha256] }

  /// Somebody asked a model. A disk that does not take the note is told of elsewhere.
  func noteUse(_ digest: Digest) async {
    let now = now()
    guard now - (marks.uses[digest] ?? .min / 2) >= ModelRegistry.useGrain else { return }
    marks.uses[digest] = now
    try? await database.write { try StoreMarks.use(digest, at: now, $0) }
  }

  // MARK: room

  /// The models that went to make room and are still wanted.
  func evicted() -> [StoreMarks.Eviction] {
    marks.evictions.values.sorted { $0.manifest.label < $1.manifest.label }
  }

  /// Takes an evicted model back among those that the next sync fetches. False when there is none of that name.
  @discardableResult
  func recall(_ label: String, by actor: String = "system") async throws -> Bool {
    let named = marks.evictions.values.filter {
      $0.manifest.label == label || $0.manifest.name.description == label
    }
    guard let eviction = named.max(by: { $0.manifest.version < $1.manifest.version }) else { return false }
    let (path, digest, now) = (eviction.manifest.targetPath, eviction.manifest.sha256, now())
    try await audit(
      .model, actor,
      [
        "event": "recalled", "model": .string(eviction.manifest.name.description),
        "version": .string(eviction.manifest.version.description), "sha256": .string(digest.hex),
      ])
    try await database.write { connection in
      try StoreMarks.recall(path, connection)
      try StoreMarks.use(digest, at: now, connection)
    }
    marks.evictions[path] = nil
    marks.uses[digest] = now
    return true
  }

  /// Before the first byte of a download: what was used least recently goes while the quota or the disk demands it. What
  /// was used or activated since `started` stays. Throws `RegistryError.noRoom` when all that may go is too little; then
  /// nothing went.
  func makeRoom(for manifest: ModelManifest, started: Int64) async throws {
    let (store, quota) = (store, policy.quotaBytes)
    let (size, here) = try await offPool {
      let here =
        BlobFile.allocated(store.partialPath(manifest.sha256))
        + BlobFile.allocated(store.blobPath(manifest.sha256))
      return (try StoreSize(of: store), min(here, manifest.length))
    }
    let needed = manifest.length - here
    let overQuota = quota > 0 && size.used + needed > quota ? size.used + needed - quota : 0
    let wanted = needed + ModelRegistry.diskReserve
    let overDisk = wanted > size.free ? wanted - size.free : 0
    guard max(overQuota, overDisk) > 0 else { return }
    guard let going = await inventory().room(max(overQuota, overDisk), for: manifest, before: started) else {
      // The disk's own limit is told by the installer, in its own words.
      guard overQuota > 0 else { return }
      throw RegistryError.noRoom(model: manifest.label, needed: needed, used: size.used, quota: quota)
    }
    try await evict(Set(going.map(\.manifest)), for: manifest)
  }

  /// On record first, then the rows in one transaction, then the files: a crash leaves files that no row names, which
  /// the next collection takes away.
  private func evict(_ manifests: Set<ModelManifest>, for incoming: ModelManifest) async throws {
    let going = models.filter { manifests.contains($0.manifest) }
    for model in going {
      var record = fields(of: model, event: model.isRetired ? "removed" : "evicted")
      record["for"] = .string(incoming.label)
      try await audit(.model, "system", record)
    }
    let now = now()
    let evictions = going.filter { !$0.isRetired }.map { StoreMarks.Eviction(manifest: $0.manifest, at: now) }
    try await database.write { connection in
      for model in going { try ModelTable.remove(model, connection) }
      for eviction in evictions { try StoreMarks.evict(eviction, connection) }
    }
    dropRows(going)
    for eviction in evictions { marks.evictions[eviction.manifest.targetPath] = eviction }
    _ = try await sweep()
  }

  /// Forgets evictions of models that nobody wants any more.
  func forgetEvictions(allBut wanted: [ModelManifest]) async throws {
    let stale = marks.evictions.filter { !wanted.contains($0.value.manifest) }.map(\.key)
    guard !stale.isEmpty else { return }
    try await database.write { connection in
      for path in stale { try StoreMarks.recall(path, connection) }
    }
    for path in stale { marks.evictions[path] = nil }
  }

  // MARK: garbage

  /// Takes away what nobody needs. `isDryRun`: only says what that is. Throws `RegistryError.busy` during a sync.
  func collect(isDryRun: Bool = false) async throws -> StoreCollection {
    guard !isReconciling else { throw RegistryError.busy }
    isReconciling = true
    defer { isReconciling = false }
    return try await collectGarbage(isDryRun: isDryRun)
  }

  /// The same within a reconciliation.
  func collectGarbage(isDryRun: Bool = false) async throws -> StoreCollection {
    let inventory = await inventory()
    let garbage = Set(inventory.garbage.map(\.manifest))
    let gone = models.filter { $0.isRetired && garbage.contains($0.manifest) }
    var result = StoreCollection()
    result.removed = gone.map(\.manifest.label)
    for holding in inventory.holdings where holding.isRetired {
      result.kept[holding.manifest.label] = inventory.reason(toKeep: holding)
    }
    if !isDryRun {
      for model in gone where model.state == .active {
        try await audit(.model, "system", fields(of: model, event: "removed"))
      }
      if !gone.isEmpty { try await forget(gone) }
    }
    (result.files, result.bytes) = try await sweep(without: isDryRun ? gone : [], isDryRun: isDryRun)
    return result
  }

  /// Removes files that no row names: of models just forgotten, or of a run that was killed between row and file.
  func sweep(without gone: [InstalledModel] = [], isDryRun: Bool = false) async throws -> (files: Int, bytes: UInt64) {
    if !isDryRun { try await sweepVouchers() }
    let rows = models.filter { model in !gone.contains { $0.isSameFile(as: model) } }
    let named = Set(rows.flatMap { [$0.manifest.sha256.hex, $0.manifest.indexDigest?.hex ?? ""] })
    let root = store.root
    return try await offPool {
      var (files, bytes): (Int, UInt64) = (0, 0)
      for folder in ["blobs/sha256", "partial", "indexes"] {
        for file in try DurableFile.names(in: "\(root)/\(folder)") where !named.contains(String(file.prefix(64))) {
          files += 1
          bytes += BlobFile.allocated("\(root)/\(folder)/\(file)")
          if !isDryRun { try DurableFile.remove("\(root)/\(folder)/\(file)") }
        }
      }
      return (files, bytes)
    }
  }
}
