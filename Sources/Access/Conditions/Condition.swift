/// Minutes of a day, from the first up to the second without it; `22:00-06:00` goes over midnight.
public struct DayMinutes: Sendable, Hashable, CustomStringConvertible {
  public let start: Int
  /// From 0 to 1440. Before `start`: of the next day.
  public let end: Int

  /// Nil where nothing is meant: equal ends, or an end beyond the day.
  public init?(start: Int, end: Int) {
    guard (0..<1440).contains(start), (0...1440).contains(end), start != end else { return nil }
    self.start = start
    self.end = end
  }

  /// Reads `08:00-18:00`; `24:00` may be the end.
  public init?(_ text: String) {
    let ends = text.split(separator: "-", omittingEmptySubsequences: false).map(DayMinutes.minute)
    guard ends.count == 2, let start = ends[0], let end = ends[1] else { return nil }
    self.init(start: start, end: end)
  }

  private static func minute(_ text: Substring) -> Int? {
    let digits = Array(text.utf8)
    guard digits.count == 5, digits[2] == 0x3A else { return nil }
    for at in [0, 1, 3, 4] where !(0x30...0x39).contains(digits[at]) { return nil }
    let hour = Int(digits[0] - 0x30) * 10 + Int(digits[1] - 0x30)
    let minute = Int(digits[3] - 0x30) * 10 + Int(digits[4] - 0x30)
    guard minute < 60, hour < 24 || (hour == 24 && minute == 0) else { return nil }
    return hour * 60 + minute
  }

  func contains(_ minute: Int) -> Bool {
    start < end ? minute >= start && minute < end : minute >= start || minute < end
  }

  static func clock(_ minute: Int) -> String {
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(two(minute / 60)):\(two(minute % 60))"
  }

  public var description: String { "\(DayMinutes.clock(start))-\(DayMinutes.clock(end))" }
}

/// What must be so for a permission to count: every key that is stated, and of each key one of its values.
public struct Condition: Sendable, Hashable, CustomStringConvertible {
  public enum Way: String, Sendable, Hashable, CaseIterable { case socket, network }

  /// Days of the week, by the box's time zone; a night belongs to the day on which it is asked.
  public var days: Set<Weekday>?
  public var hours: [DayMinutes]?
  /// How the request came.
  public var via: Set<Way>?
  /// Where from, on the network; the socket is in none.
  public var networks: [NetworkRange]?
  /// The box's labels: each must be there with one of the values.
  public var labels: [String: Set<String>] = [:]
  /// The most tokens of prompt and answer together.
  public var maxContextTokens: Int?
  /// The fewest; for what is forbidden to long requests.
  public var minContextTokens: Int?

  public init() {}

  /// Whether nothing is stated: then it always holds.
  public var isEmpty: Bool { self == Condition() }

  /// Whether it holds; nil where that is not known.
  public func holds(in context: RequestContext) -> Bool? {
    var isKnown = true
    if let days {
      if let time = context.time { if !days.contains(time.day) { return false } } else { isKnown = false }
    }
    if let hours {
      if let time = context.time {
        if !hours.contains(where: { $0.contains(time.minute) }) { return false }
      } else {
        isKnown = false
      }
    }
    if via != nil || networks != nil {
      switch holdsByOrigin(context.transport) {
      case false?: return false
      case nil: isKnown = false
      case true?: break
      }
    }
    for (name, values) in labels {
      guard let value = context.labels[name], values.contains(value) else { return false }
    }
    if let maxContextTokens {
      if let tokens = context.contextTokens { if tokens > maxContextTokens { return false } } else { isKnown = false }
    }
    if let minContextTokens {
      if let tokens = context.contextTokens { if tokens < minContextTokens { return false } } else { isKnown = false }
    }
    return isKnown ? true : nil
  }

  private func holdsByOrigin(_ transport: RequestContext.Transport?) -> Bool? {
    guard let transport else { return nil }
    let (way, address): (Way, NetworkAddress?) =
      switch transport {
      case .socket: (.socket, nil)
      case .network(let address): (.network, address)
      }
    if let via, !via.contains(way) { return false }
    guard let networks else { return true }
    if way == .socket { return false }
    return address.map { known in networks.contains { $0.contains(known) } }
  }

  /// Whether the other holds wherever this one does. It may say no where that is so, never yes where it is not.
  public func implies(_ other: Condition) -> Bool {
    func narrows<Value>(_ own: Set<Value>?, _ wide: Set<Value>?) -> Bool {
      wide.map { wide in own.map { $0.isSubset(of: wide) } ?? false } ?? true
    }
    guard narrows(days, other.days), narrows(via, other.via) else { return false }
    if let wide = other.hours {
      guard let hours else { return false }
      for minute in 0..<1440
      where hours.contains(where: { $0.contains(minute) }) && !wide.contains(where: { $0.contains(minute) }) {
        return false
      }
    }
    if let wide = other.networks {
      guard let networks, networks.allSatisfy({ own in wide.contains { $0.covers(own) } }) else { return false }
    }
    for (name, values) in other.labels where !narrows(labels[name], values) { return false }
    if let wide = other.maxContextTokens { guard let own = maxContextTokens, own <= wide else { return false } }
    if let wide = other.minContextTokens { guard let own = minContextTokens, own >= wide else { return false } }
    return true
  }

  /// What is stated, each key as people read it.
  var parts: [(key: String, text: String)] {
    var parts: [(String, String)] = []
    if let days {
      parts.append(("days", Weekday.allCases.filter(days.contains).map(\.rawValue).joined(separator: " ")))
    }
    if let hours { parts.append(("hours", hours.map(\.description).joined(separator: " "))) }
    if let via { parts.append(("via", Way.allCases.filter(via.contains).map(\.rawValue).joined(separator: " "))) }
    if let networks { parts.append(("networks", networks.map(\.description).joined(separator: " "))) }
    for (name, values) in labels.sorted(by: { $0.key < $1.key }) {
      parts.append(("labels", "\(name)=\(values.sorted().joined(separator: "|"))"))
    }
    if let maxContextTokens { parts.append(("maxContextTokens", String(maxContextTokens))) }
    if let minContextTokens { parts.append(("minContextTokens", String(minContextTokens))) }
    return parts
  }

  public var description: String { parts.map { "\($0.key) \($0.text)" }.joined(separator: ", ") }
}

/// When a permission counts: `when` holds, and `unless` does not.
public struct Clause: Sendable, Hashable, CustomStringConvertible {
  public var when: Condition
  /// Nil: there is no exception.
  public var unless: Condition?

  public static let always = Clause()

  public init(when: Condition = Condition(), unless: Condition? = nil) {
    self.when = when
    self.unless = unless
  }

  public var isAlways: Bool { self == .always }

  /// Whether the permission counts; nil where that is not known.
  public func holds(in context: RequestContext) -> Bool? {
    let when = when.holds(in: context)
    if when == false { return false }
    guard let unless else { return when }
    switch unless.holds(in: context) {
    case true?: return false
    case false?: return when
    case nil: return nil
    }
  }

  /// Whether the other holds wherever this one does. It may say no where that is so, never yes where it is not.
  public func implies(_ other: Clause) -> Bool {
    guard when.implies(other.when) else { return false }
    guard let exception = other.unless else { return true }
    return unless.map { exception.implies($0) } ?? false
  }

  public var description: String {
    var texts: [String] = []
    if !when.isEmpty { texts.append("when \(when)") }
    if let unless { texts.append("unless \(unless.isEmpty ? "always" : unless.description)") }
    return texts.joined(separator: " ")
  }
}
