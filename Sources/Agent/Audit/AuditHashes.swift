import Storage
import Synchronization
import Trust

/// The tree's stored hashes on disk. Of the part of the log that was pruned the roots of its tiles stay, 256 records each,
/// and everything above them: `roots` is a tree's stored hashes like `hashes`, with these roots for leaves.
final class AuditHashes: Sendable {
  private let hashes: HashFile
  private let roots: HashFile
  private let first: Mutex<UInt64>

  init(directory: String) throws {
    hashes = try HashFile(directory + "/hashes")
    roots = try HashFile(directory + "/roots")
    first = Mutex(0)
  }

  /// The log begins with this record. Gives the tree over what is no longer there. Throws a `StorageError` when the roots
  /// are not all there, or don't follow from each other.
  func begin(at index: UInt64) throws -> MerkleFrontier {
    let tiles = index / Merkle.tileWidth
    func damaged(_ reason: String) -> StorageError { .damaged(path: "roots", reason: reason) }
    guard index.isMultiple(of: Merkle.tileWidth) else { throw damaged("the log begins in the middle of a tile") }
    var tree = MerkleFrontier()
    var at: UInt64 = 0
    while tree.size < tiles {
      guard let root = Digest(bytes: try roots.bytes(from: at, count: 1)) else { throw damaged("it is cut off") }
      let stored = tree.append(root)
      guard try roots.bytes(from: at, count: stored.count) == stored.flatMap(\.bytes) else {
        throw damaged("its hash \(at) does not follow from those before it")
      }
      at += UInt64(stored.count)
    }
    // What a crash left of a pruning that was not done.
    try roots.truncate(to: at)
    first.withLock { $0 = index }
    // A crash may have come before the room was given back.
    try hashes.erase(before: Merkle.storedHashCount(treeSize: index))
    let edge = try Merkle.edge(size: tiles, read: roots.read)
    guard let frontier = MerkleFrontier(size: index, subtrees: edge) else { throw damaged("it is cut off") }
    return frontier
  }

  /// Hashes by their stored indexes. Throws `MerkleError.pruned` for what is below the roots that are left.
  func read(_ indexes: [UInt64]) throws -> [Digest] {
    try indexes.map { index in
      let (level, n) = Merkle.storedHash(at: index)
      if try isPruned(level, n) {
        return try roots.read([Merkle.storedHashIndex(level: level - Merkle.tileHeight, n: n)])[0]
      }
      let hash = try hashes.read([index])
      // Pruning moves `first` before it erases.
      if try isPruned(level, n) { return try read([index])[0] }
      return hash[0]
    }
  }

  /// The bytes of `count` hashes from this stored index on, of those that were not pruned; fewer at the end.
  func bytes(from index: UInt64, count: Int) throws -> [UInt8] { try hashes.bytes(from: index, count: count) }

  private func isPruned(_ level: Int, _ n: UInt64) throws -> Bool {
    let isPruned = (n + 1) << UInt64(level) <= first.withLock { $0 }
    guard isPruned else { return false }
    guard level >= Merkle.tileHeight else { throw MerkleError.pruned }
    return true
  }

  func write(_ added: [Digest], at index: UInt64) throws { try hashes.write(added, at: index) }

  func truncate(to count: UInt64) throws { try hashes.truncate(to: count) }

  /// Makes the roots of the tiles before this record durable.
  func keepRoots(before index: UInt64) throws {
    let (old, new) = (first.withLock { $0 } / Merkle.tileWidth, index / Merkle.tileWidth)
    guard old < new else { return }
    guard
      var tree = MerkleFrontier(size: old, subtrees: old == 0 ? [] : try Merkle.edge(size: old, read: roots.read))
    else { throw MerkleError.missingHashes }
    var added: [Digest] = []
    for tile in old..<new {
      added += tree.append(try read([Merkle.storedHashIndex(level: Merkle.tileHeight, n: tile)])[0])
    }
    try roots.write(added, at: Merkle.storedHashCount(treeSize: old))
    try roots.sync()
  }

  /// Gives the room of what is below those roots back.
  func prune(before index: UInt64) throws {
    first.withLock { $0 = index }
    try hashes.erase(before: Merkle.storedHashCount(treeSize: index))
  }
}
