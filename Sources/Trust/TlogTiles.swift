/// A log in C2SP tlog-tiles' layout, made entry by entry: the files that are complete are given out as they fill up, so that
/// memory is one tile for each level.
public struct TlogTiles: Sendable {
  /// A file below the log's folder.
  public struct File: Sendable, Hashable {
    public let path: String
    public let bytes: [UInt8]
  }

  /// Hashes in a full tile, entries in a full bundle.
  public static let width: UInt64 = 256
  /// An entry's length is written in 16 bits.
  public static let largestEntry = 65_535

  private struct Level {
    var hashes: [Digest] = []
    var tree = MerkleFrontier()
    var full: UInt64 = 0
  }

  private var levels: [Level] = []
  private var bundle: [UInt8] = []
  public private(set) var size: UInt64 = 0

  public init() {}

  /// The root over all entries so far.
  public var root: Digest { frontier.root }
  private var frontier = MerkleFrontier()

  /// Adds an entry and gives the files that it completes. Throws `MerkleError.outOfRange` for one that is too long.
  public mutating func append(_ entry: [UInt8]) throws(MerkleError) -> [File] {
    guard entry.count <= TlogTiles.largestEntry else { throw .outOfRange }
    bundle += [UInt8(entry.count >> 8), UInt8(entry.count & 255)] + entry
    let leaf = Merkle.leafHash(entry)
    frontier.count(leaf)
    size += 1
    var files: [File] = []
    if size.isMultiple(of: TlogTiles.width) {
      files.append(File(path: TlogTiles.entries(size / TlogTiles.width - 1, width: TlogTiles.width), bytes: bundle))
      bundle = []
    }
    add(leaf, at: 0, &files)
    return files
  }

  /// The files that are not full.
  public func finish() -> [File] {
    let partial = size % TlogTiles.width
    var files: [File] = []
    if partial > 0 {
      files.append(
        File(path: TlogTiles.entries(size / TlogTiles.width, width: partial), bytes: bundle))
    }
    for (number, level) in levels.enumerated() where !level.hashes.isEmpty {
      files.append(
        File(
          path: "tile/\(number)/\(TlogTiles.name(level.full)).p/\(level.hashes.count)",
          bytes: level.hashes.flatMap(\.bytes)))
    }
    return files
  }

  private mutating func add(_ hash: Digest, at number: Int, _ files: inout [File]) {
    if levels.count == number { levels.append(Level()) }
    levels[number].hashes.append(hash)
    levels[number].tree.count(hash)
    guard levels[number].hashes.count == Int(TlogTiles.width) else { return }
    let level = levels[number]
    files.append(File(path: "tile/\(number)/\(TlogTiles.name(level.full))", bytes: level.hashes.flatMap(\.bytes)))
    levels[number] = Level(full: level.full + 1)
    add(level.tree.root, at: number + 1, &files)
  }

  /// Where the bundle of this number with so many entries lies.
  public static func entries(_ number: UInt64, width: UInt64) -> String {
    "tile/entries/" + name(number) + (width == TlogTiles.width ? "" : ".p/\(width)")
  }

  /// A tile's number as a path: 1234067 is `x001/x234/067`.
  static func name(_ number: UInt64) -> String {
    var parts = [padded(number % 1000)]
    var rest = number / 1000
    while rest > 0 {
      parts.append("x" + padded(rest % 1000))
      rest /= 1000
    }
    return parts.reversed().joined(separator: "/")
  }

  private static func padded(_ number: UInt64) -> String {
    String(repeating: "0", count: 3 - String(number).utf8.count) + String(number)
  }
}
