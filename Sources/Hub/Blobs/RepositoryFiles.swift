import Fleet
import Glibc
import Models
import Storage
import Trust

/// The hub's copy of the repository: `metadata`, `indexes`, `chunks` and `targets` as boxes fetch them, `staged` for
/// what a publisher has uploaded and not committed. Names are checked before they become paths.
public struct RepositoryFiles: Sendable {
  public let directory: String

  public init(directory: String) { self.directory = directory }

  /// Metadata files that may be uploaded, with their largest sizes in bytes.
  public static func metadataLimit(_ name: String) -> Int? {
    let limits = TUFWorkflow.Limits()
    if name == "timestamp.json" { return limits.timestamp }
    switch TUFFileName.parse(name)?.role {
    case nil: return nil
    case "root": return limits.root
    case "snapshot": return limits.snapshot
    // Delegated roles' are lists of targets too.
    default: return limits.targets
    }
  }

  // MARK: - Metadata

  public func metadata(_ name: String) throws -> [UInt8]? { try DurableFile.read("\(directory)/metadata/\(name)") }
  public func staged(_ name: String) throws -> [UInt8]? { try DurableFile.read("\(directory)/staged/\(name)") }

  public func publish(_ name: String, _ bytes: [UInt8]) throws {
    try DurableFile.replace("\(directory)/metadata/\(name)", with: bytes)
  }

  public func stage(_ name: String, _ bytes: [UInt8]) throws {
    try DurableFile.replace("\(directory)/staged/\(name)", with: bytes)
  }

  public func unstage(_ name: String) throws { try DurableFile.remove("\(directory)/staged/\(name)") }
  public func stagedNames() throws -> [String] { try DurableFile.names(in: "\(directory)/staged") }

  /// The highest N of `N.role.json` in a folder.
  public func newest(_ role: TUFRole, in folder: String) throws -> Int64? { try newest(in: folder)[role.rawValue] }

  /// By role, delegated ones among them: the highest N of `N.ROLE.json` in a folder.
  func newest(in folder: String) throws -> [String: Int64] {
    var found: [String: Int64] = [:]
    for name in try DurableFile.names(in: "\(directory)/\(folder)") {
      guard let (role, version) = TUFFileName.parse(name) else { continue }
      found[role] = max(found[role] ?? 0, version)
    }
    return found
  }

  // MARK: - Chunks and indexes

  public func chunkPath(_ id: ChunkID) -> String { "\(directory)/chunks/\(id.hex.prefix(4))/\(id.hex).cacnk" }
  public func indexPath(_ digest: Digest) -> String { "\(directory)/indexes/\(digest.hex).caibx" }
  public func targetPath(_ path: String) -> String? {
    RepositoryFiles.isPlain(path) ? "\(directory)/targets/\(path)" : nil
  }

  /// The size of a regular file in bytes; nil for anything else, such as a folder.
  static func size(_ path: String) -> UInt64? {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return UInt64(status.st_size)
  }

  /// A relative path that stays where it is put.
  static func isPlain(_ path: String) -> Bool {
    path.utf8.count <= 512
      && path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && !$0.hasPrefix(".") && $0.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x5C }
      }
  }

  public func hasChunk(_ id: ChunkID) -> Bool { DurableFile.exists(chunkPath(id)) }

  /// Keeps a compressed chunk whose bytes are what its name says. Throws `HubError` (malformed). It is there when
  /// this returns, and on the disk for certain after the commit.
  public func putChunk(_ id: ChunkID, _ compressed: [UInt8]) throws {
    try RepositoryFiles.check(id, compressed)
    let path = chunkPath(id)
    try DurableFile.makeDirectory("\(directory)/chunks/\(id.hex.prefix(4))")
    // Not synced yet, which would cost a disk's latency for each 64 KiB that comes over the network: the commit reads
    // every chunk again and syncs it.
    let temporary = "\(path).\(Hex.encode(SecureRandom.bytes(8))).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw RepositoryFiles.failure("create", temporary) }
    defer { close(descriptor) }
    var rest = compressed[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let error = RepositoryFiles.failure("write", temporary)
        unlink(temporary)
        throw error
      }
      rest = rest.dropFirst(count)
    }
    guard rename(temporary, path) == 0 else {
      let error = RepositoryFiles.failure("rename", path)
      unlink(temporary)
      throw error
    }
  }

  /// Keeps an index, durably. Throws `HubError` (malformed) when its bytes are not what its name says.
  public func putIndex(_ digest: Digest, _ bytes: [UInt8]) throws {
    guard Digest(of: bytes) == digest else {
      throw HubError(.malformed, "the index's bytes do not match the digest in its name")
    }
    do { _ = try ChunkIndex(caibx: bytes) } catch { throw HubError(.malformed, error.description) }
    try DurableFile.replace(indexPath(digest), with: bytes)
  }

  public func signaturePath(_ digest: Digest) -> String { "\(directory)/\(PublisherSignature.path(digest))" }

  /// Keeps a publisher's signature, durably. Throws `HubError` (malformed) when its bytes are not what its name says, or
  /// are no signature.
  public func putSignature(_ digest: Digest, _ bytes: [UInt8]) throws {
    guard Digest(of: bytes) == digest else {
      throw HubError(.malformed, "the signature's bytes do not match the digest in its name")
    }
    do { _ = try SigstoreBundle(parsing: bytes) } catch { throw HubError(.malformed, error.description) }
    try DurableFile.makeDirectory("\(directory)/signatures")
    try DurableFile.replace(signaturePath(digest), with: bytes)
  }

  /// Makes sure that a publisher's signature is there. Throws `HubError` (conflict).
  func demandSignature(_ digest: Digest, on target: String) throws {
    guard let bytes = try DurableFile.read(signaturePath(digest), limit: SigstoreBundle.limit),
      Digest(of: bytes) == digest
    else {
      throw HubError(
        .conflict, "the publisher's signature on \(target) is missing: \(digest.hex)",
        hint: "upload it, then commit again")
    }
  }

  /// Makes sure that all of an index's chunks are there, whole and durable. Remembered, so that it costs its time
  /// once. Throws `HubError` (conflict) that says what is missing.
  func demandChunks(of digest: Digest, for target: String) throws {
    let mark = "\(directory)/verified/\(digest.hex)"
    if DurableFile.exists(mark) { return }
    guard let bytes = try DurableFile.read(indexPath(digest), limit: 256 << 20), Digest(of: bytes) == digest else {
      throw HubError(
        .conflict, "the chunk index of \(target) is missing: \(digest.hex)", hint: "upload it, then commit again")
    }
    let index: ChunkIndex
    do { index = try ChunkIndex(caibx: bytes) } catch { throw HubError(.malformed, error.description) }
    var missing = 0
    var folders: Set<String> = []
    for id in Set(index.chunks.map(\.id)) {
      let path = chunkPath(id)
      let chunk = try DurableFile.read(path, limit: RepositoryFiles.largestCompressedChunk)
      if let chunk, (try? RepositoryFiles.check(id, chunk)) != nil {
        try RepositoryFiles.sync(path)
        folders.insert("\(directory)/chunks/\(id.hex.prefix(4))")
        continue
      }
      // A power cut may have left half a chunk under its name: out of the way, so that it is uploaded again.
      if chunk != nil { try DurableFile.remove(path) }
      missing += 1
    }
    guard missing == 0 else {
      throw HubError(
        .conflict, "\(missing) of \(index.chunks.count) chunks of \(target) are missing or damaged",
        hint: "upload what POST /admin/v1/repo/missing names, then commit again")
    }
    for folder in folders { try RepositoryFiles.sync(folder) }
    try RepositoryFiles.sync("\(directory)/chunks")
    try DurableFile.replace(mark, with: [])
  }

  /// Compressing never adds more than this to a chunk of the largest size, in bytes.
  static let largestCompressedChunk = Int(ChunkIndex.largestChunk) + (1 << 20)

  private static func check(_ id: ChunkID, _ compressed: [UInt8]) throws {
    let bytes: [UInt8]
    do { bytes = try Zstd.decompress(compressed, limit: Int(ChunkIndex.largestChunk)) } catch {
      throw HubError(.malformed, "chunk \(id.hex): \(error)")
    }
    guard Digest(of: bytes) == id else {
      throw HubError(.malformed, "chunk \(id.hex): its bytes do not match the digest in its name")
    }
  }

  private static func sync(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw failure("sync", path) }
  }

  static func failure(_ operation: String, _ path: String) -> StorageError {
    let code = errno
    switch code {
    case ENOSPC, EDQUOT: return .full(path: path)
    case EROFS: return .readOnly(path: path)
    case EACCES, EPERM: return .denied(path: path)
    default: return .system(path: path, operation: operation, code: code)
    }
  }
}
