import Glibc
import Models
import Trust

/// Files by the SHA-256 of their content, under one folder:
/// ```
/// blobs/sha256/HEX     whole and verified when it was put there
/// indexes/HEX.caibx    chunk indexes, by the index's own digest
/// partial/HEX          a download under way, by the digest that it must have in the end
/// ```
/// Only `ChunkAssembler.finish` and `putBlob` put a blob in its place, by a rename after a sync: a crash leaves a
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
    guard let bytes = try DurableFile.read(indexPath(digest), limit: 64 << 20), Digest(of: bytes) == digest else {
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
    try DurableFile.move(blobPath(digest), to: partialPath(digest))
    try DurableFile.syncFolder(of: blobPath(digest))
  }

  /// The chunks that are neither in the blob nor in what was downloaded of it; all of them when there is nothing.
  public func missingChunks(of index: ChunkIndex, digest: Digest) throws(StorageError) -> [Chunk] {
    for path in [blobPath(digest), partialPath(digest)] where DurableFile.exists(path) {
      let file = try OpenFile(path, O_RDONLY)
      var missing: [Chunk] = []
      for chunk in index.chunks where try !file.holds(chunk) { missing.append(chunk) }
      return missing
    }
    return index.chunks
  }

  /// Removes the blob and what was downloaded of it.
  public func remove(_ digest: Digest) throws(StorageError) {
    try DurableFile.remove(blobPath(digest))
    try DurableFile.remove(partialPath(digest))
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
  /// Whether the chunk's bytes are in their place. A hole counts as absent without being read.
  func holds(_ chunk: Chunk) throws(StorageError) -> Bool {
    // SEEK_DATA of lseek(2), which Swift does not import.
    let data = lseek(descriptor, off_t(chunk.offset), 3)
    if data < 0, errno == ENXIO { return false }
    if data >= off_t(chunk.end) { return false }
    let bytes = try read(at: chunk.offset, count: chunk.length)
    return bytes.count == chunk.length && Digest(of: bytes) == chunk.id
  }
}
