import Storage
import Trust

/// Somewhere that readers fetch a repository from: names below it, each written whole or not at all.
protocol RepoPlace: Sendable {
  /// For messages.
  var name: String { get }
  /// A file's bytes, nil when there is none.
  func read(_ name: String, limit: Int) async throws -> [UInt8]?
  /// Of these objects, named with their sizes in bytes, those that are missing or not whole.
  func missing(_ objects: [RepoObject]) async throws -> [RepoObject]
  /// Puts a file in its place.
  func write(_ name: String, _ bytes: [UInt8]) async throws
  /// Puts a large file of this digest in its place, a piece at a time.
  func copy(_ name: String, from path: String, sha256: Digest) async throws
  func close() async
}

/// Something that never changes: a chunk, an index.
struct RepoObject: Hashable, Sendable {
  /// Below the repository.
  let name: String
  /// Bytes.
  let size: UInt64
}

/// A folder that a web server serves.
struct FolderPlace: RepoPlace {
  let path: String
  var name: String { path }

  func read(_ name: String, limit: Int) async throws -> [UInt8]? {
    try DurableFile.read("\(path)/\(name)", limit: limit)
  }

  func missing(_ objects: [RepoObject]) async throws -> [RepoObject] {
    objects.filter { DurableFile.size("\(path)/\($0.name)") != $0.size }
  }

  func write(_ name: String, _ bytes: [UInt8]) async throws {
    let file = "\(path)/\(name)"
    let folder = String(file[..<(file.lastIndex(of: "/") ?? file.endIndex)])
    try DurableFile.makeDirectory(folder, mode: 0o755)
    try DurableFile.replace(file, with: bytes, mode: 0o644)
  }

  func copy(_ name: String, from path: String, sha256: Digest) async throws {
    guard try FileCopy.make(path, to: "\(self.path)/\(name)", accept: { $0 == sha256 }) else {
      throw StorageError.wrongDigest(path: path)
    }
  }

  func close() async {}
}
