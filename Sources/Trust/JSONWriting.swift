/// A value that a canonical form has no spelling for.
public struct NotCanonical: Error, CustomStringConvertible {
  public let description: String
}

extension JSONValue {
  /// Canonical JSON as TUF's signatures use it (OLPC): keys sorted, no white space, only `"` and `\` escaped,
  /// integers only. Throws `NotCanonical` for a fractional number.
  public func canonicalOLPC() throws(NotCanonical) -> [UInt8] {
    var writer = JSONWriter(style: .olpc)
    try writer.write(self)
    return writer.bytes
  }

  /// JSON with sorted keys and no white space, escaped as RFC 8785 (JCS) §3.2.2.2 says; the form of audit records
  /// and everything else that Skerry itself hashes or compares.
  public func encoded() -> [UInt8] {
    var writer = JSONWriter(style: .compact)
    // Only the OLPC style throws.
    try? writer.write(self)
    return writer.bytes
  }

  /// JSON for people: two-space indentation, sorted keys, a final newline.
  public func encodedPretty() -> [UInt8] {
    var writer = JSONWriter(style: .pretty)
    try? writer.write(self)
    return writer.bytes + [0x0A]
  }
}

private struct JSONWriter {
  enum Style { case olpc, compact, pretty }
  let style: Style
  var bytes: [UInt8] = []
  var depth = 0

  init(style: Style) { self.style = style }

  mutating func write(_ value: JSONValue) throws(NotCanonical) {
    switch value {
    case .null: bytes += "null".utf8
    case .bool(let flag): bytes += (flag ? "true" : "false").utf8
    case .integer(let number): bytes += String(number).utf8
    case .double(let number):
      if style == .olpc { throw NotCanonical(description: "canonical JSON has no fractional numbers: \(number)") }
      bytes += (number.isFinite ? "\(number)" : "null").utf8
    case .string(let text): write(text)
    case .array(let elements):
      try list("[", "]", elements.count) { (writer, at) throws(NotCanonical) in try writer.write(elements[at]) }
    case .object(let members):
      let keys = members.keys.sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
      try list("{", "}", keys.count) { (writer, at) throws(NotCanonical) in
        writer.write(keys[at])
        writer.bytes += (writer.style == .pretty ? ": " : ":").utf8
        try writer.write(members[keys[at]] ?? .null)
      }
    }
  }

  private mutating func list(
    _ open: String, _ close: String, _ count: Int,
    element: (inout JSONWriter, Int) throws(NotCanonical) -> Void
  ) throws(NotCanonical) {
    bytes += open.utf8
    depth += 1
    for at in 0..<count {
      if at > 0 { bytes.append(0x2C) }
      newline()
      try element(&self, at)
    }
    depth -= 1
    if count > 0 { newline() }
    bytes += close.utf8
  }

  private mutating func newline() {
    guard style == .pretty else { return }
    bytes.append(0x0A)
    bytes += repeatElement(0x20, count: depth * 2)
  }

  private mutating func write(_ text: String) {
    bytes.append(0x22)
    for byte in text.utf8 {
      switch byte {
      case 0x22, 0x5C: bytes += [0x5C, byte]
      case 0..<0x20 where style != .olpc: escapeControl(byte)
      default: bytes.append(byte)
      }
    }
    bytes.append(0x22)
  }

  private mutating func escapeControl(_ byte: UInt8) {
    switch byte {
    case 0x08: bytes += "\\b".utf8
    case 0x09: bytes += "\\t".utf8
    case 0x0A: bytes += "\\n".utf8
    case 0x0C: bytes += "\\f".utf8
    case 0x0D: bytes += "\\r".utf8
    default: bytes += "\\u00\(Hex.encode([byte]))".utf8
    }
  }
}
