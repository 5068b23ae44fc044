/// A minute of the week, by the box's time zone.
public struct WeekTime: Sendable, Hashable, CustomStringConvertible {
  public let day: Weekday
  /// From 0 to 1439.
  public let minute: Int

  public init(day: Weekday, minute: Int) {
    self.day = day
    self.minute = min(max(minute, 0), 1439)
  }

  public var description: String { "\(day.rawValue) \(DayMinutes.clock(minute))" }
}

public enum Weekday: String, Sendable, Hashable, CaseIterable {
  case monday = "mon"
  case tuesday = "tue"
  case wednesday = "wed"
  case thursday = "thu"
  case friday = "fri"
  case saturday = "sat"
  case sunday = "sun"

  /// 0 for Monday.
  var number: UInt8 {
    switch self {
    case .monday: 0
    case .tuesday: 1
    case .wednesday: 2
    case .thursday: 3
    case .friday: 4
    case .saturday: 5
    case .sunday: 6
    }
  }
}

/// What a request brings along besides who asks for what; conditions are about it. What is nil is not known: then no
/// condition on it lets anybody in, and every one that forbids does forbid.
public struct RequestContext: Sendable, Hashable {
  /// How a request reached the agent.
  public enum Transport: Sendable, Hashable, CustomStringConvertible {
    /// Over the Unix socket.
    case socket
    /// Over TCP, from this address; nil where it is not known.
    case network(NetworkAddress?)

    public var description: String {
      switch self {
      case .socket: "the socket"
      case .network(let address): address.map { "the network, from \($0)" } ?? "the network"
      }
    }
  }

  public var time: WeekTime?
  public var transport: Transport?
  /// The box's labels, all of them.
  public var labels: [String: String]
  /// The tokens that prompt and answer may take together, as they are estimated before a request is let in. Nil for what is
  /// no inference.
  public var contextTokens: Int?

  public init(
    time: WeekTime? = nil, transport: Transport? = nil, labels: [String: String] = [:], contextTokens: Int? = nil
  ) {
    self.time = time
    self.transport = transport
    self.labels = labels
    self.contextTokens = contextTokens
  }
}
