/// Reads a GGUF header's little-endian values in order through a small window, never past the file's end.
struct GGUFCursor {
  let fileSize: UInt64
  let read: (_ offset: UInt64, _ count: Int) throws -> [UInt8]
  private(set) var offset: UInt64 = 0
  private var window: [UInt8] = []
  private var windowStart: UInt64 = 0
  private static let windowSize = 64 * 1024

  init(fileSize: UInt64, read: @escaping (_ offset: UInt64, _ count: Int) throws -> [UInt8]) {
    self.fileSize = fileSize
    self.read = read
  }

  /// Throws `GGUFError.truncated` unless `count` more bytes exist.
  func require(_ count: UInt64) throws {
    let (end, overflow) = offset.addingReportingOverflow(count)
    if overflow { throw GGUFError.overflow(what: "length") }
    if end > fileSize { throw GGUFError.truncated(needed: end, have: fileSize) }
  }

  /// `count` of at most 1 MiB bytes.
  mutating func bytes(_ count: Int) throws -> ArraySlice<UInt8> {
    try require(UInt64(count))
    let start = Int(clamping: offset &- windowStart)
    if offset < windowStart || start + count > window.count {
      let length = min(UInt64(max(count, GGUFCursor.windowSize)), fileSize - offset)
      window = try read(offset, Int(length))
      windowStart = offset
      guard window.count == Int(length) else {
        throw GGUFError.truncated(needed: offset + length, have: offset + UInt64(window.count))
      }
    }
    let at = Int(offset - windowStart)
    offset += UInt64(count)
    return window[at..<at + count]
  }

  mutating func skip(_ count: UInt64) throws {
    try require(count)
    offset += count
  }

  mutating func uint32() throws -> UInt32 { UInt32(truncatingIfNeeded: try integer(4)) }
  mutating func uint64() throws -> UInt64 { try integer(8) }

  /// A little-endian number of `width` bytes.
  mutating func integer(_ width: Int) throws -> UInt64 {
    var value: UInt64 = 0
    for byte in try bytes(width).reversed() { value = value << 8 | UInt64(byte) }
    return value
  }

  /// A string of at most `limit` bytes; bytes that are no UTF-8 become U+FFFD.
  mutating func string(_ what: String, limit: UInt64) throws -> String {
    let length = try uint64()
    guard length <= limit else { throw GGUFError.absurd(what: "length of \(what)", value: length, limit: limit) }
    return String(decoding: try bytes(Int(length)), as: UTF8.self)
  }
}
