import Fleet
import FoundationEssentials
import Host
import Models
import Storage
import Trust

/// Makes bundles for boxes that don't see the hub: what they would fetch, and what the hub would answer them.
struct BundleMaker: Sendable {
  let state: HubState
  let director: Director
  let files: RepositoryFiles

  /// What an operator asks for.
  struct Order: Sendable {
    var devices: [DeviceRecord]
    /// All chunks of the boxes' models, not only those that a box seems to lack.
    var everything = false
    /// A policy file for the boxes; linted by whoever made it, and by each box again.
    var policies: [UInt8]?
  }

  /// A bundle that is signed and waits to be written.
  struct Made: Sendable {
    let signed: SignedBundleManifest
    let writer: BundleWriter
  }

  /// Throws `HubError` (not_published, conflict, malformed) and `StorageError`.
  func make(_ order: Order, now: Date) async throws -> Made {
    let seconds = Int64(now.timeIntervalSince1970)
    var contents = BundleContents()
    var targets: [DeviceID: [TUFTarget]] = [:]
    for device in order.devices {
      targets[device.id] = try await addDirector(device, &contents, now)
      let answer = try await state.store.bundleAnswer(device, state: state, now: seconds)
      contents.add(.answer, device.id.hex, try JSONValue(encoding: answer).encoded())
    }
    try addImage(&contents)
    try addDirectorRoots(&contents)
    if let policies = order.policies { contents.add(.policy, "roles.json5", policies) }
    try addContent(order, targets, try await director.directed(), &contents)
    contents.sort()
    let writer = BundleWriter(contents: contents, files: files)
    let sums = try await offPool { try writer.measure() }
    let manifest = BundleManifest(
      origin: .hub, serial: try await state.store.nextBundleSerial(now: seconds), created: seconds,
      devices: order.devices.map(\.id), hub: state.configuration.url, entries: sums.entries, length: sums.length,
      sha256: sums.sha256)
    let key = TUFKey(ed25519: state.onlineKey.verifyingKey)
    return Made(signed: SignedBundleManifest(manifest, key: state.onlineKey, keyID: key.keyID), writer: writer)
  }

  // MARK: metadata

  /// All roots, the timestamp, and what it leads to.
  private func addImage(_ contents: inout BundleContents) throws {
    guard let newest = try files.newest(.root, in: "metadata"), let timestamp = try files.metadata("timestamp.json")
    else {
      throw HubError(.notPublished, "the hub has no repository yet, so there is nothing to carry")
    }
    for version in 1...newest {
      let name = "\(version).root.json"
      if let bytes = try files.metadata(name) { contents.add(.imageRoot, name, bytes) }
    }
    contents.add(.imageMetadata, "timestamp.json", timestamp)
    let named = try TUFTimestamp(TUFDocument(parsing: timestamp, as: .timestamp))
    let name = "\(named.snapshot.version).snapshot.json"
    guard let bytes = try files.metadata(name) else { throw missing(name) }
    contents.add(.imageMetadata, name, bytes)
    for (file, meta) in try TUFSnapshot(TUFDocument(parsing: bytes, as: .snapshot)).files where file.hasSuffix(".json")
    {
      let role = "\(meta.version).\(PercentEncoding.encode(String(file.dropLast(5)))).json"
      guard let bytes = try files.metadata(role) else { throw missing(role) }
      contents.add(.imageMetadata, role, bytes)
    }
  }

  private func addDirectorRoots(_ contents: inout BundleContents) throws {
    let directed = DirectorFiles(directory: state.repositoryDirectory + "/director")
    guard let newest = try directed.newestRoot() else { return }
    for version in 1...newest {
      if let bytes = try directed.root(version) { contents.add(.directorRoot, "\(version).root.json", bytes) }
    }
  }

  /// The box's own statement, signed afresh where it is due. Returns the models that it names.
  private func addDirector(
    _ device: DeviceRecord, _ contents: inout BundleContents, _ now: Date
  ) async throws -> [TUFTarget] {
    let said = try await director.statement(
      for: device.id, words: device.assigned, seen: device.state?.director, now: now)
    guard said.timestamp > 0 else {
      throw HubError(
        .notPublished, "the hub has no director, so no box would install anything",
        hint: "let the publisher run: skerry repo renew DIR --root, then skerry repo publish DIR")
    }
    let directed = DirectorFiles(directory: state.repositoryDirectory + "/director")
    func take(_ name: String) throws -> [UInt8] {
      guard let bytes = try directed.read(device.id, name) else { throw missing(name) }
      contents.add(.directorMetadata, "\(device.id.hex)/\(name)", bytes)
      return bytes
    }
    let timestamp = try TUFTimestamp(TUFDocument(parsing: take("timestamp.json"), as: .timestamp))
    let snapshot = try TUFSnapshot(
      TUFDocument(parsing: take("\(timestamp.snapshot.version).snapshot.json"), as: .snapshot))
    return try TUFTargets(
      TUFDocument(parsing: take("\(snapshot.targets.version).targets.json"), as: .targets)
    ).targets
  }

  private func missing(_ name: String) -> HubError {
    HubError(.conflict, "\(name) is missing on the hub", hint: "publish the repository again")
  }

  // MARK: content

  /// Indexes of all models that the boxes are to have, and the chunks that one of them lacks.
  private func addContent(
    _ order: Order, _ targets: [DeviceID: [TUFTarget]], _ published: [TUFTarget], _ contents: inout BundleContents
  ) throws {
    var indexes: [Digest: ChunkIndex] = [:]
    var chunks: Set<Digest> = []
    var (whole, signatures): (Set<Digest>, Set<Digest>) = ([], [])
    for device in order.devices {
      let wanted = targets[device.id] ?? []
      let active = Set(
        (device.state?.models ?? []).filter { $0.state == "active" }.compactMap { Digest(hex: $0.sha256) })
      var have: Set<Digest> = []
      var needed: Set<Digest> = []
      for target in wanted {
        if let signature = target.custom?["skerry"]?["signature"]?["sha256"]?.string.flatMap({ Digest(hex: $0) }) {
          signatures.insert(signature)
        }
        let isHere = !order.everything && target.sha256.map(active.contains) ?? false
        guard let digest = target.custom?["skerry"]?["index"]?["sha256"]?.string.flatMap({ Digest(hex: $0) }) else {
          if !isHere, let sha256 = target.sha256, whole.insert(sha256).inserted {
            try addWhole(target, sha256, &contents)
          }
          continue
        }
        let index = try indexes[digest] ?? index(digest, &contents)
        indexes[digest] = index
        if !isHere { needed.formUnion(index.chunks.map(\.id)) }
      }
      if !order.everything { have = try held(by: active, among: published) }
      chunks.formUnion(needed.subtracting(have))
    }
    for digest in signatures {
      let path = files.signaturePath(digest)
      if DurableFile.exists(path) { contents.add(.signature, digest.hex, path: path) }
    }
    contents.add(chunks: chunks)
  }

  /// The chunks of models that a box holds, as far as they are still published: it takes them from there.
  private func held(by active: Set<Digest>, among published: [TUFTarget]) throws -> Set<Digest> {
    var found: Set<Digest> = []
    for target in published where target.sha256.map(active.contains) ?? false {
      guard let digest = target.custom?["skerry"]?["index"]?["sha256"]?.string.flatMap({ Digest(hex: $0) }),
        let bytes = try DurableFile.read(files.indexPath(digest), limit: Int(BundleKind.index.limit)),
        let index = try? ChunkIndex(caibx: bytes)
      else { continue }
      found.formUnion(index.chunks.map(\.id))
    }
    return found
  }

  private func index(_ digest: Digest, _ contents: inout BundleContents) throws -> ChunkIndex {
    guard let bytes = try DurableFile.read(files.indexPath(digest), limit: Int(BundleKind.index.limit)) else {
      throw missing("the index \(digest.hex)")
    }
    contents.add(.index, digest.hex, path: files.indexPath(digest))
    do { return try ChunkIndex(caibx: bytes) } catch { throw HubError(.conflict, error.description) }
  }

  /// A target without a chunk index, as the hub serves it: `targets/…/DIGEST.NAME`.
  private func addWhole(_ target: TUFTarget, _ sha256: Digest, _ contents: inout BundleContents) throws {
    var parts = target.path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    if let last = parts.popLast() { parts.append("\(sha256.hex).\(last)") }
    guard let path = files.targetPath(parts.joined(separator: "/")), DurableFile.exists(path) else {
      throw missing("the file of \(target.path)")
    }
    contents.add(.target, sha256.hex, path: path)
  }
}
