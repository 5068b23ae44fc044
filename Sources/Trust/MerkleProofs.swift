extension Merkle {
  /// True when `leaf` is entry `index` of the tree of `size` with this root (RFC 9162 §2.1.3.2).
  public static func verifyInclusion(
    leaf: Digest, index: UInt64, size: UInt64, proof: [Digest], root: Digest
  ) -> Bool {
    guard index < size else { return false }
    var node = index
    var last = size - 1
    var hash = leaf
    for sibling in proof {
      if last == 0 { return false }
      if node & 1 == 1 || node == last {
        hash = nodeHash(sibling, hash)
        if node & 1 == 0 {
          while node & 1 == 0 && node != 0 {
            node >>= 1
            last >>= 1
          }
        }
      } else {
        hash = nodeHash(hash, sibling)
      }
      node >>= 1
      last >>= 1
    }
    return last == 0 && hash == root
  }

  /// True when the tree of `oldSize` with `oldRoot` is the beginning of the tree of `newSize` with `newRoot`
  /// (RFC 9162 §2.1.4.2). The empty tree is the beginning of every tree, with an empty proof.
  public static func verifyConsistency(
    oldSize: UInt64, oldRoot: Digest, newSize: UInt64, newRoot: Digest, proof: [Digest]
  ) -> Bool {
    if oldSize > newSize { return false }
    if oldSize == newSize { return proof.isEmpty && oldRoot == newRoot }
    if oldSize == 0 { return proof.isEmpty && oldRoot == emptyRoot }
    // A complete old tree is its own first node.
    var path = proof[...]
    if oldSize & (oldSize - 1) == 0 { path = [oldRoot] + proof }
    guard let first = path.popFirst() else { return false }
    var node = oldSize - 1
    var last = newSize - 1
    while node & 1 == 1 {
      node >>= 1
      last >>= 1
    }
    var old = first
    var new = first
    for hash in path {
      if last == 0 { return false }
      if node & 1 == 1 || node == last {
        old = nodeHash(hash, old)
        new = nodeHash(hash, new)
        if node & 1 == 0 {
          while node & 1 == 0 && node != 0 {
            node >>= 1
            last >>= 1
          }
        }
      } else {
        new = nodeHash(new, hash)
      }
      node >>= 1
      last >>= 1
    }
    return last == 0 && old == oldRoot && new == newRoot
  }
}

/// The right edge of a growing Merkle tree: enough to add leaves and to know the root, in memory that grows with the
/// logarithm of the size.
public struct MerkleFrontier: Sendable, Hashable {
  /// The roots of the complete subtrees, the largest first; one for each bit that is set in `size`.
  private var subtrees: [Digest] = []
  public private(set) var size: UInt64 = 0

  public init() {}

  /// The edge of a tree of this size out of the roots of its complete subtrees, the largest first; nil when their number
  /// is not that of the bits in `size`. Whether they are the tree's own, its root tells.
  public init?(size: UInt64, subtrees: [Digest]) {
    guard subtrees.count == size.nonzeroBitCount else { return nil }
    self.subtrees = subtrees
    self.size = size
  }

  /// Adds a leaf. Gives what the stored hashes grow by: the leaf, then every subtree that it completes, the same as
  /// `Merkle.hashesToStore` without reading anything.
  @discardableResult
  public mutating func append(_ leaf: Digest) -> [Digest] {
    var stored: [Digest] = []
    append(leaf, to: &stored)
    return stored
  }

  /// Adds a leaf, and what the stored hashes grow by to these.
  public mutating func append(_ leaf: Digest, to stored: inout [Digest]) {
    stored.append(leaf)
    add(leaf, level: 0) { stored.append($0) }
  }

  /// Adds a leaf without saying what the stored hashes grow by.
  public mutating func count(_ leaf: Digest) { add(leaf, level: 0) { _ in } }

  /// Adds 2^level leaves of which only the subtree's root is known. False, and nothing has changed, when such a subtree
  /// can't stand at this place.
  public mutating func append(subtree root: Digest, level: Int) -> Bool { store(subtree: root, level: level) != nil }

  /// The same; gives the larger subtrees that it completes, or nil when it can't stand at this place.
  public mutating func store(subtree root: Digest, level: Int) -> [Digest]? {
    guard (0..<63).contains(level), size.trailingZeroBitCount >= level, size < 1 << 62 else { return nil }
    var completed: [Digest] = []
    add(root, level: level) { completed.append($0) }
    return completed
  }

  private mutating func add(_ root: Digest, level: Int, completed: (Digest) -> Void) {
    var hash = root
    for _ in 0..<(~(size >> UInt64(level))).trailingZeroBitCount {
      guard let left = subtrees.popLast() else { break }
      hash = Merkle.nodeHash(left, hash)
      completed(hash)
    }
    subtrees.append(hash)
    size += 1 << UInt64(level)
  }

  public var root: Digest {
    guard let last = subtrees.last else { return Merkle.emptyRoot }
    return subtrees.dropLast().reversed().reduce(last) { Merkle.nodeHash($1, $0) }
  }
}
