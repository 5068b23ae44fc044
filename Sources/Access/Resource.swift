/// One thing that a verb acts on: `model:smollm2`, `box:*`.
public struct Resource: Sendable, Hashable, CustomStringConvertible {
  public static let kinds = ["model", "role", "token", "audit", "report", "box"]

  public let kind: String
  public let name: String

  public init(kind: String, name: String) {
    self.kind = kind
    self.name = name
  }

  /// Reads `kind:name`; nil when the kind is unknown or the name empty.
  public init?(parsing text: String) {
    guard let colon = text.firstIndex(of: ":") else { return nil }
    let kind = String(text[..<colon])
    let name = String(text[text.index(after: colon)...])
    guard Resource.kinds.contains(kind), !name.isEmpty else { return nil }
    self.init(kind: kind, name: name)
  }

  public static func model(_ name: String) -> Resource { Resource(kind: "model", name: name) }
  public static func role(_ name: String) -> Resource { Resource(kind: "role", name: name) }
  public static func token(_ name: String) -> Resource { Resource(kind: "token", name: name) }
  /// Every resource of the kind that the verb acts on.
  public static func all(for verb: Verb) -> Resource { Resource(kind: verb.resourceKind, name: "*") }

  public var description: String { "\(kind):\(name)" }

  /// The bytes of the description, without making it.
  func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
    let (head, tail) = (kind.utf8, name.utf8)
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: head.count + tail.count + 1) { bytes in
      _ = bytes.update(fromContentsOf: head)
      bytes[head.count] = UInt8(ascii: ":")
      _ = UnsafeMutableBufferPointer(rebasing: bytes[(head.count + 1)...]).update(fromContentsOf: tail)
      return body(UnsafeBufferPointer(bytes))
    }
  }
}

/// Which resources a permission covers: `*`, `model:*`, `model:qwen3-*`. A star stands for any run of characters.
public struct ResourcePattern: Sendable, Hashable, CustomStringConvertible {
  public let description: String
  /// Its bytes, with stars that follow each other as one.
  let pattern: [UInt8]

  /// Nil when the text is neither `*` nor a known kind, a colon and a name.
  public init?(_ text: String) {
    guard text == "*" || Resource(parsing: text) != nil else { return nil }
    description = text
    var bytes: [UInt8] = []
    for byte in text.utf8 where byte != UInt8(ascii: "*") || bytes.last != byte { bytes.append(byte) }
    pattern = bytes
  }

  public func covers(_ resource: Resource) -> Bool {
    resource.withBytes { text in pattern.withUnsafeBufferPointer { ResourcePattern.matches($0, text) } }
  }

  /// Whether everything that the other pattern covers is covered by this one. The other's star is a character that
  /// only a star matches.
  public func covers(_ other: ResourcePattern) -> Bool {
    other.pattern.withUnsafeBufferPointer { text in
      pattern.withUnsafeBufferPointer { ResourcePattern.matches($0, text) }
    }
  }

  /// Whether some text is covered by both: walks through both at once, where a star of either may stand for what the other
  /// spells out.
  public func overlaps(_ other: ResourcePattern) -> Bool {
    let star = UInt8(ascii: "*")
    // reachable[j]: the first i of this pattern and the first j of the other can stand for the same text.
    var reachable = [Bool](repeating: false, count: other.pattern.count + 1)
    for i in 0...pattern.count {
      var row = [Bool](repeating: false, count: other.pattern.count + 1)
      for j in 0...other.pattern.count {
        if i == 0 && j == 0 { row[j] = true }
        if i > 0, pattern[i - 1] == star, reachable[j] { row[j] = true }
        if j > 0, other.pattern[j - 1] == star, row[j - 1] { row[j] = true }
        if i > 0, j > 0 {
          let (one, two) = (pattern[i - 1], other.pattern[j - 1])
          if reachable[j - 1], one == two { row[j] = true }
          if one == star, row[j - 1] { row[j] = true }
          if two == star, reachable[j] { row[j] = true }
        }
      }
      reachable = row
    }
    return reachable[other.pattern.count]
  }

  /// Linear-space glob matching with one point to return to: the last star.
  static func matches(_ pattern: UnsafeBufferPointer<UInt8>, _ text: UnsafeBufferPointer<UInt8>) -> Bool {
    let star = UInt8(ascii: "*")
    var at = 0
    var inText = 0
    var afterStar: (pattern: Int, text: Int)?
    while inText < text.count {
      if at < pattern.count, pattern[at] == star {
        at += 1
        afterStar = (at, inText)
      } else if at < pattern.count, pattern[at] == text[inText] {
        at += 1
        inText += 1
      } else if let back = afterStar {
        afterStar = (back.pattern, back.text + 1)
        at = back.pattern
        inText = back.text + 1
      } else {
        return false
      }
    }
    return pattern[at...].allSatisfy { $0 == star }
  }
}
