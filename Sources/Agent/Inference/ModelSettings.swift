import Fleet
import Trust

/// What `models` in agent.json5 says of models whose name fits a pattern; nil: what `engine` says, or what fits the box.
struct ModelSettings: Sendable, Hashable {
  enum Speculation: Sendable, Hashable {
    case none, ngram
    /// Another installed model of the same vocabulary, by its name.
    case draft(String)
  }
  enum Load: String, Sendable, CaseIterable {
    /// When somebody asks.
    case request
    /// As soon as the agent starts or the model arrives.
    case start
  }

  var contextTokens: Int?
  var slots: Int?
  var threads: Int?
  var promptCacheMiB: Int?
  /// 0: it stays loaded for ever.
  var keepAliveSeconds: Int?
  /// The name of an adapter.
  var engine: String?
  var speculative: Speculation?
  /// Instead of `engine.arguments`.
  var arguments: [String]?
  var load: Load?
  /// The minute of the day at which a loaded engine is started anew.
  var reloadMinute: Int?

  /// These, with what `other` says in its place where it says something.
  func overridden(by other: ModelSettings) -> ModelSettings {
    var merged = self
    merged.contextTokens = other.contextTokens ?? contextTokens
    merged.slots = other.slots ?? slots
    merged.threads = other.threads ?? threads
    merged.promptCacheMiB = other.promptCacheMiB ?? promptCacheMiB
    merged.keepAliveSeconds = other.keepAliveSeconds ?? keepAliveSeconds
    merged.engine = other.engine ?? engine
    merged.speculative = other.speculative ?? speculative
    merged.arguments = other.arguments ?? arguments
    merged.load = other.load ?? load
    merged.reloadMinute = other.reloadMinute ?? reloadMinute
    return merged
  }
}

extension ModelSettings {
  static let keys = [
    "contextTokens", "slots", "threads", "promptCacheMiB", "keepAliveSeconds", "engine", "speculative", "arguments",
    "load", "reloadAt",
  ]

  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(ModelSettings.keys)
    if let field = members["contextTokens"] { contextTokens = try field.integer(64...1_048_576) }
    if let field = members["slots"] { slots = try field.integer(1...64) }
    if let field = members["threads"] { threads = try field.integer(1...512) }
    if let field = members["promptCacheMiB"] { promptCacheMiB = try field.integer(0...65_536) }
    if let field = members["keepAliveSeconds"] { keepAliveSeconds = try field.integer(0...86_400 * 365) }
    if let field = members["engine"] { engine = try AgentConfiguration.boxName(field) }
    if let field = members["speculative"] { speculative = try ModelSettings.speculation(field) }
    if let field = members["arguments"] {
      var list: [String] = []
      for element in try field.array(of: "strings") { list.append(try element.string()) }
      arguments = list
    }
    if let field = members["load"] { load = try field.choice() }
    if let field = members["reloadAt"], !field.isNull { reloadMinute = try ModelSettings.minute(field) }
  }

  private static func speculation(_ field: JSONField) throws(JSONFieldError) -> Speculation {
    let allowed = "\"none\", \"ngram\" or {draft: \"the name of an installed model\"}"
    switch field.value {
    case .string("none"): return .none
    case .string("ngram"): return .ngram
    case .object:
      let members = try field.members(["draft"])
      guard let draft = members["draft"] else { throw field.wrong("draft is missing", allowed: allowed) }
      let name = try draft.string("the name of an installed model")
      guard !name.isEmpty, name.utf8.count <= 200 else {
        throw draft.wrong("\"\(name)\" is no name", allowed: "the name of an installed model")
      }
      return .draft(name)
    default: throw field.wrong("it is something else", allowed: allowed)
    }
  }

  /// A time of the day such as `04:30`, as the minute from 0 to 1439.
  static func minute(_ field: JSONField) throws(JSONFieldError) -> Int {
    let allowed = "a time of the day like \"04:30\", or null"
    let text = try field.string(allowed)
    // A window that begins there and ends elsewhere is read by the same rules.
    guard let window = QuietHours.Window(text + (text == "00:00" ? "-00:01" : "-00:00")) else {
      throw field.wrong("\"\(text)\" is no time", allowed: allowed)
    }
    return window.start
  }

  /// What was said, as `--check` prints it.
  var effective: JSONValue {
    var members: [String: JSONValue] = [:]
    func number(_ key: String, _ value: Int?) { members[key] = value.map { .integer(Int64($0)) } }
    number("contextTokens", contextTokens)
    number("slots", slots)
    number("threads", threads)
    number("promptCacheMiB", promptCacheMiB)
    number("keepAliveSeconds", keepAliveSeconds)
    members["engine"] = engine.map(JSONValue.string)
    members["arguments"] = arguments.map { .array($0.map(JSONValue.string)) }
    members["load"] = load.map { .string($0.rawValue) }
    members["reloadAt"] = reloadMinute.map { .string(QuietHours.clock($0)) }
    switch speculative {
    case nil: break
    case .some(.none): members["speculative"] = "none"
    case .ngram: members["speculative"] = "ngram"
    case .draft(let name): members["speculative"] = ["draft": .string(name)]
    }
    return .object(members)
  }
}

/// The settings by pattern: a model's name, in which `*` stands for anything.
struct ModelSettingsTable: Sendable, Hashable {
  private(set) var entries: [String: ModelSettings] = [:]

  init() {}

  init(_ field: JSONField) throws(JSONFieldError) {
    for (pattern, settings) in try field.object() {
      guard !pattern.isEmpty, pattern.utf8.count <= 200, pattern.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
        throw settings.wrong("\"\(pattern)\" is no pattern", allowed: "a model's name, in which * stands for anything")
      }
      entries[pattern] = try ModelSettings(settings)
    }
  }

  /// What holds for a model: of all patterns that fit, the more of its name one spells out, the more it counts.
  func settings(for name: String) -> ModelSettings {
    func weight(_ pattern: String) -> Int { pattern.utf8.count { $0 != UInt8(ascii: "*") } }
    return entries.filter { ModelSettingsTable.fits($0.key, name) }
      .sorted { (weight($0.key), $0.key) < (weight($1.key), $1.key) }
      .reduce(ModelSettings()) { $0.overridden(by: $1.value) }
  }

  /// Whether `*` can stand for such texts that the pattern becomes the name.
  static func fits(_ pattern: String, _ name: String) -> Bool {
    let (pattern, name) = (Array(pattern.utf8), Array(name.utf8))
    var (at, here) = (0, 0)
    var star: (at: Int, here: Int)?
    while here < name.count {
      if at < pattern.count, pattern[at] == UInt8(ascii: "*") {
        star = (at, here)
        at += 1
      } else if at < pattern.count, pattern[at] == name[here] {
        (at, here) = (at + 1, here + 1)
      } else if let back = star {
        star = (back.at, back.here + 1)
        (at, here) = (back.at + 1, back.here + 1)
      } else {
        return false
      }
    }
    return pattern[at...].allSatisfy { $0 == UInt8(ascii: "*") }
  }

  var effective: JSONValue { .object(entries.mapValues(\.effective)) }
}
