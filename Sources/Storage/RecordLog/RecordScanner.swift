import Glibc

/// Where records begin: every 256th offset is kept, so that ten million records cost 320 KB.
struct Offsets: Sendable {
  /// The first record that is there; those before it were pruned.
  private(set) var first: UInt64
  /// The offset of the first record.
  private(set) var start: UInt64
  /// One more than the last record's index.
  private(set) var count: UInt64
  /// The offset behind the last record's line feed.
  private(set) var end: UInt64
  /// Offsets of the records whose index is a multiple of `stride`, from `firstMark` on.
  private var marks: [UInt64] = []
  private var firstMark: UInt64
  static let stride: UInt64 = 256

  init(first: UInt64 = 0, start: UInt64 = 0) {
    self.first = first
    self.start = start
    count = first
    end = start
    firstMark = (first + Offsets.stride - 1) / Offsets.stride
  }

  mutating func append(length: Int) {
    if count.isMultiple(of: Offsets.stride) { marks.append(end) }
    count += 1
    end += UInt64(length) + 1
  }

  mutating func append(_ batch: RecordBatch) { for length in batch.lengths { append(length: length) } }

  /// The nearest known record at or before this index.
  func nearest(to index: UInt64) -> (index: UInt64, offset: UInt64) {
    guard index / Offsets.stride >= firstMark, !marks.isEmpty else { return (first, start) }
    let mark = Swift.min(index / Offsets.stride - firstMark, UInt64(marks.count - 1))
    return ((firstMark + mark) * Offsets.stride, marks[Int(mark)])
  }

  /// Lets go of the records before `index`, which begins at `offset`.
  mutating func forget(before index: UInt64, at offset: UInt64) {
    let mark = (index + Offsets.stride - 1) / Offsets.stride
    marks.removeFirst(Swift.min(marks.count, Int(mark - firstMark)))
    firstMark = mark
    first = index
    start = offset
  }
}

/// Reads whole records between two offsets, a buffer at a time.
struct RecordScanner {
  let file: OpenFile
  let from: UInt64
  let to: UInt64

  /// Calls with each record that ends with a line feed, without it, until the body returns false.
  func scan(_ body: ([UInt8]) throws -> Bool) throws {
    var buffer: [UInt8] = []
    var at = from
    while at < to {
      let piece = try file.read(at: at, count: Int(Swift.min(to - at, 256 << 10)))
      if piece.isEmpty { return }
      at += UInt64(piece.count)
      var start = 0
      while let length = newline(in: piece, from: start) {
        var record = Array(piece[start..<(start + length)])
        if !buffer.isEmpty {
          record = buffer + record
          buffer = []
        }
        guard try body(record) else { return }
        start += length + 1
      }
      buffer += piece[start...]
    }
  }

  private func newline(in bytes: [UInt8], from start: Int) -> Int? {
    bytes.withUnsafeBytes { all in
      guard let base = all.baseAddress, start < all.count else { return nil }
      guard let found = memchr(base + start, 0x0A, all.count - start) else { return nil }
      return UnsafeRawPointer(found) - (base + start)
    }
  }
}
