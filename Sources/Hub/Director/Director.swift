import Fleet
import FoundationEssentials
import Host
import Storage
import Trust

/// Says to each box which of the signed models it is to have, in metadata of the box's own that the hub's online key
/// signs (Uptane's director).
///
/// It is made when a box asks: versions rise only when the content changes or an expiry comes near, and all is on disk
/// before a box gets it, the timestamp last.
public actor Director {
  /// How long what is signed stays valid, in seconds. Half of it later it is signed again.
  static let timestampLifetime = 7.0 * 86400
  static let lifetime = 90.0 * 86400
  /// Boxes whose metadata is held in memory.
  private static let remembered = 256
  /// A box's word for what it has seen is believed up to here.
  private static let highestSeen = 1 << 40

  private let files: DirectorFiles
  private let store: HubStore
  private let repository: Repository
  private let onlineKey: SigningKey
  private let executor = QueueExecutor(label: "skerry.hub.director")
  private var root: TrustedMetadata?
  private var models: [TUFTarget]?
  private var boxes: [DeviceID: TrustedMetadata] = [:]

  public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  init(directory: String, store: HubStore, repository: Repository, onlineKey: SigningKey) {
    files = DirectorFiles(directory: directory)
    self.store = store
    self.repository = repository
    self.onlineKey = onlineKey
  }

  private nonisolated var roots: DirectorRoots {
    DirectorRoots(files: files, onlineKey: onlineKey.verifyingKey)
  }

  /// Where a file lies that a box asks for; nil for what is none of its files.
  nonisolated func path(_ device: DeviceID, _ name: String) -> String? { files.path(device, name) }

  /// Keeps an uploaded root until the commit.
  func stage(_ name: String, _ bytes: [UInt8]) throws { try files.stage(name, bytes) }

  /// The version of the director's newest root; 0 before the first.
  public func rootVersion() throws -> Int64 { try newestRoot()?.rootVersion ?? 0 }

  /// Forgets roots that were uploaded and not committed.
  func discard() throws { try files.clearStaged() }

  // MARK: publications

  /// Publishes through the repository, takes the director's staged roots, and follows the new list of models.
  public func commit(now: Date) async throws -> RepositoryVersions {
    let wasPending = try await store.directed()?.isPending ?? true
    try await store.setDirectorPending(true)
    let versions: RepositoryVersions
    do {
      versions = try await repository.commit(now: now)
    } catch {
      try files.clearStaged()
      if !wasPending { try await store.setDirectorPending(false) }
      throw error
    }
    try await follow()
    if let image = try await repository.trustedMetadata() {
      defer { (root, boxes) = (nil, [:]) }
      do { try roots.commit(image: image) } catch {
        try files.clearStaged()
        throw error
      }
    }
    return versions
  }

  /// Follows what is published where a crash came between, or where this hub published before it had a director.
  public func recover() async throws {
    if try await store.directed()?.isPending != false { try await follow() }
  }

  private func follow() async throws {
    let published = try await repository.targets()
    try await store.direct(published)
    models = try await store.directed()?.targets
  }

  /// The models that boxes may be given.
  func directed() async throws -> [TUFTarget] {
    if let models { return models }
    let found = try await store.directed()?.targets ?? []
    models = found
    return found
  }

  // MARK: one box

  /// The versions of a box's metadata, made or signed afresh where it is due; zeros when the hub has no director's root.
  ///
  /// - Parameters:
  ///   - words: the box's assignment.
  ///   - seen: the versions that the box says it has: after a hub was restored from a backup it counts on from there.
  func statement(
    for device: DeviceID, words: [String]?, seen: RepositoryVersions? = nil, now: Date
  ) async throws -> RepositoryVersions {
    // A policy is not crowded out by models.
    let chosen = Assignment(words).choose(among: try await directed())
    let policies = chosen.filter { PolicyTarget($0.target) != nil }
    let models = chosen.filter { PolicyTarget($0.target) == nil }.prefix(DirectorStatement.longest - policies.count)
    let targets = (models + policies).map { DirectorStatement.target($0.target, isRollback: $0.isRollback) }
    let time = Int64(now.timeIntervalSince1970)
    let grants = try await store.breakGlass(device, now: time)
    let retention = try await store.retention(device).flatMap { time < $0.expires ? $0 : nil }
    // No suspension from here on: what is compared is what is written.
    guard let root = try newestRoot() else { return RepositoryVersions() }
    let have = try boxes[device] ?? load(device, root)
    do {
      let made = try renew(device, root, have, targets, grants, retention, seen, now)
      if boxes.count >= Director.remembered { boxes = [:] }
      boxes[device] = made
      return RepositoryVersions(made)
    } catch let error where error is TUFError || error is HubError {
      // What was signed before goes on being served while it lasts.
      Log.shared.error("the director can't sign", ["device": device.hex, "reason": "\(error)"])
      return RepositoryVersions(have)
    }
  }

  private func newestRoot() throws -> TrustedMetadata? {
    if let root { return root }
    root = try roots.published()
    return root
  }

  /// What the box has been given last, as far as the newest root still vouches for it.
  private func load(_ device: DeviceID, _ root: TrustedMetadata) throws -> TrustedMetadata {
    var local = TUFLocalState(root: root.root.document.bytes)
    local.timestamp = try files.read(device, "timestamp.json")
    if let meta = try TrustedMetadata.loadOffline(local).snapshotMeta {
      local.snapshot = try files.read(device, "\(meta.version).snapshot.json")
    }
    if let meta = try TrustedMetadata.loadOffline(local).targetsMeta {
      local.targets = try files.read(device, "\(meta.version).targets.json")
    }
    return try TrustedMetadata.loadOffline(local)
  }

  private func renew(
    _ device: DeviceID, _ root: TrustedMetadata, _ have: TrustedMetadata, _ targets: [TUFTarget],
    _ grants: [BreakGlassGrant], _ retention: RetentionException?, _ seen: RepositoryVersions?, _ now: Date
  ) throws -> TrustedMetadata {
    func isDue(_ document: TUFDocument?, _ lifetime: Double) -> Bool {
      document.map { $0.expires.timeIntervalSince(now) < lifetime / 2 } ?? true
    }
    let seen = seen ?? RepositoryVersions()
    func isBehind(_ have: Int64?, _ seen: Int) -> Bool { seen < Director.highestSeen && (have ?? 0) < Int64(seen) }
    func next(_ have: Int64?, _ newest: Int64, _ seen: Int) -> Int64 {
      max(have ?? 0, newest, seen < Director.highestSeen ? Int64(seen) : 0) + 1
    }
    let needsTargets =
      have.targetsMetadata?.targets != targets || have.targetsMetadata?.breakGlass != grants
      || have.targetsMetadata?.retention != retention
      || isDue(have.targetsMetadata?.document, Director.lifetime)
      || isBehind(have.targetsVersion, seen.targets)
    let needsSnapshot =
      needsTargets || isDue(have.snapshot?.document, Director.lifetime) || isBehind(have.snapshotVersion, seen.snapshot)
    let needsTimestamp =
      needsSnapshot || isDue(have.timestamp?.document, Director.timestampLifetime)
      || isBehind(have.timestampVersion, seen.timestamp)
    guard needsTimestamp else { return have }
    try roots.check(root.root)
    let binding = TUFBinding(device: device.hex)
    func signed(_ value: TUFSigned) throws -> [UInt8] { try value.bound(to: binding).signed(by: [onlineKey]) }

    var trusted = root
    try trusted.finishRoot(now: now)
    var targetsFile = have.targetsMetadata?.document
    if needsTargets || targetsFile == nil {
      let version = next(have.targetsVersion, try files.newest(device, .targets), seen.targets)
      targetsFile = try TUFDocument(
        parsing: signed(
          TUFWriter.targets(version: version, expires: now.addingTimeInterval(Director.lifetime), targets: targets)
            .adding(grants).adding(retention)),
        as: .targets)
    }
    guard let targetsFile else { throw TUFError.outOfOrder("no targets") }
    var snapshotFile = have.snapshot?.document
    if needsSnapshot || snapshotFile == nil {
      let version = next(have.snapshotVersion, try files.newest(device, .snapshot), seen.snapshot)
      snapshotFile = try TUFDocument(
        parsing: signed(
          TUFWriter.snapshot(
            version: version, expires: now.addingTimeInterval(Director.lifetime),
            files: ["targets.json": TUFFileMeta(of: targetsFile)])), as: .snapshot)
    }
    guard let snapshotFile else { throw TUFError.outOfOrder("no snapshot") }
    let old = try files.read(device, "timestamp.json").flatMap { try? TUFDocument(parsing: $0, as: .timestamp) }
    let timestamp = try signed(
      TUFWriter.timestamp(
        version: next(have.timestampVersion, old?.version ?? 0, seen.timestamp),
        expires: now.addingTimeInterval(Director.timestampLifetime), snapshot: TUFFileMeta(of: snapshotFile),
        signedAt: now))
    // The last word: a box must take it.
    _ = try trusted.updateTimestamp(timestamp, now: now)
    try trusted.updateSnapshot(snapshotFile.bytes, now: now)
    try trusted.updateTargets(targetsFile.bytes, now: now)
    try files.write(device, "\(targetsFile.version).targets.json", targetsFile.bytes)
    try files.write(device, "\(snapshotFile.version).snapshot.json", snapshotFile.bytes)
    try files.write(device, "timestamp.json", timestamp)
    try files.prune(device)
    return trusted
  }
}
