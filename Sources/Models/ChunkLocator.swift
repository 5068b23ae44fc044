import Trust

/// Where in a file a chunk lies, by its id: the whole list of a 20 GiB model in 7 MB, where `ChunkIndex` takes many
/// times as much.
public struct ChunkLocator: Sendable {
  /// The first eight bytes of each id, rising.
  private let prefixes: [UInt64]
  /// The chunk's number in the file, for each prefix.
  private let numbers: [UInt32]
  /// Where each chunk ends, by number.
  private let ends: [UInt64]

  public init(_ index: ChunkIndex) {
    let ids = index.chunks.map { ChunkLocator.prefix($0.id) }
    let order = ids.indices.sorted { (ids[$0], $0) < (ids[$1], $1) }
    prefixes = order.map { ids[$0] }
    numbers = order.map { UInt32($0) }
    ends = index.chunks.map(\.end)
  }

  /// How many chunks the file has.
  public var count: Int { ends.count }

  /// Where a chunk of this id begins and how long it is, the first such place. Only as many bytes of the id are compared
  /// as tell a file's chunks apart: what is read there is to be checked against the id.
  public func place(of id: ChunkID) -> (number: Int, offset: UInt64, length: Int)? {
    let wanted = ChunkLocator.prefix(id)
    var (low, high) = (0, prefixes.count)
    while low < high {
      let middle = (low + high) / 2
      if prefixes[middle] < wanted { low = middle + 1 } else { high = middle }
    }
    guard low < prefixes.count, prefixes[low] == wanted else { return nil }
    let number = Int(numbers[low])
    let start = number == 0 ? 0 : ends[number - 1]
    return (number, start, Int(ends[number] - start))
  }

  private static func prefix(_ id: ChunkID) -> UInt64 { id.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
}
