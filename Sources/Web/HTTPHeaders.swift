/// HTTP fields in the order they came; names compare without case (RFC 9110 §5.1).
public struct HTTPHeaders: Sendable, Equatable, ExpressibleByDictionaryLiteral {
  public struct Field: Sendable, Equatable {
    public let name: String
    public let value: String
  }

  public private(set) var all: [Field] = []

  public init() {}

  public init(dictionaryLiteral elements: (String, String)...) {
    for (name, value) in elements { add(name, value) }
  }

  /// The first value of this name; setting replaces every field of the name.
  public subscript(name: String) -> String? {
    get { all.first { Self.same($0.name, name) }?.value }
    set {
      all.removeAll { Self.same($0.name, name) }
      if let newValue { add(name, newValue) }
    }
  }

  public func values(_ name: String) -> [String] { all.filter { Self.same($0.name, name) }.map(\.value) }

  /// Adds a field beside others of the same name. Line breaks can't be smuggled in: they become spaces.
  public mutating func add(_ name: String, _ value: String) {
    all.append(Field(name: Self.oneLine(name), value: Self.oneLine(value)))
  }

  public mutating func set(_ name: String, _ value: String) { self[name] = value }

  private static func oneLine(_ text: String) -> String {
    guard text.utf8.contains(where: { $0 == 0x0D || $0 == 0x0A || $0 == 0 }) else { return text }
    return String(decoding: text.utf8.map { $0 == 0x0D || $0 == 0x0A || $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
  }

  static func same(_ one: String, _ other: String) -> Bool {
    one.utf8.count == other.utf8.count && zip(one.utf8, other.utf8).allSatisfy { lower($0) == lower($1) }
  }

  private static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte + 32 : byte }
}
