public import Trust

extension WeekTime {
  /// Reads `mon 08:30`; nil for anything else.
  public init?(_ text: String) {
    let parts = text.split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 2, let day = Weekday(rawValue: String(parts[0])),
      let range = DayMinutes("\(parts[1])-24:00")
    else { return nil }
    self.init(day: day, minute: range.start)
  }
}

extension RequestContext {
  static let keys = ["time", "via", "address", "labels", "contextTokens"]

  /// Reads `{time: "mon 08:30", via: "network", address: "10.0.0.1", labels: {site: "oslo"}, contextTokens: 100}`; what is
  /// not there is not known. Throws for an unknown key or a bad value.
  public init(_ field: JSONField) throws(JSONFieldError) {
    self.init()
    let members = try field.members(RequestContext.keys)
    if let field = members["time"] {
      guard let read = WeekTime(try field.string()) else { throw field.wrong("no time", allowed: "\"mon 08:30\"") }
      time = read
    }
    var address: NetworkAddress?
    if let field = members["address"] {
      guard let read = NetworkAddress(try field.string()) else {
        throw field.wrong("no address", allowed: "an IPv4 or IPv6 address")
      }
      address = read
      transport = .network(address)
    }
    if let field = members["via"] {
      switch try field.choice(Condition.Way.self) {
      case .socket: transport = .socket
      case .network: transport = .network(address)
      }
    }
    for (name, field) in try (members["labels"]?.object() ?? [:]) { labels[name] = try field.string() }
    contextTokens = try members["contextTokens"]?.integer(0...1_000_000_000)
  }
}
