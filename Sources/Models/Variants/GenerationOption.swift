public import Trust

/// An option of Ollama's API and of a Modelfile's PARAMETER lines: what it may be, and what the engine calls it.
/// https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx (“Valid parameters and values”)
public struct GenerationOption: Sendable, Hashable {
  public enum Kind: Sendable, Hashable { case number, wholeNumber, flag, texts }

  public let name: String
  public let kind: Kind
  /// The member of a request that means it; nil where one engine serves many callers, so that nobody may set it alone.
  public let engineName: String?

  /// What the option has to be, for messages.
  public var allowed: String {
    switch kind {
    case .number: "a number"
    case .wholeNumber: "a whole number"
    case .flag: "true or false"
    case .texts: "a string or an array of strings"
    }
  }

  public func allows(_ value: JSONValue) -> Bool {
    switch kind {
    case .number: value.number != nil
    case .wholeNumber: value.integer != nil
    case .flag: value.bool != nil
    case .texts: value.string != nil || value.array?.allSatisfy { $0.string != nil } == true
    }
  }

  /// The value that a Modelfile's text stands for; nil when it is none of this kind.
  public func value(from text: String) -> JSONValue? {
    switch kind {
    case .number: Int64(text).map(JSONValue.integer) ?? Double(text).flatMap { $0.isFinite ? .double($0) : nil }
    case .wholeNumber: Int64(text).map(JSONValue.integer)
    case .flag: Bool(text).map(JSONValue.bool)
    case .texts: .string(text)
    }
  }

  public static func named(_ name: String) -> GenerationOption? { byName[name] }

  /// All of them, by name.
  public static let all: [GenerationOption] =
    [
      option("temperature", .number), option("top_k", .wholeNumber), option("top_p", .number), option("min_p", .number),
      option("typical_p", .number), option("seed", .wholeNumber), option("stop", .texts),
      option("num_predict", .wholeNumber, "max_tokens"), option("num_keep", .wholeNumber, "n_keep"),
      option("repeat_last_n", .wholeNumber), option("repeat_penalty", .number), option("presence_penalty", .number),
      option("frequency_penalty", .number), option("mirostat", .wholeNumber), option("mirostat_tau", .number),
      option("mirostat_eta", .number),
    ]
    + ["num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"].map { GenerationOption($0, .wholeNumber, nil) }
    + ["numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only"]
    .map { GenerationOption($0, .flag, nil) }
    // Gone from the engine: they change nothing, and are no error.
    + [GenerationOption("tfs_z", .number, nil), GenerationOption("penalize_newline", .flag, nil)]

  private static let byName = Dictionary(all.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

  private static func option(_ name: String, _ kind: Kind, _ engineName: String? = nil) -> GenerationOption {
    GenerationOption(name, kind, engineName ?? name)
  }

  private init(_ name: String, _ kind: Kind, _ engineName: String?) {
    self.name = name
    self.kind = kind
    self.engineName = engineName
  }
}

extension GenerationOption {
  /// The members of an engine's request that these options mean. What is unknown, or for the whole engine, is left out;
  /// so is a limit below zero, which means none.
  public static func engineMembers(_ options: [String: JSONValue]) -> [String: JSONValue] {
    var members: [String: JSONValue] = [:]
    for (name, value) in options {
      guard let option = named(name), let engineName = option.engineName, value != .null else { continue }
      if name == "num_predict", value.number ?? 0 < 0 { continue }
      members[engineName] = value
    }
    return members
  }

  /// The first of these options that is not what it has to be, and what that is.
  public static func complaint(_ options: [String: JSONValue]) -> (name: String, allowed: String)? {
    for (name, value) in options.sorted(by: { $0.key < $1.key }) where value != .null {
      if let option = named(name), !option.allows(value) { return (name, option.allowed) }
    }
    return nil
  }
}
