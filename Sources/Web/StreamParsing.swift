/// Cuts a byte stream into lines (LF or CRLF); a line longer than `limit` bytes is cut there.
public struct LineSplitter: Sendable {
  private var rest: [UInt8] = []
  private let limit: Int

  public init(limit: Int = 4 << 20) { self.limit = limit }

  /// The lines that these bytes complete, without their ends.
  public mutating func push(_ bytes: some Sequence<UInt8>) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var pending = Array(bytes)[...]
    while let end = pending.firstIndex(of: 0x0A) {
      take(pending[..<end], &lines)
      if rest.last == 0x0D { rest.removeLast() }
      lines.append(rest)
      rest.removeAll(keepingCapacity: true)
      pending = pending[(end + 1)...]
    }
    take(pending, &lines)
    return lines
  }

  private mutating func take(_ bytes: ArraySlice<UInt8>, _ lines: inout [[UInt8]]) {
    var bytes = bytes
    while rest.count + bytes.count > limit {
      let head = bytes.prefix(limit - rest.count)
      lines.append(rest + head)
      rest.removeAll(keepingCapacity: true)
      bytes = bytes.dropFirst(head.count)
    }
    rest += bytes
  }

  /// The last line, when the stream ended without a newline.
  public mutating func finish() -> [UInt8]? {
    guard !rest.isEmpty else { return nil }
    defer { rest = [] }
    return rest
  }
}

/// Newline-delimited JSON: lines that are not empty.
public struct NDJSON: Sendable {
  private var splitter: LineSplitter
  public init(limit: Int = 4 << 20) { splitter = LineSplitter(limit: limit) }
  public mutating func push(_ bytes: some Sequence<UInt8>) -> [[UInt8]] { splitter.push(bytes).filter { !$0.isEmpty } }
  public mutating func finish() -> [UInt8]? { splitter.finish() }
}

/// Server-sent events as they arrive (WHATWG HTML §9.2.6). An event that the stream's end cuts short is not one.
public struct ServerSentEvents: Sendable {
  public struct Event: Sendable, Equatable {
    /// The event's type; empty when none was named.
    public var event = ""
    public var data: [UInt8] = []
    public var text: String { String(decoding: data, as: UTF8.self) }
  }

  /// True when an event was longer than the limit and left out.
  public private(set) var hasOverflowed = false
  private let limit: Int
  private var line: [UInt8] = []
  /// Whether this line has bytes, kept or not.
  private var isEmptyLine = true
  private var current = Event()
  private var hasData = false
  private var isTooLong = false
  private var isFirstLine = true
  /// The last byte ended a line as a CR: an LF right after it belongs to it.
  private var afterCR = false

  /// Events of more than `limit` bytes are left out.
  public init(limit: Int = 4 << 20) { self.limit = limit }

  public mutating func push(_ bytes: some Sequence<UInt8>) -> [Event] {
    var events: [Event] = []
    var pending = Array(bytes)[...]
    while let first = pending.first {
      if afterCR {
        afterCR = false
        if first == 0x0A {
          pending = pending.dropFirst()
          continue
        }
      }
      guard let end = pending.firstIndex(where: { $0 == 0x0A || $0 == 0x0D }) else {
        keep(pending)
        break
      }
      keep(pending[..<end])
      afterCR = pending[end] == 0x0D
      pending = pending[(end + 1)...]
      if let event = endLine() { events.append(event) }
    }
    return events
  }

  private mutating func keep(_ bytes: ArraySlice<UInt8>) {
    if !bytes.isEmpty { isEmptyLine = false }
    if line.count + bytes.count + current.data.count > limit {
      isTooLong = true
      line = []
    }
    if !isTooLong { line += bytes }
  }

  private mutating func endLine() -> Event? {
    var line = line[...]
    self.line.removeAll(keepingCapacity: true)
    if isFirstLine {
      isFirstLine = false
      if line.starts(with: [0xEF, 0xBB, 0xBF]) { line = line.dropFirst(3) }
    }
    defer { isEmptyLine = true }
    guard isEmptyLine else {
      if !isTooLong { field(line) }
      return nil
    }
    // What follows an event that is too long belongs to it until the empty line.
    defer { (current, hasData, isTooLong) = (Event(), false, false) }
    if isTooLong { hasOverflowed = true }
    return hasData && !isTooLong ? current : nil
  }

  private mutating func field(_ line: ArraySlice<UInt8>) {
    let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
    var value = line[colon...].dropFirst()
    if value.first == 0x20 { value = value.dropFirst() }
    switch String(decoding: line[..<colon], as: UTF8.self) {
    case "data":
      if hasData { current.data.append(0x0A) }
      current.data += value
      hasData = true
    case "event": current.event = String(decoding: value, as: UTF8.self)
    default: break
    }
  }
}
