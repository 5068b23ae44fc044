import Glibc
import Models
import Synchronization
import Trust

/// Files by the SHA-256 of their content, under one folder:
/// ```
/// blobs/sha256/HEX     whole and verified when it was put there
/// indexes/HEX.caibx    chunk indexes, by the index's own digest
/// partial/HEX          a download under way, by the digest that it must have in the end
/// partial/HEX.claims   which of its chunks are here
/// ```
/// Only `ChunkAssembler.finish`, `WholeFileAssembler.finish` and `putBlob` put a blob in its place, by a rename after a sync: a crash leaves a
/// whole blob or none.
public struct ContentStore: Sendable {
  public let root: String

  /// Makes the folders that are missing, for the owner alone.
  public init(root: String) throws(StorageError) {
    self.root = root
    for folder in ["blobs/sha256", "indexes", "partial"] { try DurableFile.makeDirectory("\(root)/\(folder)") }
  }

  public func blobPath(_ digest: Digest) -> String { "\(root)/blobs/sha256/\(digest.hex)" }
  public func indexPath(_ digest: Digest) -> String { "\(root)/indexes/\(digest.hex).caibx" }
  public func partialPath(_ digest: Digest) -> String { "\(root)/partial/\(digest.hex)" }

  /// What of a download is here; see `PartialClaims`.
  func claimsPath(_ digest: Digest) -> String { "\(partialPath(digest)).claims" }

  public func has(_ digest: Digest) -> Bool { DurableFile.exists(blobPath(digest)) }

  /// The digests of all blobs.
  public func blobs() throws(StorageError) -> [Digest] {
    try DurableFile.names(in: "\(root)/blobs/sha256").compactMap { Digest(hex: $0) }
  }

  /// Bytes that may still be written here.
  public func freeSpace() throws(StorageError) -> UInt64 {
    var status = statvfs()
    try System.call("statvfs", root) { statvfs(root, &status) }
    return UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }

  /// Reads the whole blob, a mebibyte at a time, and says whether it is what its name promises. `progress` gets
  /// the bytes done and the bytes in all. Blocks for as long as the disk takes.
  public func verify(_ digest: Digest, progress: (UInt64, UInt64) -> Void = { _, _ in }) throws(StorageError) -> Bool {
    try FileDigest.of(blobPath(digest), progress: progress) == digest
  }

  /// Opens the blob for an engine; see `VerifiedFile`.
  public func open(
    _ digest: Digest, progress: (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) -> VerifiedFile {
    try VerifiedFile(blobPath(digest), is: digest, progress: progress)
  }

  /// Stores a chunk index that has this digest; other bytes are refused.
  public func putIndex(_ digest: Digest, _ bytes: [UInt8]) throws -> ChunkIndex {
    guard Digest(of: bytes) == digest else { throw StorageError.wrongDigest(path: indexPath(digest)) }
    let index = try ChunkIndex(caibx: bytes)
    try DurableFile.replace(indexPath(digest), with: bytes)
    return index
  }

  /// The index, read and checked again; nil when it is absent or no longer matches its name.
  public func index(_ digest: Digest) throws -> ChunkIndex? {
    guard let bytes = try DurableFile.read(indexPath(digest), limit: ChunkIndex.largestIndex),
      Digest(of: bytes) == digest
    else {
      return nil
    }
    return try ChunkIndex(caibx: bytes)
  }

  /// Stores a small blob at once.
  public func putBlob(_ bytes: [UInt8]) throws(StorageError) -> Digest {
    let digest = Digest(of: bytes)
    try DurableFile.replace(blobPath(digest), with: bytes)
    return digest
  }

  /// Makes a damaged blob a download under way again, so that only its bad chunks are fetched anew. What is no plain
  /// file of our own goes: writing through it would write elsewhere.
  public func demote(_ digest: Digest) throws(StorageError) {
    var status = stat()
    let isPlain =
      lstat(blobPath(digest), &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_nlink == 1
      && status.st_mode & (S_IWGRP | S_IWOTH) == 0 && status.st_uid == geteuid()
    guard isPlain else { return try DurableFile.remove(blobPath(digest)) }
    try DurableFile.remove(claimsPath(digest))
    try DurableFile.move(blobPath(digest), to: partialPath(digest))
    try DurableFile.syncFolder(of: blobPath(digest))
  }

  /// The chunks that are neither in the blob nor in what was downloaded of it; all of them when there is nothing.
  public func missingChunks(of index: ChunkIndex, digest: Digest) throws(StorageError) -> [Chunk] {
    for path in [blobPath(digest), partialPath(digest)] where DurableFile.exists(path) {
      let file = try OpenFile(path, O_RDONLY)
      let isHere = try file.verified(index, upTo: file.size()) { _, _ in }
      return index.chunks.enumerated().filter { !isHere[$0.offset] }.map(\.element)
    }
    return Array(index.chunks)
  }

  /// Removes the blob and what was downloaded of it.
  public func remove(_ digest: Digest) throws(StorageError) {
    try DurableFile.remove(blobPath(digest))
    try DurableFile.remove(partialPath(digest))
    try DurableFile.remove(claimsPath(digest))
  }

  public func removeIndex(_ digest: Digest) throws(StorageError) { try DurableFile.remove(indexPath(digest)) }
}

/// Digests of files of any size.
public enum FileDigest {
  /// The SHA-256 of the file's content, read a mebibyte at a time.
  public static func of(
    _ path: String, progress: (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) -> Digest {
    try of(OpenFile(path, O_RDONLY), progress: progress)
  }

  static func of(_ file: OpenFile, progress: (UInt64, UInt64) -> Void) throws(StorageError) -> Digest {
    let size = try file.size()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var hasher = SHA256()
    var at: UInt64 = 0
    while true {
      let got = try file.read(at: at, into: buffer)
      if got == 0 { break }
      hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
      at += UInt64(got)
      progress(at, max(size, at))
    }
    return hasher.finalize()
  }
}

extension OpenFile {
  /// Which of an index's chunks are in their place, each hashed, several at a time. A hole counts as absent without being
  /// read, and so does what begins past `end`. `progress` gets the bytes looked at and the bytes in all.
  func verified(
    _ index: ChunkIndex, upTo end: UInt64, progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) throws(StorageError) -> [Bool] {
    let found = Mutex([Bool](repeating: false, count: index.count))
    let done = Atomic<UInt64>(0)
    try Parallel.each(index.count) { number throws(StorageError) in
      let (offset, length) = (index.offset(number), index.length(number))
      if offset < end, try !self.isHole(offset, length) {
        let bytes = try self.read(at: offset, count: length)
        if bytes.count == length, Digest(of: bytes) == index.id(number) { found.withLock { $0[number] = true } }
      }
      progress(done.wrappingAdd(UInt64(length), ordering: .relaxed).newValue, index.totalLength)
    }
    return found.withLock { $0 }
  }

  /// Whether no byte of this piece was ever written.
  func isHole(_ offset: UInt64, _ length: Int) throws(StorageError) -> Bool {
    // SEEK_DATA of lseek(2), which Swift does not import.
    let data = lseek(descriptor, off_t(offset), 3)
    if data < 0 { return errno == ENXIO }
    return data >= off_t(offset) + off_t(length)
  }
}
