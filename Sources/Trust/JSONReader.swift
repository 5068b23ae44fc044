/// Reads strict JSON (RFC 8259), or JSON5 (spec.json5.org), the form of the files that people write, and says at which
/// line it stops being that. A key that stands twice in one object is an error too: two readers could take different
/// ones.
struct JSONReader {
  private let bytes: [UInt8]
  private let isStrict: Bool
  private var at = 0
  private var depth = 0

  /// Deeper nesting is refused, so that no file exhausts the stack.
  private static let deepest = 128

  init(_ bytes: [UInt8], json5: Bool) {
    self.bytes = bytes
    isStrict = !json5
  }

  /// The whole document.
  mutating func document() throws(JSONSyntaxError) -> JSONValue {
    if !isStrict, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
    let found = try value()
    try skipSpace()
    guard at == bytes.count else { throw wrong("text after the end of the document") }
    return found
  }

  private func wrong(_ what: String, at position: Int? = nil) -> JSONSyntaxError {
    let end = min(position ?? at, bytes.count)
    let before = bytes[..<end]
    let line = before.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
    let column = end - (before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0) + 1
    return JSONSyntaxError(description: "line \(line), column \(column): \(what)")
  }

  private func peek(_ ahead: Int = 0) -> UInt8? { at + ahead < bytes.count ? bytes[at + ahead] : nil }

  private mutating func skipSpace() throws(JSONSyntaxError) {
    while let byte = peek() {
      switch byte {
      case 0x09, 0x0A, 0x0D, 0x20: at += 1
      case _ where isStrict: return
      case 0x0B, 0x0C: at += 1
      case 0xC2 where peek(1) == 0xA0: at += 2
      case 0xEF where peek(1) == 0xBB && peek(2) == 0xBF: at += 3
      case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "/"):
        while let next = peek(), next != 0x0A { at += 1 }
      case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "*"):
        let start = at
        at += 2
        while !(peek() == UInt8(ascii: "*") && peek(1) == UInt8(ascii: "/")) {
          guard at < bytes.count else { throw wrong("a comment that never ends", at: start) }
          at += 1
        }
        at += 2
      default: return
      }
    }
  }

  private mutating func value() throws(JSONSyntaxError) -> JSONValue {
    try skipSpace()
    guard let byte = peek() else { throw wrong("the document ends where a value should stand") }
    switch byte {
    case UInt8(ascii: "{"): return try nested { reader throws(JSONSyntaxError) in try reader.object() }
    case UInt8(ascii: "["): return try nested { reader throws(JSONSyntaxError) in try reader.array() }
    case UInt8(ascii: "\""): return .string(try quoted(byte))
    case UInt8(ascii: "'") where !isStrict: return .string(try quoted(byte))
    case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "0")...UInt8(ascii: "9"):
      return try number()
    default: break
    }
    let start = at
    switch word() {
    case "true": return true
    case "false": return false
    case "null": return .null
    case "Infinity" where !isStrict: return .double(.infinity)
    case "NaN" where !isStrict: return .double(.nan)
    case "": throw wrong("a value should stand here, not \(shown(byte))", at: start)
    case let other: throw wrong("\"\(other)\" is no value; text stands in quotes", at: start)
    }
  }

  private mutating func nested(
    _ body: (inout JSONReader) throws(JSONSyntaxError) -> JSONValue
  ) throws(JSONSyntaxError) -> JSONValue {
    guard depth < JSONReader.deepest else { throw wrong("nested deeper than \(JSONReader.deepest) levels") }
    depth += 1
    at += 1
    let found = try body(&self)
    depth -= 1
    return found
  }

  private mutating func object() throws(JSONSyntaxError) -> JSONValue {
    let start = at - 1
    var members: [String: JSONValue] = [:]
    while true {
      try skipSpace()
      guard let byte = peek() else { throw wrong("this object is never closed with }", at: start) }
      if byte == UInt8(ascii: "}") { break }
      let keyStart = at
      let isQuoted = byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") && !isStrict
      let key = isQuoted ? try quoted(byte) : isStrict ? "" : word()
      guard isQuoted || !key.isEmpty else { throw wrong("a key should stand here, not \(shown(byte))") }
      try skipSpace()
      guard peek() == UInt8(ascii: ":") else { throw wrong("a colon should follow the key \"\(key)\"") }
      at += 1
      guard members.updateValue(try value(), forKey: key) == nil else {
        throw wrong("the key \"\(key)\" stands twice in this object", at: keyStart)
      }
      guard try comma(or: UInt8(ascii: "}")) else { break }
    }
    at += 1
    return .object(members)
  }

  private mutating func array() throws(JSONSyntaxError) -> JSONValue {
    let start = at - 1
    var elements: [JSONValue] = []
    while true {
      try skipSpace()
      guard let byte = peek() else { throw wrong("this array is never closed with ]", at: start) }
      if byte == UInt8(ascii: "]") { break }
      elements.append(try value())
      guard try comma(or: UInt8(ascii: "]")) else { break }
    }
    at += 1
    return .array(elements)
  }

  /// Whether a comma followed; stays before the closing bracket.
  private mutating func comma(or closing: UInt8) throws(JSONSyntaxError) -> Bool {
    try skipSpace()
    if peek() == UInt8(ascii: ",") {
      at += 1
      guard isStrict else { return true }
      try skipSpace()
      guard peek() == closing else { return true }
      throw wrong("no comma may stand before \(shown(closing))")
    }
    if peek() == closing { return false }
    let found = peek().map(shown) ?? "the end of the document"
    throw wrong("a comma or \(shown(closing)) should stand here, not \(found)")
  }

  private mutating func word() -> String {
    let start = at
    while let byte = peek() {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
        UInt8(ascii: "$"):
        at += 1
      case UInt8(ascii: "0")...UInt8(ascii: "9") where at > start: at += 1
      default: return String(decoding: bytes[start..<at], as: UTF8.self)
      }
    }
    return String(decoding: bytes[start..<at], as: UTF8.self)
  }

  private func shown(_ byte: UInt8) -> String {
    (0x21...0x7E).contains(byte) ? String(UnicodeScalar(byte)) : "the byte 0x\(Hex.encode([byte]))"
  }
}

extension JSONReader {
  private mutating func number() throws(JSONSyntaxError) -> JSONValue {
    let start = at
    let isNegative = peek() == UInt8(ascii: "-")
    if isNegative || peek() == UInt8(ascii: "+") && !isStrict { at += 1 }
    if !isStrict, peek() == UInt8(ascii: "I"), word() == "Infinity" {
      return .double(isNegative ? -.infinity : .infinity)
    }
    if !isStrict, peek() == UInt8(ascii: "0"), peek(1) == UInt8(ascii: "x") || peek(1) == UInt8(ascii: "X") {
      at += 2
      let digits = take { Hex.isDigit($0) }
      guard let whole = Int64((isNegative ? "-" : "") + digits, radix: 16) else {
        throw wrong("no number, or one beyond 64 bits", at: start)
      }
      return .integer(whole)
    }
    let digits = take { (0x30...0x39).contains($0) }
    var text = digits
    var isWhole = true
    if peek() == UInt8(ascii: ".") {
      at += 1
      let fraction = take { (0x30...0x39).contains($0) }
      guard isStrict ? !digits.isEmpty && !fraction.isEmpty : !digits.isEmpty || !fraction.isEmpty else {
        throw wrong("no number", at: start)
      }
      isWhole = false
      text = (digits.isEmpty ? "0" : digits) + "." + (fraction.isEmpty ? "0" : fraction)
    }
    guard !text.isEmpty, digits.count < 2 || digits.first != "0" else { throw wrong("no number", at: start) }
    if peek() == UInt8(ascii: "e") || peek() == UInt8(ascii: "E") {
      at += 1
      var exponent = "e"
      if let sign = peek(), sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
        exponent += sign == UInt8(ascii: "-") ? "-" : ""
        at += 1
      }
      let power = take { (0x30...0x39).contains($0) }
      guard !power.isEmpty else { throw wrong("no number", at: start) }
      isWhole = false
      text += exponent + power
    }
    let signed = (isNegative ? "-" : "") + text
    if isWhole, let whole = Int64(signed) { return .integer(whole) }
    guard let number = Double(signed), number.isFinite else { throw wrong("a number out of range", at: start) }
    return Int64(exactly: number).map(JSONValue.integer) ?? .double(number)
  }

  private mutating func take(_ belongs: (UInt8) -> Bool) -> String {
    let start = at
    while let byte = peek(), belongs(byte) { at += 1 }
    return String(decoding: bytes[start..<at], as: UTF8.self)
  }

  private mutating func quoted(_ quote: UInt8) throws(JSONSyntaxError) -> String {
    let start = at
    at += 1
    var text: [UInt8] = []
    while let byte = peek() {
      at += 1
      switch byte {
      case quote:
        guard let valid = String(validating: text, as: UTF8.self) else {
          throw wrong("text that is no UTF-8", at: start)
        }
        return valid
      case UInt8(ascii: "\\"): text += try escape()
      case 0x0A, 0x0D: throw wrong("this text is not closed on its line", at: start)
      case 0..<0x20 where isStrict: throw wrong("a control character that is not escaped", at: at - 1)
      default: text.append(byte)
      }
    }
    throw wrong("this text is never closed", at: start)
  }

  private mutating func escape() throws(JSONSyntaxError) -> [UInt8] {
    let start = at - 1
    guard let byte = peek() else { throw wrong("an escape that never ends", at: start) }
    at += 1
    switch byte {
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "f"): return [0x0C]
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "u"): return Array(String(try unicode(start)).utf8)
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case _ where isStrict: throw wrong("JSON has no such escape", at: start)
    case UInt8(ascii: "v"): return [0x0B]
    case UInt8(ascii: "0"): return [0]
    case 0x0A: return []
    case 0x0D:
      if peek() == 0x0A { at += 1 }
      return []
    case UInt8(ascii: "x"): return Array(String(try scalar(digits: 2, start)).utf8)
    default: return [byte]
    }
  }

  /// Four hexadecimal digits, or twice four for a surrogate pair (RFC 8259 §7).
  private mutating func unicode(_ start: Int) throws(JSONSyntaxError) -> Unicode.Scalar {
    var unit = try hexadecimal(4, start)
    if (0xD800...0xDBFF).contains(unit), peek() == UInt8(ascii: "\\"), peek(1) == UInt8(ascii: "u") {
      at += 2
      let low = try hexadecimal(4, start)
      guard (0xDC00...0xDFFF).contains(low) else { throw wrong("half a surrogate pair", at: start) }
      unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
    }
    guard let scalar = Unicode.Scalar(unit) else { throw wrong("half a surrogate pair", at: start) }
    return scalar
  }

  private mutating func scalar(digits: Int, _ start: Int) throws(JSONSyntaxError) -> Unicode.Scalar {
    guard let scalar = Unicode.Scalar(try hexadecimal(digits, start)) else { throw wrong("no character", at: start) }
    return scalar
  }

  private mutating func hexadecimal(_ count: Int, _ start: Int) throws(JSONSyntaxError) -> UInt32 {
    guard at + count <= bytes.count, bytes[at..<at + count].allSatisfy(Hex.isDigit),
      let number = UInt32(String(decoding: bytes[at..<at + count], as: UTF8.self), radix: 16)
    else { throw wrong("an escape needs \(count) hexadecimal digits", at: start) }
    at += count
    return number
  }
}

extension Hex {
  static func isDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x46, 0x61...0x66: true
    default: false
    }
  }
}
