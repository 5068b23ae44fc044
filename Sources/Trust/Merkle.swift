/// Merkle tree hashing (RFC 6962 §2.1, the same in RFC 9162 §2.1) over hashes that are stored as in Go's
/// `sumdb/tlog`: every complete subtree's hash once, in post-order, so that the file only ever grows.
public enum Merkle {
  /// Reads stored hashes by their indexes, all or an error.
  public typealias Reader = ([UInt64]) throws -> [Digest]

  /// SHA-256 of nothing: the root of the empty tree.
  public static let emptyRoot = Digest(of: [])

  /// SHA-256(0x00 || record).
  public static func leafHash(_ record: [UInt8]) -> Digest { record.withUnsafeBytes { leafHash($0) } }

  /// SHA-256(0x00 || record).
  public static func leafHash(_ record: UnsafeRawBufferPointer) -> Digest {
    Digest(prefix: 0, record, UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// SHA-256(0x01 || left || right).
  public static func nodeHash(_ left: Digest, _ right: Digest) -> Digest {
    left.withUnsafeBytes { left in right.withUnsafeBytes { Digest(prefix: 1, left, $0) } }
  }

  /// Where the hash of the `n`th complete subtree of 2^level leaves is stored.
  public static func storedHashIndex(level: Int, n: UInt64) -> UInt64 {
    // The hash at level L+1 follows the right one of its two children at level L, so start from the last leaf.
    var leaf = n
    for _ in 0..<level { leaf = 2 * leaf + 1 }
    var index: UInt64 = 0
    while leaf > 0 {
      index += leaf
      leaf >>= 1
    }
    return index + UInt64(level)
  }

  /// How many hashes a tree of this size stores.
  public static func storedHashCount(treeSize: UInt64) -> UInt64 {
    guard treeSize > 0 else { return 0 }
    return storedHashIndex(level: 0, n: treeSize - 1) + 1 + UInt64((~(treeSize - 1)).trailingZeroBitCount)
  }

  /// What appending record `n` adds to the stored hashes: its leaf, then every subtree that it completes.
  public static func hashesToStore(index n: UInt64, leaf: Digest, read: Reader) throws -> [Digest] {
    let completed = (~n).trailingZeroBitCount
    let left = try checked((0..<completed).map { storedHashIndex(level: $0, n: (n >> UInt64($0)) - 1) }, read)
    var hashes = [leaf]
    for sibling in left { hashes.append(nodeHash(sibling, hashes[hashes.count - 1])) }
    return hashes
  }

  /// What a tree of these leaves stores, in its order; the same where a complete subtree of theirs stands in a larger tree.
  public static func storedHashes(of leaves: [Digest]) -> [Digest] {
    var tree = MerkleFrontier()
    var stored: [Digest] = []
    stored.reserveCapacity(leaves.count * 2)
    for leaf in leaves { tree.append(leaf, to: &stored) }
    return stored
  }

  /// The root of the first `size` leaves.
  public static func root(size: UInt64, read: Reader) throws -> Digest {
    guard size > 0 else { return emptyRoot }
    return try ranges([0..<size], read)[0]
  }

  /// The roots of the complete subtrees that make up the tree of `size`, the largest first.
  public static func edge(size: UInt64, read: Reader) throws -> [Digest] { try roots(over: 0..<size, read: read) }

  /// The roots of the complete subtrees that a range of leaves falls into, from the left: each as large as its place
  /// and the range allow. `subtreeLevels` tells their sizes.
  public static func roots(over range: Range<UInt64>, read: Reader) throws -> [Digest] {
    try checked(subtrees(range), read)
  }

  /// The levels of the complete subtrees that a range of leaves falls into, from the left: 2^level leaves each.
  public static func subtreeLevels(_ range: Range<UInt64>) -> [Int] {
    var low = range.lowerBound
    var levels: [Int] = []
    while low < range.upperBound {
      let level = min(low.trailingZeroBitCount, 63 - (range.upperBound - low).leadingZeroBitCount)
      levels.append(level)
      low += 1 << UInt64(level)
    }
    return levels
  }

  /// The audit path of leaf `index` in the tree of `size`, from the leaf's sibling up (RFC 6962 §2.1.1).
  public static func inclusionProof(index: UInt64, size: UInt64, read: Reader) throws -> [Digest] {
    guard index < size else { throw MerkleError.outOfRange }
    var low: UInt64 = 0
    var high = size
    var path: [Range<UInt64>] = []
    while high - low > 1 {
      let middle = low + split(high - low)
      if index < middle {
        path.append(middle..<high)
        high = middle
      } else {
        path.append(low..<middle)
        low = middle
      }
    }
    return try ranges(path.reversed(), read)
  }

  /// Proof that the tree of `old` leaves is the beginning of the tree of `new` (RFC 6962 §2.1.2). Empty when either
  /// tree is empty or they are the same.
  public static func consistencyProof(old: UInt64, new: UInt64, read: Reader) throws -> [Digest] {
    guard old <= new else { throw MerkleError.outOfRange }
    guard old > 0, old < new else { return [] }
    var low: UInt64 = 0
    var high = new
    var path: [Range<UInt64>] = []
    while high != old {
      let middle = low + split(high - low)
      if old <= middle {
        path.append(middle..<high)
        high = middle
      } else {
        path.append(low..<middle)
        low = middle
      }
    }
    // The old tree's own root is known to the verifier; a part of it is not.
    if low > 0 { path.append(low..<high) }
    return try ranges(path.reversed(), read)
  }

  /// The largest power of two smaller than `count`, which is at least 2.
  private static func split(_ count: UInt64) -> UInt64 { 1 << UInt64(63 - (count - 1).leadingZeroBitCount) }

  /// The hash over each range of leaves, of which each begins where a subtree of its size begins.
  private static func ranges(_ ranges: [Range<UInt64>], _ read: Reader) throws -> [Digest] {
    let plans = ranges.map(subtrees)
    let hashes = try checked(plans.flatMap { $0 }, read)
    var at = 0
    return plans.map { plan in
      let part = hashes[at..<at + plan.count]
      at += plan.count
      return part.dropLast().reversed().reduce(part[at - 1]) { nodeHash($1, $0) }
    }
  }

  /// Where the complete subtrees that make up a range are stored, from the left.
  private static func subtrees(_ range: Range<UInt64>) -> [UInt64] {
    var low = range.lowerBound
    return subtreeLevels(range).map { level in
      defer { low += 1 << UInt64(level) }
      return storedHashIndex(level: level, n: low >> UInt64(level))
    }
  }

  private static func checked(_ indexes: [UInt64], _ read: Reader) throws -> [Digest] {
    guard !indexes.isEmpty else { return [] }
    let hashes = try read(indexes)
    guard hashes.count == indexes.count else { throw MerkleError.missingHashes }
    return hashes
  }
}

/// Why a proof can't be made.
public enum MerkleError: Error, Hashable, CustomStringConvertible {
  case outOfRange
  case missingHashes
  /// The hashes belong to entries that were pruned.
  case pruned

  public var description: String {
    switch self {
    case .outOfRange: "the tree has no such entry or size"
    case .missingHashes: "hashes of the tree are missing"
    case .pruned: "the entry was pruned; of it only the root of its tile is left"
    }
  }
}
