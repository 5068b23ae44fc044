import Glibc
public import Trust

/// The file of a Merkle tree's stored hashes, 32 bytes each, in `Merkle`'s order. It follows from the records, so it
/// is never synced by itself: what a crash took is computed again.
public final class HashFile: Sendable {
  private let file: OpenFile

  public init(_ path: String) throws(StorageError) { file = try OpenFile(path, O_RDWR | O_CREAT) }

  public func write(_ hashes: [Digest], at index: UInt64) throws(StorageError) {
    try file.write(Digest.bytes(of: hashes), at: index * UInt64(Digest.length))
  }

  /// The bytes of `count` hashes from the index; fewer at the end of the file.
  public func bytes(from index: UInt64, count: Int) throws(StorageError) -> [UInt8] {
    try file.read(at: index * UInt64(Digest.length), count: count * Digest.length)
  }

  /// The hashes at these indexes. Throws `MerkleError.missingHashes` beyond the end.
  public func read(_ indexes: [UInt64]) throws -> [Digest] {
    try indexes.map { index in
      guard let digest = Digest(bytes: try bytes(from: index, count: 1)) else { throw MerkleError.missingHashes }
      return digest
    }
  }

  /// How many hashes the file has.
  public func count() throws(StorageError) -> UInt64 { try file.size() / UInt64(Digest.length) }

  /// Cuts off what lies behind the first `count` hashes.
  public func truncate(to count: UInt64) throws(StorageError) { try file.truncate(to: count * UInt64(Digest.length)) }

  /// Gives the room of the first `count` hashes back; the others keep their places.
  public func erase(before count: UInt64) throws(StorageError) {
    try file.erase(from: 0, to: min(count * UInt64(Digest.length), try file.size()))
  }

  /// What was written survives a power cut when this returns.
  public func sync() throws(StorageError) { try file.sync() }
}
