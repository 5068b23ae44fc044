import Glibc

/// Whole records that follow each other, as they stand in the file.
public struct RecordBatch: Sendable {
  /// Batches end where an index is a multiple of this.
  public static let stride: UInt64 = 512

  /// The index of the first.
  public let first: UInt64
  /// The records, each with its line feed.
  private(set) var bytes: [UInt8] = []
  /// Where the line feeds are.
  private(set) var ends: [Int] = []

  init(first: UInt64) { self.first = first }

  public var count: Int { ends.count }
  /// How long each is.
  var lengths: [Int] { zip(ends, [-1] + ends).map { $0 - $1 - 1 } }
  /// The index behind the last.
  public var next: UInt64 { first + UInt64(ends.count) }

  /// Calls with each record, without its line feed.
  public func withEach(_ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
    try bytes.withUnsafeBytes { all in
      var start = 0
      for end in ends {
        try body(UnsafeRawBufferPointer(rebasing: all[start..<end]))
        start = end + 1
      }
    }
  }

  fileprivate mutating func append(_ piece: UnsafeRawBufferPointer) { bytes += piece }

  fileprivate mutating func end() { ends.append(bytes.count - 1) }

  /// Cuts off what has no line feed behind it.
  fileprivate mutating func cutAtTail() { bytes.removeLast(bytes.count - (ends.last.map { $0 + 1 } ?? 0)) }

  /// Cuts off the first record with a zero in it and what follows: no record has one. False when there is none.
  fileprivate mutating func cutAtZero() -> Bool {
    let found = bytes.withUnsafeBytes { all -> Int? in
      guard let base = all.baseAddress, let at = memchr(base, 0, all.count) else { return nil }
      return UnsafeRawPointer(at) - base
    }
    guard let found else { return false }
    ends.removeLast(ends.count - (ends.firstIndex { $0 > found } ?? ends.count))
    cutAtTail()
    return true
  }
}

extension RecordScanner {
  /// Calls with all records that end with a line feed, the first of which has this index, in batches. What comes behind a
  /// record with a zero in it is none.
  func batches(first: UInt64, _ body: (RecordBatch) throws -> Void) throws {
    var batch = RecordBatch(first: first)
    var at = from
    while at < to {
      let piece = try file.read(at: at, count: Int(Swift.min(to - at, 1 << 20)))
      if piece.isEmpty { break }
      at += UInt64(piece.count)
      let isOver = try piece.withUnsafeBytes { all -> Bool in
        var taken = 0
        var start = 0
        while let base = all.baseAddress, start < all.count, let found = memchr(base + start, 0x0A, all.count - start) {
          start = UnsafeRawPointer(found) - base + 1
          batch.append(UnsafeRawBufferPointer(rebasing: all[taken..<start]))
          taken = start
          batch.end()
          if batch.next.isMultiple(of: RecordBatch.stride) {
            let isOver = batch.cutAtZero()
            try body(batch)
            if isOver { return true }
            batch = RecordBatch(first: batch.next)
          }
        }
        batch.append(UnsafeRawBufferPointer(rebasing: all[taken...]))
        return false
      }
      if isOver { return }
    }
    // What is behind the last line feed is torn.
    batch.cutAtTail()
    _ = batch.cutAtZero()
    if batch.count > 0 { try body(batch) }
  }
}
