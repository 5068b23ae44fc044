public import Trust

/// A local name for an installed, signed model with words and settings of its own: Ollama's “create”. It has no weights,
/// and the chat template stays the model's.
public struct ModelVariant: Sendable, Hashable {
  /// Words that every conversation begins with, after the system's.
  public struct Message: Sendable, Hashable {
    public var role: String
    public var content: String

    public init(role: String, content: String) {
      self.role = role
      self.content = content
    }

    public static let roles = ["system", "user", "assistant"]
  }

  /// `NAME` or `NAME:TAG`.
  public var name: String
  /// The model that answers: `NAME`, which follows the fleet's updates, or `NAME:VERSION`, which stays at that version.
  public var base: String
  public var system: String?
  /// By Ollama's names; see `GenerationOption`.
  public var parameters: [String: JSONValue]
  public var messages: [Message]

  /// What stays small however many there are: a variant's words go into every prompt.
  public enum Limit {
    public static let systemBytes = 64 << 10
    public static let messages = 64
    public static let messageBytes = 64 << 10
    public static let stops = 32
    /// How many variants a box keeps.
    public static let variants = 256
  }

  /// Throws `VariantError` that names what is wrong.
  public init(
    name: String, base: String, system: String? = nil, parameters: [String: JSONValue] = [:],
    messages: [Message] = []
  ) throws(VariantError) {
    guard let name = ModelVariant.name(name) else { throw .name(name) }
    guard let base = ModelVariant.name(base) else { throw .base(base) }
    self.name = name
    self.base = base
    self.system = system?.isEmpty == true ? nil : system
    self.parameters = parameters.filter { $0.value != .null }
    self.messages = messages
    guard (system?.utf8.count ?? 0) <= Limit.systemBytes else { throw .tooLong("system", Limit.systemBytes) }
    guard messages.count <= Limit.messages else { throw .tooMany("messages", Limit.messages) }
    for message in messages {
      guard Message.roles.contains(message.role) else { throw .role(message.role) }
      guard message.content.utf8.count <= Limit.messageBytes else { throw .tooLong("a message", Limit.messageBytes) }
    }
    for (name, value) in self.parameters.sorted(by: { $0.key < $1.key }) {
      guard let option = GenerationOption.named(name) else { throw .parameter(name) }
      guard option.allows(value) else { throw .value(name, allowed: option.allowed) }
      if let stops = value.array, stops.count > Limit.stops { throw .tooMany(name, Limit.stops) }
    }
  }

  /// The name without its tag, which is what roles speak of.
  public static func untagged(_ name: String) -> String { String(name.prefix { $0 != ":" }) }

  /// The name as it is kept: Ollama's clients write `:latest` where they mean no tag. Nil when it is none.
  public static func name(_ text: String) -> String? {
    let plain = text.hasSuffix(":latest") ? String(text.dropLast(7)) : text
    let parts = plain.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, ModelName(first) != nil, parts.count < 2 || ModelVersion(parts[1]) != nil else {
      return nil
    }
    return plain
  }

  /// The parameters that a caller can't have alone, because they are the whole engine's; they change nothing here.
  public var idleParameters: [String] {
    parameters.keys.filter { GenerationOption.named($0)?.engineName == nil }.sorted()
  }

  /// What makes the variant, without its name, for the audit log: two that answer alike have the same digest.
  public var definitionDigest: Digest {
    let definition: JSONValue = [
      "base": .string(base), "system": system.map(JSONValue.string) ?? .null, "parameters": .object(parameters),
      "messages": messagesJSON,
    ]
    return Digest(of: definition.encoded())
  }

  public var messagesJSON: JSONValue {
    .array(messages.map { ["role": .string($0.role), "content": .string($0.content)] })
  }
}

/// Why a variant can't be made.
public enum VariantError: Error, Sendable, Hashable, CustomStringConvertible {
  case name(String)
  case base(String)
  case parameter(String)
  case value(String, allowed: String)
  case role(String)
  case tooLong(String, Int)
  case tooMany(String, Int)

  public var description: String {
    switch self {
    case .name(let name):
      "\"\(name.prefix(80))\" is no name for a variant; it must be NAME or NAME:TAG, with NAME \(ModelName.rule)"
    case .base(let name): "\"\(name.prefix(80))\" is no model's name; it must be NAME or NAME:VERSION"
    case .parameter(let name):
      "unknown parameter '\(name.prefix(80))'; known: "
        + GenerationOption.all.filter { $0.engineName != nil }.map(\.name).joined(separator: ", ")
    case .value(let name, let allowed): "the parameter \(name) must be \(allowed)"
    case .role(let role):
      "a message's role must be one of \(ModelVariant.Message.roles.joined(separator: ", ")), not \"\(role.prefix(80))\""
    case .tooLong(let what, let limit): "\(what) is longer than \(limit) bytes"
    case .tooMany(let what, let limit): "\(what): at most \(limit)"
    }
  }
}
