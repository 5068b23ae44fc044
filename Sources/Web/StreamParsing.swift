/// Cuts a byte stream into lines (LF or CRLF); a line longer than `limit` bytes is cut there.
public struct LineSplitter: Sendable {
  private var rest: [UInt8] = []
  private let limit: Int

  public init(limit: Int = 4 << 20) { self.limit = limit }

  public mutating func push(_ bytes: some Sequence<UInt8>) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    for byte in bytes {
      if byte == 0x0A || rest.count >= limit {
        if byte != 0x0A { rest.append(byte) }
        if rest.last == 0x0D { rest.removeLast() }
        lines.append(rest)
        rest.removeAll(keepingCapacity: true)
      } else {
        rest.append(byte)
      }
    }
    return lines
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

/// Server-sent events (WHATWG HTML §9.2) as they arrive.
public struct ServerSentEvents: Sendable {
  public struct Event: Sendable, Equatable {
    public var event = ""
    public var data: [UInt8] = []
    public var text: String { String(decoding: data, as: UTF8.self) }
  }

  private var splitter: LineSplitter
  private var current = Event()
  private var hasData = false

  public init(limit: Int = 4 << 20) { splitter = LineSplitter(limit: limit) }

  public mutating func push(_ bytes: some Sequence<UInt8>) -> [Event] {
    var events: [Event] = []
    for line in splitter.push(bytes) {
      if line.isEmpty {
        if hasData { events.append(current) }
        current = Event()
        hasData = false
        continue
      }
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > 0 else { continue }
      var value = line[(colon + 1)...]
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
    return events
  }
}
