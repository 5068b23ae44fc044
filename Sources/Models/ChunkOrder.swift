import Trust

/// Finds an index's chunks by their ids, in six bytes a chunk. A dictionary of 330,000 ids would take more memory than a
/// box has for all of a transfer.
public struct ChunkOrder: Sendable {
  private let index: ChunkIndex
  /// The chunks' numbers by their ids, and by their place in the file where ids are equal.
  private let order: [UInt32]
  /// By a chunk's number: no chunk before it has the same id.
  private let isFirst: [Bool]
  /// By a chunk's number: some chunk after it has the same id.
  private let hasMore: [Bool]

  public init(_ index: ChunkIndex) {
    self.index = index
    var keys = (0..<index.count).map { (prefix: index.prefix($0), number: UInt32($0)) }
    keys.sort { $0.prefix != $1.prefix ? $0.prefix < $1.prefix : $0.number < $1.number }
    var isFirst = [Bool](repeating: true, count: index.count)
    var hasMore = [Bool](repeating: false, count: index.count)
    var start = 0
    while start < keys.count {
      var end = start + 1
      var isMixed = false
      while end < keys.count, keys[end].prefix == keys[start].prefix {
        isMixed = isMixed || !index.areEqual(Int(keys[end - 1].number), Int(keys[end].number))
        end += 1
      }
      // Ids that differ and begin with the same eight bytes: nobody meets them by chance.
      if isMixed {
        keys[start..<end].sort { one, other in
          index.precedes(Int(one.number), Int(other.number))
            || index.areEqual(Int(one.number), Int(other.number)) && one.number < other.number
        }
      }
      for at in start + 1..<max(end, start + 1)
      where index.areEqual(Int(keys[at - 1].number), Int(keys[at].number)) {
        isFirst[Int(keys[at].number)] = false
        hasMore[Int(keys[at - 1].number)] = true
      }
      start = end
    }
    order = keys.map(\.number)
    self.isFirst = isFirst
    self.hasMore = hasMore
  }

  /// Whether no chunk before this one in the file has the same id.
  public func isFirst(_ number: Int) -> Bool { isFirst[number] }

  /// Whether this is the first of several chunks with the same id.
  public func isRepeated(_ number: Int) -> Bool { isFirst[number] && hasMore[number] }

  /// The number of the first chunk with this id; nil when there is none.
  public func first(of id: ChunkID) -> Int? { place(of: id).map { Int(order[$0]) } }

  /// The numbers of all chunks with this id, rising.
  public func numbers(of id: ChunkID) -> [Int] {
    guard var at = place(of: id) else { return [] }
    var found = [Int(order[at])]
    while hasMore[Int(order[at])] {
      at += 1
      found.append(Int(order[at]))
    }
    return found
  }

  /// Where in `order` the id's chunks begin.
  private func place(of id: ChunkID) -> Int? {
    let prefix = id.bytes.prefix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    var (low, high) = (0, order.count)
    while low < high {
      let middle = (low + high) / 2
      if index.prefix(Int(order[middle])) < prefix { low = middle + 1 } else { high = middle }
    }
    while low < order.count, index.prefix(Int(order[low])) == prefix {
      if index.isChunk(Int(order[low]), id) { return low }
      low += 1
    }
    return nil
  }
}
