import Trust

extension Condition {
  static let keys = ["days", "hours", "via", "networks", "labels", "maxContextTokens", "minContextTokens"]

  /// Reads `{days: ["mon"], hours: ["08:00-18:00"], …}`. Throws for an unknown key, a bad value, an empty list.
  init(_ field: JSONField) throws(JSONFieldError) {
    self.init()
    let members = try field.members(Condition.keys)
    if members.isEmpty { throw field.wrong("states nothing", allowed: Condition.keys.joined(separator: ", ")) }
    if let field = members["days"] {
      days = Set(try Condition.list(field, "days") { field throws(JSONFieldError) in try field.choice(Weekday.self) })
    }
    if let field = members["hours"] {
      hours = try Condition.list(field, "hours") { field throws(JSONFieldError) in
        guard let range = DayMinutes(try field.string()) else {
          throw field.wrong("no hours", allowed: "\"08:00-18:00\"; \"22:00-06:00\" goes over midnight")
        }
        return range
      }.sorted { ($0.start, $0.end) < ($1.start, $1.end) }
    }
    if let field = members["via"] {
      via = Set(try Condition.list(field, "via") { field throws(JSONFieldError) in try field.choice(Way.self) })
    }
    if let field = members["networks"] {
      networks = try Condition.list(field, "networks") { field throws(JSONFieldError) in
        guard let range = NetworkRange(try field.string()) else {
          throw field.wrong("no network", allowed: "\"10.0.0.0/8\", \"fd00::/8\", with no bits beyond the prefix")
        }
        return range
      }.sorted { $0.description < $1.description }
    }
    let labelled = try members["labels"]?.object()
    if let field = members["labels"], labelled?.isEmpty == true {
      throw field.wrong("names no label", allowed: "{site: \"oslo\"}")
    }
    for (name, field) in labelled ?? [:] {
      guard Role.isName(name) else { throw field.wrong("no label's name", allowed: Role.allowedNames) }
      if case .string(let value) = field.value {
        labels[name] = [value]
      } else {
        labels[name] = Set(try Condition.list(field, "values") { field throws(JSONFieldError) in try field.string() })
      }
    }
    let range = 1...1_000_000_000
    maxContextTokens = try members["maxContextTokens"]?.integer(range)
    minContextTokens = try members["minContextTokens"]?.integer(range)
  }

  /// One value or several; none would never hold.
  private static func list<Value>(
    _ field: JSONField, _ what: String, _ read: (JSONField) throws(JSONFieldError) -> Value
  ) throws(JSONFieldError) -> [Value] {
    if case .string = field.value { return [try read(field)] }
    let elements = try field.array(of: what)
    if elements.isEmpty { throw field.wrong("an empty list never holds", allowed: "one or more \(what)") }
    var values: [Value] = []
    for element in elements { values.append(try read(element)) }
    return values
  }
}

extension Clause {
  /// Reads `when` and `unless` of a permission's members.
  init(_ members: [String: JSONField]) throws(JSONFieldError) {
    self.init()
    if let field = members["when"] { when = try Condition(field) }
    if let field = members["unless"] { unless = try Condition(field) }
  }
}
