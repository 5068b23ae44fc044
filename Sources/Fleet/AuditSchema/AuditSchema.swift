import Trust

/// What a member of a record may hold. Lengths are bytes of UTF-8.
public enum AuditType: Sendable, Hashable {
  /// One of these.
  case word([String])
  /// A name: text of at most 256 bytes.
  case name
  case text(Int)
  /// SHA-256, in hexadecimal.
  case digest
  /// `hmac-sha256:` and 64 hexadecimal digits.
  case keyed
  case integer
  case flag
  /// At most so many texts, each of at most so many bytes.
  case texts(Int, Int)
  case integers(Int)
  /// How many of each; at most so many.
  case counts(Int)
}

/// A member of a record.
public struct AuditMember: Sendable, Hashable {
  public let name: String
  public let type: AuditType
  /// Every record of the kind has it.
  public let isRequired: Bool

  static func must(_ name: String, _ type: AuditType) -> AuditMember {
    AuditMember(name: name, type: type, isRequired: true)
  }
  static func may(_ name: String, _ type: AuditType) -> AuditMember {
    AuditMember(name: name, type: type, isRequired: false)
  }
}

/// The schema of audit records: for every kind the members that it may have, with bounds, so that nobody's words make a
/// second line of one record or a record that is too long to be handed on.
///
/// A text that is too long is cut and ends with `…`; a character that is not for showing (controls, formats, bidirectional
/// marks, line and paragraph separators) is written as `<U+2028>`. What can't be told in the member's type, and a member that
/// the kind has not, is left out. The names of members that were cut or left out stand in `cut`. So a record says less
/// rather than nothing: one that is not written would mean that its effect is refused.
public enum AuditSchema {
  /// The version, a record's `v`. Records of version 1 had no published schema.
  public static let version: Int64 = 2

  /// The longest that a record can be, in bytes: what C2SP tlog-tiles lets an entry be.
  public static let longestRecord = TlogTiles.largestEntry

  static let longestActor = 512
  static let longestName = 256
  /// So many names at most stand in `cut`; all that a kind has.
  static let mostCut = 32

  /// What every record has. `n` is its index, `t` Unix milliseconds by the box's clock.
  public static let common: [AuditMember] = [
    .must("v", .integer), .must("n", .integer), .must("t", .integer),
    .must("kind", .word(AuditKind.allCases.map(\.rawValue))),
    .must("actor", .text(longestActor)), .may("cut", .texts(mostCut, 32)),
  ]

  /// A value that was not as the schema says.
  public enum Fault: Error, Hashable, Sendable {
    /// Too long: what comes from outside may be. Not a mistake of ours.
    case tooLong(String)
    /// The kind has no such member, or not of this type; ours, and found in tests.
    case unknown(String)
    case wrongType(String)
    case missing(String)

    public var isMistake: Bool { if case .tooLong = self { false } else { true } }
    var member: String {
      switch self {
      case .tooLong(let name), .unknown(let name), .wrongType(let name), .missing(let name): name
      }
    }
  }

  /// Members as they go on record, and what had to be changed to make them so. Members without a value (`null`) are left
  /// out.
  public static func settle(
    _ kind: AuditKind, _ fields: [String: JSONValue]
  ) -> (members: [String: JSONValue], faults: [Fault]) {
    let known = byName[kind] ?? [:]
    var members: [String: JSONValue] = [:]
    members.reserveCapacity(fields.count + 6)
    var faults: [Fault] = []
    for (name, value) in fields where value != .null {
      guard let member = known[name] else {
        faults.append(.unknown(name))
        continue
      }
      let (settled, isWhole) = member.type.settled(value)
      if let settled { members[name] = settled }
      if !isWhole { faults.append(settled == nil ? .wrongType(name) : .tooLong(name)) }
    }
    for name in required[kind] ?? [] where members[name] == nil && !faults.contains(.wrongType(name)) {
      faults.append(.missing(name))
    }
    if !faults.isEmpty {
      let names = Set(faults.map { known[$0.member] == nil ? "?" : $0.member }).sorted()
      members["cut"] = .array(names.prefix(mostCut).map { .string($0) })
    }
    return (members, faults)
  }

  /// An actor as it goes on record.
  public static func actor(_ text: String) -> String { AuditText.settled(text, longestActor).text }

  private static let byName: [AuditKind: [String: AuditMember]] = Dictionary(
    uniqueKeysWithValues: AuditKind.allCases.map { kind in
      (kind, Dictionary(uniqueKeysWithValues: kind.members.map { ($0.name, $0) }))
    })
  private static let required: [AuditKind: [String]] = Dictionary(
    uniqueKeysWithValues: AuditKind.allCases.map { ($0, $0.members.filter(\.isRequired).map(\.name)) })
}

extension AuditType {
  /// The value as it goes on record, nil when it is of another type, and whether it is all of it.
  func settled(_ value: JSONValue) -> (value: JSONValue?, isWhole: Bool) {
    switch (self, value) {
    case (.word(let words), .string(let text)): words.contains(text) ? (value, true) : (nil, false)
    case (.name, .string(let text)): AuditType.settled(text, AuditSchema.longestName, value)
    case (.text(let longest), .string(let text)): AuditType.settled(text, longest, value)
    case (.digest, .string(let text)): AuditType.isHex(text.utf8) ? (value, true) : (nil, false)
    case (.keyed, .string(let text)):
      text.hasPrefix(AuditType.keyedPrefix) && AuditType.isHex(text.utf8.dropFirst(AuditType.keyedPrefix.utf8.count))
        ? (value, true) : (nil, false)
    case (.integer, .integer), (.flag, .bool): (value, true)
    case (.texts(let most, let longest), .array(let elements)):
      AuditType.settled(elements, most) { element in
        element.string.map { AuditType.settled($0, longest, element) } ?? (nil, false)
      }
    case (.integers(let most), .array(let elements)):
      AuditType.settled(elements, most) { element in element.integer == nil ? (nil, false) : (element, true) }
    case (.counts(let most), .object(let counts)):
      AuditType.settled(counts, most)
    default: (nil, false)
    }
  }

  static let keyedPrefix = "hmac-sha256:"

  private static func settled(_ text: String, _ longest: Int, _ value: JSONValue) -> (JSONValue?, Bool) {
    if AuditText.isSettled(text, longest) { return (value, true) }
    let (settled, isWhole) = AuditText.settled(text, longest)
    return (.string(settled), isWhole)
  }

  private static func settled(
    _ elements: [JSONValue], _ most: Int, _ each: (JSONValue) -> (JSONValue?, Bool)
  ) -> (JSONValue?, Bool) {
    var isWhole = elements.count <= most
    var kept: [JSONValue] = []
    for element in elements.prefix(most) {
      let (settled, isAll) = each(element)
      guard let settled else { return (nil, false) }
      kept.append(settled)
      isWhole = isWhole && isAll
    }
    return (.array(kept), isWhole)
  }

  private static func settled(_ counts: [String: JSONValue], _ most: Int) -> (JSONValue?, Bool) {
    guard counts.values.allSatisfy({ $0.integer != nil }), counts.keys.allSatisfy({ AuditText.isSettled($0, 64) })
    else { return (nil, false) }
    let kept = counts.sorted { $0.key < $1.key }.prefix(most)
    return (.object(Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.value) })), kept.count == counts.count)
  }

  private static func isHex(_ bytes: some Sequence<UInt8>) -> Bool {
    var count = 0
    for byte in bytes {
      guard (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) else { return false }
      count += 1
    }
    return count == 64
  }

  /// The most bytes that a value of the type takes in canonical JSON.
  var longest: Int {
    switch self {
    case .word(let words): (words.map(\.utf8.count).max() ?? 0) + 2
    case .name: 2 * AuditSchema.longestName + 2
    // Of what is left only the quotation mark and the backslash take two.
    case .text(let longest): 2 * longest + 2
    case .digest: 66
    case .keyed: 66 + AuditType.keyedPrefix.utf8.count
    case .integer: 20
    case .flag: 5
    case .texts(let most, let longest): most * (2 * longest + 3) + 2
    case .integers(let most): most * 21 + 2
    case .counts(let most): most * (2 * 64 + 24) + 2
    }
  }
}

/// The text of a record.
enum AuditText {
  /// Whether it can go on record as it is: at most so many bytes, and all of it for showing.
  static func isSettled(_ text: String, _ longest: Int) -> Bool {
    var count = 0
    var isPlain = true
    for byte in text.utf8 {
      count += 1
      if count > longest { return false }
      if byte < 0x20 || byte >= 0x7F { isPlain = false }
    }
    return isPlain || text.unicodeScalars.allSatisfy(isShown)
  }

  /// The text as it goes on record, and whether it is all of it.
  static func settled(_ text: String, _ longest: Int) -> (text: String, isWhole: Bool) {
    let ellipsis = "…"
    var made = String.UnicodeScalarView()
    var count = 0
    var rest = String.UnicodeScalarView.Index?.none
    // What is kept when it is too long: the end of the last character that leaves room for the ellipsis.
    for scalar in text.unicodeScalars {
      let written: String.UnicodeScalarView
      if isShown(scalar) {
        written = String.UnicodeScalarView([scalar])
      } else {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        written = "<U+\(String(repeating: "0", count: max(0, 4 - digits.utf8.count)))\(digits)>".unicodeScalars
      }
      if rest == nil, count + String(written).utf8.count > longest - ellipsis.utf8.count { rest = made.endIndex }
      count += String(written).utf8.count
      guard count <= longest else { return (String(made[..<(rest ?? made.endIndex)]) + ellipsis, false) }
      made.append(contentsOf: written)
    }
    return (String(made), true)
  }

  /// Neither a control, nor a format (bidirectional marks, joiners, the byte order mark, tags), nor a separator of lines or
  /// paragraphs.
  static func isShown(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value < 0x7F { return scalar.value >= 0x20 }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: return false
    default: return true
    }
  }
}
