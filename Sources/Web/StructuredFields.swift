import Trust

/// The part of structured fields (RFC 9651) that signatures need: dictionaries of inner lists of strings, and of byte
/// sequences. Strict: anything else is nil.
struct StructuredFields {
  enum Item: Equatable {
    case string(String)
    case integer(Int64)
    case token(String)
    case bytes([UInt8])
    case boolean(Bool)
  }

  struct InnerList: Equatable {
    let components: [String]
    let parameters: [String: Item]
    /// As it stands in the field.
    let text: String
  }

  private let text: [UInt8]
  private var at = 0

  private init(_ text: String) { self.text = Array(text.utf8) }

  /// `label=("a" "b");created=1, …`
  static func innerLists(_ field: String) -> [String: InnerList]? {
    dictionary(field) { $0.innerList() }
  }

  /// `label=:BASE64:, …`
  static func byteSequences(_ field: String) -> [String: [UInt8]]? {
    dictionary(field) { reader in
      guard case .bytes(let bytes) = reader.item(), reader.parameters() != nil else { return nil }
      return bytes
    }
  }

  private static func dictionary<Value>(
    _ field: String, member: (inout StructuredFields) -> Value?
  ) -> [String: Value]? {
    var reader = StructuredFields(field)
    var members: [String: Value] = [:]
    reader.skip(0x20)
    while true {
      // A label that stands twice would leave open which one is meant.
      guard let name = reader.key(), members[name] == nil, reader.take("="), let value = member(&reader) else {
        return nil
      }
      members[name] = value
      reader.skip(0x20, 0x09)
      if reader.at == reader.text.count { return members }
      guard reader.take(",") else { return nil }
      reader.skip(0x20, 0x09)
    }
  }

  private mutating func innerList() -> InnerList? {
    let start = at
    guard take("(") else { return nil }
    var components: [String] = []
    while true {
      skip(0x20)
      if take(")") { break }
      guard case .string(let name) = item(), let end = peek, end == 0x20 || end == UInt8(ascii: ")") else { return nil }
      components.append(name)
    }
    guard let parameters = parameters() else { return nil }
    return InnerList(
      components: components, parameters: parameters, text: String(decoding: text[start..<at], as: UTF8.self))
  }

  private mutating func parameters() -> [String: Item]? {
    var found: [String: Item] = [:]
    while take(";") {
      skip(0x20)
      guard let name = key(), found[name] == nil else { return nil }
      if take("=") {
        guard let value = item() else { return nil }
        found[name] = value
      } else {
        found[name] = .boolean(true)
      }
    }
    return found
  }

  private mutating func item() -> Item? {
    switch peek {
    case UInt8(ascii: "\""): string().map { .string($0) }
    case UInt8(ascii: ":"): bytes().map { .bytes($0) }
    case .some(UInt8(ascii: "-")), .some(0x30...0x39): integer().map { .integer($0) }
    case UInt8(ascii: "?"): boolean().map { .boolean($0) }
    default: token().map { .token($0) }
    }
  }

  private mutating func string() -> String? {
    guard take("\"") else { return nil }
    var value: [UInt8] = []
    while let byte = peek {
      at += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: value, as: UTF8.self)
      case UInt8(ascii: "\\"):
        guard let escaped = peek, escaped == UInt8(ascii: "\"") || escaped == UInt8(ascii: "\\") else { return nil }
        value.append(escaped)
        at += 1
      case 0x20...0x7E: value.append(byte)
      default: return nil
      }
    }
    return nil
  }

  private mutating func bytes() -> [UInt8]? {
    guard take(":") else { return nil }
    let encoded = run { $0 != UInt8(ascii: ":") }
    guard take(":") else { return nil }
    return Base64.decode(encoded)
  }

  private mutating func integer() -> Int64? {
    let negative = take("-")
    let digits = run { (0x30...0x39).contains($0) }
    guard (1...15).contains(digits.utf8.count), peek != UInt8(ascii: ".") else { return nil }
    return Int64(digits).map { negative ? -$0 : $0 }
  }

  private mutating func boolean() -> Bool? {
    guard take("?") else { return nil }
    if take("1") { return true }
    return take("0") ? false : nil
  }

  private mutating func token() -> String? {
    guard let first = peek, first == UInt8(ascii: "*") || isLetter(first) else { return nil }
    return run { isLetter($0) || (0x30...0x39).contains($0) || "!#$%&'*+-.^_`|~:/".utf8.contains($0) }
  }

  private mutating func key() -> String? {
    guard let first = peek, first == UInt8(ascii: "*") || (0x61...0x7A).contains(first) else { return nil }
    return run { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || "_-.*".utf8.contains($0) }
  }

  private var peek: UInt8? { at < text.count ? text[at] : nil }

  private mutating func take(_ mark: Unicode.Scalar) -> Bool {
    guard peek == UInt8(ascii: mark) else { return false }
    at += 1
    return true
  }

  private mutating func skip(_ bytes: UInt8...) { while let byte = peek, bytes.contains(byte) { at += 1 } }

  private mutating func run(while taken: (UInt8) -> Bool) -> String {
    let start = at
    while let byte = peek, taken(byte) { at += 1 }
    return String(decoding: text[start..<at], as: UTF8.self)
  }
}

private func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) }
