import CommandLine
import Models
import Storage
import Trust

/// Brings a repository to a place. Killed anywhere, the place shows the old repository or the new one, and the next run
/// goes on.
struct RepoCopy {
  let folder: RepoFolder
  let contents: RepoContents
  let place: any RepoPlace

  /// Returns how many chunks the place did not have.
  func run(_ upload: RepoUpload, _ progress: ProgressBar) async throws -> Int {
    guard !contents.isSignedOnline else {
      throw CommandFailure(
        "a hub signs this repository's snapshot and timestamp, so that no box could read a plain copy",
        hint: "publish to that hub: --hub URL --pin PIN --admin-token-file FILE", status: .data)
    }
    let there = try await state()
    let sent = try await copyChunks(upload.chunks, progress)
    try await copy(upload.indexes.map { "indexes/\($0.hex).caibx" } + upload.signatures)
    let files = upload.files.map { (object: RepoObject(name: "targets/\($0.filePath)", size: $0.length), file: $0) }
    let missing = Set(try await place.missing(files.map(\.object)))
    for (object, file) in files where missing.contains(object) {
      try await place.copy(object.name, from: folder.file(file), sha256: file.sha256)
    }
    try await copy(upload.policies.map { "targets/\($0.filePath)" })
    progress.finish()
    for file in try order(there) { try await copyMetadata(file) }
    return sent
  }

  private func copyChunks(_ chunks: [ChunkID], _ progress: ProgressBar) async throws -> Int {
    let store = try ChunkStoreWriter(root: folder.chunks)
    let objects = try chunks.map { id -> (ChunkID, RepoObject) in
      guard let size = DurableFile.size(folder.chunk(id)) else {
        throw TUFError.missing(file: RepoFolder.chunkName(id))
      }
      return (id, RepoObject(name: RepoFolder.chunkName(id), size: size))
    }
    let missing = Set(try await place.missing(objects.map(\.1)))
    let wanted = objects.filter { missing.contains($0.1) }
    let place = place
    // A few at a time: enough to fill the line, and memory stays at a few chunks.
    try await withThrowingTaskGroup(of: Void.self) { group in
      var waiting = wanted.makeIterator()
      func next() {
        guard let (id, object) = waiting.next() else { return }
        group.addTask {
          // Read through the digest: what is damaged here must not spread.
          guard let bytes = try store.compressed(id), try store.chunk(id) != nil else {
            throw StorageError.damaged(path: object.name, reason: "its bytes do not have the digest of its name")
          }
          try await place.write(object.name, bytes)
        }
      }
      for _ in 0..<8 { next() }
      var done: UInt64 = 0
      while try await group.next() != nil {
        done += 1
        progress.update("copying chunks", done: done, total: UInt64(wanted.count), unit: .items)
        next()
      }
    }
    return wanted.count
  }

  /// Small files whose names hold their digests.
  private func copy(_ names: [String]) async throws {
    let objects = try names.map { name in
      guard let size = DurableFile.size("\(folder.path)/\(name)") else { throw TUFError.missing(file: name) }
      return RepoObject(name: name, size: size)
    }
    for object in try await place.missing(objects) {
      guard let bytes = try DurableFile.read("\(folder.path)/\(object.name)", limit: 1 << 30) else { continue }
      try await place.write(object.name, bytes)
    }
  }

  private func copyMetadata(_ file: String) async throws {
    guard let bytes = try folder.read(file) else { throw TUFError.missing(file: file) }
    if try await place.read("metadata/\(file)", limit: 1 << 30) != bytes {
      try await place.write("metadata/\(file)", bytes)
    }
  }

  // MARK: - What is there

  /// The current files of the place, as far as its own root vouches for them.
  private struct State {
    var root: TUFRoot?
    var documents: [TUFRole: TUFDocument] = [:]
  }

  /// Refuses another repository, a newer state of this one, and a state that this one has never been in.
  private func state() async throws -> State {
    let limits = TUFWorkflow.Limits()
    func get(_ file: String, _ limit: Int) async throws -> [UInt8]? {
      try await place.read("metadata/\(file)", limit: limit)
    }
    let foreign = CommandFailure(
      "\(place.name) holds another repository", hint: "choose an empty place", status: .data)
    var state = State()
    guard let first = try await get("1.root.json", limits.root) else {
      if try await get("timestamp.json", limits.timestamp) != nil { throw foreign }
      return state
    }
    guard try folder.read("1.root.json") == first else { throw foreign }
    var version: Int64 = 1
    var newest = first
    while let next = try await get("\(version + 1).root.json", limits.root) {
      version += 1
      guard version <= contents.trusted.rootVersion else {
        throw rollback("root", version, contents.trusted.rootVersion)
      }
      guard try folder.read("\(version).root.json") == next else { throw conflict("\(version).root.json") }
      newest = next
    }
    state.root = try TUFRoot(parsing: newest)
    guard let bytes = try await get("timestamp.json", limits.timestamp) else { return state }
    let timestamp = try TUFTimestamp(TUFDocument(parsing: bytes, as: .timestamp))
    state.documents[.timestamp] = timestamp.document
    let name = "\(timestamp.snapshot.version).snapshot.json"
    if let bytes = try await get(name, limits.snapshot) {
      let snapshot = try TUFSnapshot(TUFDocument(parsing: bytes, as: .snapshot))
      state.documents[.snapshot] = snapshot.document
      if let bytes = try await get("\(snapshot.targets.version).targets.json", limits.targets) {
        state.documents[.targets] = try TUFDocument(parsing: bytes, as: .targets)
      }
      for (file, meta) in snapshot.files {
        if let own = contents.snapshot?.files[file]?.version, own < meta.version {
          throw rollback(file, meta.version, own)
        }
      }
    }
    for (role, document) in state.documents {
      guard let own = contents.document(role.rawValue) else { continue }
      if own.version < document.version { throw rollback(role.rawValue, document.version, own.version) }
      if own.version == document.version, own.bytes != document.bytes { throw conflict(role.rawValue) }
    }
    return state
  }

  private func rollback(_ what: String, _ have: Int64, _ got: Int64) -> TUFError {
    .rollback(file: "\(place.name): \(what)", have: have, got: got)
  }

  private func conflict(_ what: String) -> CommandFailure {
    CommandFailure(
      "\(place.name): \(what) of the same version has other content there",
      hint: "two copies of this repository were signed; go on from the one that was published", status: .data)
  }

  /// The order in which metadata is written, the timestamp last: with it the new state becomes the current one.
  ///
  /// A new root goes before it, unless it takes the keys away by which readers verify what is current there. Then new
  /// lists that both the old and the new keys signed go first, and the root makes the end: at no moment does a reader
  /// meet a root and a timestamp that don't fit.
  private func order(_ there: State) throws -> [String] {
    guard let root = there.root, root.document.version < contents.trusted.rootVersion, !there.documents.isEmpty else {
      return contents.roots + contents.lists
    }
    func isSigned(_ document: TUFDocument, _ role: TUFRole, by root: TUFRoot) throws -> Bool {
      try document.validSigners(root.roleKeys(role), keys: root.keys).count >= root.roleKeys(role).threshold
    }
    let staysGood = try there.documents.allSatisfy { role, document in
      try isSigned(document, role, by: contents.trusted.root)
    }
    if staysGood { return contents.roots + contents.lists }
    let isGoodBefore = try there.documents.keys.allSatisfy { role in
      try contents.document(role.rawValue).map { try isSigned($0, role, by: root) } ?? false
    }
    return isGoodBefore ? contents.lists + contents.roots : contents.roots + contents.lists
  }
}
