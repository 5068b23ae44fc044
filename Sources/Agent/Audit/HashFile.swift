import Glibc
import Storage
import Trust

/// The file of a Merkle tree's stored hashes, 32 bytes each, in `Merkle`'s order. It follows from the records, so it
/// is never synced by itself: what a crash took is computed again.
final class HashFile: Sendable {
  private let descriptor: Int32
  private let path: String

  init(_ path: String) throws {
    self.path = path
    descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode_t(0o600))
    if descriptor < 0 { throw Self.error("open", path, errno) }
  }

  deinit { Glibc.close(descriptor) }

  func write(_ hashes: [Digest], at index: UInt64) throws {
    let bytes = hashes.flatMap(\.bytes)
    var done = 0
    while done < bytes.count {
      let wrote = bytes.withUnsafeBytes {
        pwrite(descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done, off_t(index) * 32 + off_t(done))
      }
      let code = errno
      if wrote < 0, code != EINTR { throw Self.error("write", path, code) }
      done += max(wrote, 0)
    }
  }

  /// The bytes of `count` hashes from the index; fewer at the end of the file.
  func bytes(from index: UInt64, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count * 32)
    var done = 0
    while done < bytes.count {
      let got = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress?.advanced(by: done), $0.count - done, off_t(index) * 32 + off_t(done))
      }
      let code = errno
      if got == 0 { break }
      if got < 0, code != EINTR { throw Self.error("read", path, code) }
      done += max(got, 0)
    }
    bytes.removeLast(bytes.count - done)
    return bytes
  }

  /// The hashes at these indexes. Throws `MerkleError.missingHashes` beyond the end.
  func read(_ indexes: [UInt64]) throws -> [Digest] {
    try indexes.map { index in
      guard let digest = Digest(bytes: try bytes(from: index, count: 1)) else { throw MerkleError.missingHashes }
      return digest
    }
  }

  /// Cuts off what lies behind the first `count` hashes.
  func truncate(to count: UInt64) throws {
    if ftruncate(descriptor, off_t(count) * 32) != 0 { throw Self.error("truncate", path, errno) }
  }

  private static func error(_ operation: String, _ path: String, _ code: Int32) -> StorageError {
    switch code {
    case ENOSPC, EDQUOT, EFBIG: .full(path: path)
    case EROFS: .readOnly(path: path)
    case EACCES, EPERM: .denied(path: path)
    default: .system(path: path, operation: operation, code: code)
    }
  }
}

/// Reads stored hashes from the first to the last in large pieces.
struct HashReader {
  private let file: HashFile
  private var next: UInt64 = 0
  private var buffer: ArraySlice<UInt8> = []

  init(_ file: HashFile) { self.file = file }

  /// True when the next stored hashes are these.
  mutating func matches(_ hashes: [Digest]) throws -> Bool {
    for hash in hashes {
      if buffer.isEmpty { buffer = try file.bytes(from: next, count: 4096)[...] }
      next += 1
      guard buffer.prefix(32).elementsEqual(hash.bytes) else { return false }
      buffer = buffer.dropFirst(32)
    }
    return true
  }
}
