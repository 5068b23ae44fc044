/// What somebody's rights are narrowed to, whatever roles they hold: a token's scope, or the most that a box may add to a
/// policy that its fleet signed. It never gives anything.
///
/// Written as words, one for each grant: `VERB` for all resources of the verb's kind, or `VERB:KIND:NAME` with stars in
/// the name, as in `infer:model:qwen3-*`. At least one.
public struct Scope: Sendable, Hashable, CustomStringConvertible {
  /// One word.
  public struct Grant: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let verb: Verb
    public let pattern: ResourcePattern

    public init(verb: Verb, pattern: ResourcePattern) {
      self.verb = verb
      self.pattern = pattern
    }

    /// Nil for an unknown verb, or a pattern of another kind than the verb's.
    public init?(_ word: String) {
      let parts = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard let verb = parts.first.flatMap(Verb.box) else { return nil }
      let text = parts.count > 1 ? parts[1] : "\(verb.resourceKind):*"
      guard text.hasPrefix(verb.resourceKind + ":"), let pattern = ResourcePattern(text) else { return nil }
      self.init(verb: verb, pattern: pattern)
    }

    /// The word; without its pattern where that is every resource of the verb's kind.
    public var description: String {
      pattern.description == "\(verb.resourceKind):*" ? verb.rawValue : "\(verb.rawValue):\(pattern)"
    }

    public static func < (one: Grant, other: Grant) -> Bool { one.description < other.description }
  }

  /// A word that is none.
  public struct BadWord: Error, Hashable, CustomStringConvertible {
    public let word: String
    public init(word: String) { self.word = word }
    public var description: String { "\"\(word)\" is no scope; \(Scope.allowed)" }
  }

  /// How people write one, for error messages.
  public static let allowed =
    "write VERB or VERB:KIND:NAME, such as infer:model:qwen3-*, with one of the verbs "
    + Verb.allCases.map(\.rawValue).joined(separator: ", ")

  /// Sorted, each once.
  public let grants: [Grant]

  public init(_ grants: some Sequence<Grant>) { self.grants = Set(grants).sorted() }

  /// Throws `BadWord` for the first word that is none.
  public init(words: [String]) throws(BadWord) {
    var grants: [Grant] = []
    for word in words {
      guard let grant = Grant(word) else { throw BadWord(word: word) }
      grants.append(grant)
    }
    self.init(grants)
  }

  public var words: [String] { grants.map(\.description) }
  public var description: String { words.joined(separator: ", ") }

  public func covers(_ verb: Verb, _ resource: Resource) -> Bool {
    grants.contains { $0.verb == verb && $0.pattern.covers(resource) }
  }

  /// Whether it leaves whole what a rule allows. A pattern `*` stands for the resources of the verb's kind here: a verb
  /// acts on no other.
  public func covers(_ verb: Verb, _ pattern: ResourcePattern) -> Bool {
    grants.contains { grant in
      grant.verb == verb
        && (grant.pattern.covers(pattern) || grant.pattern.description == "\(verb.resourceKind):*")
    }
  }
}
