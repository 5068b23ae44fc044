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
}

/// Which resources a permission covers: `*`, `model:*`, `model:qwen3-*`. A star stands for any run of characters.
public struct ResourcePattern: Sendable, Hashable, CustomStringConvertible {
  public let description: String
  private let pattern: [UInt8]

  /// Nil when the text is neither `*` nor a known kind, a colon and a name.
  public init?(_ text: String) {
    guard text == "*" || Resource(parsing: text) != nil else { return nil }
    description = text
    pattern = Array(text.utf8)
  }

  public func covers(_ resource: Resource) -> Bool { covers(Array(resource.description.utf8)) }

  /// Whether everything that the other pattern covers is covered by this one. The other's star is a character that
  /// only a star matches.
  public func covers(_ other: ResourcePattern) -> Bool { covers(other.pattern) }

  /// Linear-space glob matching with one point to return to: the last star.
  private func covers(_ text: [UInt8]) -> Bool {
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
