import Fleet
import Models
import Storage
import Trust

/// What goes into a bundle, from the hub's own files: small parts at hand, large ones by where they lie.
struct BundleContents: Sendable {
  enum Part: Sendable {
    case bytes(BundleKind, String, [UInt8])
    case file(BundleKind, String, path: String)
  }

  private(set) var parts: [Part] = []
  /// Chunks, sorted by id.
  private(set) var chunks: [Digest] = []

  mutating func add(_ kind: BundleKind, _ name: String, _ bytes: [UInt8]) { parts.append(.bytes(kind, name, bytes)) }
  mutating func add(_ kind: BundleKind, _ name: String, path: String) {
    parts.append(.file(kind, name, path: path))
  }
  mutating func add(chunks ids: Set<Digest>) { chunks = ids.sorted() }

  /// Parts in the order in which they stand in the file.
  mutating func sort() {
    func key(_ part: Part) -> BundleEntry {
      switch part {
      case .bytes(let kind, let name, _), .file(let kind, let name, _):
        BundleEntry(kind: kind, name: name, length: 0, sha256: Merkle.emptyRoot)
      }
    }
    parts.sort { BundleEntry.isOrdered(key($0), key($1)) }
  }
}

/// Writes a bundle in two passes over the files: one that measures and hashes, and after the signature one that hands
/// the bytes on. What changes on the disk between the two makes a bundle that nobody takes. Blocks.
struct BundleWriter: Sendable {
  let contents: BundleContents
  let files: RepositoryFiles

  private static let piece = 1 << 18

  /// What the manifest says of the entries.
  func measure() throws -> (entries: UInt64, length: UInt64, sha256: Digest) {
    var listing = BundleListing()
    for part in contents.parts { try listing.add(entry(part)) }
    for id in contents.chunks { try listing.add(BundleEntry(kind: .chunk, name: id.hex, bytes: chunk(id))) }
    return listing.finish()
  }

  /// The beginning of an entry: its head, and its bytes when they are few.
  func start(of number: Int) throws -> [UInt8] {
    guard number < contents.parts.count else {
      let id = contents.chunks[number - contents.parts.count]
      let bytes = try chunk(id)
      return BundleEntry(kind: .chunk, name: id.hex, bytes: bytes).header + bytes
    }
    let part = contents.parts[number]
    let header = try entry(part).header
    if case .bytes(_, _, let bytes) = part { return header + bytes }
    return header
  }

  /// What follows: a large entry's bytes from this offset on, empty at its end.
  func rest(of number: Int, at offset: UInt64) throws -> [UInt8] {
    guard number < contents.parts.count, case .file(_, _, let path) = contents.parts[number] else { return [] }
    return try FilePieces.read(path, at: offset, count: BundleWriter.piece)
  }

  var count: Int { contents.parts.count + contents.chunks.count }

  private func chunk(_ id: Digest) throws -> [UInt8] {
    guard let bytes = try DurableFile.read(files.chunkPath(id), limit: RepositoryFiles.largestCompressedChunk) else {
      throw HubError(.conflict, "the chunk \(id.hex) is missing on the hub", hint: "publish the repository again")
    }
    return bytes
  }

  private func entry(_ part: BundleContents.Part) throws -> BundleEntry {
    switch part {
    case .bytes(let kind, let name, let bytes): return BundleEntry(kind: kind, name: name, bytes: bytes)
    case .file(let kind, let name, let path):
      var hasher = SHA256()
      var length: UInt64 = 0
      try FilePieces.read(path, BundleWriter.piece) {
        hasher.update($0)
        length += UInt64($0.count)
      }
      return BundleEntry(kind: kind, name: name, length: length, sha256: hasher.finalize())
    }
  }
}
