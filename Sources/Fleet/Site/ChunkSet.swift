import Trust

/// Some of a file's chunks, by their number in its index: one bit each.
public struct ChunkSet: Hashable, Sendable {
  public let count: Int
  /// Chunk 0 is the lowest bit of the first byte; bits beyond the last chunk are zero.
  public private(set) var bytes: [UInt8]

  /// None of `count` chunks.
  public init(count: Int) {
    self.count = count
    bytes = [UInt8](repeating: 0, count: (count + 7) / 8)
  }

  /// A set that came from elsewhere; nil when it is not one of `count` chunks.
  public init?(bytes: [UInt8], count: Int) {
    guard bytes.count == (count + 7) / 8 else { return nil }
    if count % 8 != 0, let last = bytes.last, last >> UInt8(count % 8) != 0 { return nil }
    self.count = count
    self.bytes = bytes
  }

  public func contains(_ number: Int) -> Bool {
    (0..<count).contains(number) && bytes[number / 8] >> UInt8(number % 8) & 1 == 1
  }

  public mutating func insert(_ number: Int) {
    guard (0..<count).contains(number) else { return }
    bytes[number / 8] |= 1 << UInt8(number % 8)
  }

  public mutating func remove(_ number: Int) {
    guard (0..<count).contains(number) else { return }
    bytes[number / 8] &= ~(1 << UInt8(number % 8))
  }

  /// What this one or the other holds; this one alone when the other is of another file.
  public func union(_ other: ChunkSet) -> ChunkSet {
    guard other.count == count else { return self }
    var both = self
    for (at, byte) in other.bytes.enumerated() { both.bytes[at] |= byte }
    return both
  }

  /// How many it holds.
  public var size: Int { bytes.reduce(0) { $0 + $1.nonzeroBitCount } }
}
