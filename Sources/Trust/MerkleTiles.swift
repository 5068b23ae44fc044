/// Tiles of a Merkle tree as C2SP tlog-tiles has them: 2^8 hashes of one level. The root of a full tile at the lowest level
/// is the hash of 256 leaves; what lies below can go, and the tree above it stands.
extension Merkle {
  /// The height of a tile, and how many hashes are in a full one.
  public static let tileHeight = 8
  public static let tileWidth: UInt64 = 256

  /// The level of the stored hash at this index, and its place in that level; the inverse of `storedHashIndex`.
  public static func storedHash(at index: UInt64) -> (level: Int, n: UInt64) {
    // Leaf n is stored before 2n, and not before n: the one whose hashes these are is found from n/2 on in few steps.
    var leaf = index / 2
    var first = storedHashIndex(level: 0, n: leaf)
    while true {
      let next = first + 1 + UInt64((leaf + 1).trailingZeroBitCount)
      if next > index { break }
      leaf += 1
      first = next
    }
    let level = Int(index - first)
    return (level, leaf >> UInt64(level))
  }
}
