import Trust

/// How much of the engines somebody may use, as a policy states it. A key that is not stated says nothing; `null` says that
/// there is no limit.
public struct Limits: Sendable, Hashable {
  public enum Key: String, CaseIterable, Sendable, Hashable {
    /// Requests for an answer, counted when they are let in.
    case requestsPerMinute
    /// Tokens of prompts and answers together.
    case tokensPerMinute
    /// The same, within any 24 hours.
    case tokensPerDay
    /// Requests that engines answer at the same time; more wait.
    case concurrency
    /// Requests that wait at the same time; more are refused.
    case queue

    /// The values that a policy may state.
    var range: ClosedRange<Int> {
      switch self {
      case .requestsPerMinute: 1...1_000_000
      case .tokensPerMinute: 1...1_000_000_000
      case .tokensPerDay: 1...1_000_000_000_000
      case .concurrency: 1...65_536
      case .queue: 0...65_536
      }
    }
  }

  /// What is stated: `Int.max` for no limit.
  private(set) var stated: [Key: Int]

  public init(_ stated: [Key: Int] = [:]) { self.stated = stated }

  public var isEmpty: Bool { stated.isEmpty }
  /// Nil where nothing is stated; `Int.max` where there is no limit.
  public subscript(key: Key) -> Int? { stated[key] }

  /// These limits, and the other's where these say nothing.
  func over(_ other: Limits) -> Limits { Limits(stated.merging(other.stated) { own, _ in own }) }

  /// What the more generous of both grants; where only one says something, that.
  func widened(by other: Limits) -> Limits { Limits(stated.merging(other.stated) { max($0, $1) }) }

  /// Reads `{requestsPerMinute: 60, tokensPerDay: null, …}`. Throws for an unknown key or a value out of range.
  init(_ field: JSONField) throws(JSONFieldError) {
    stated = [:]
    let members = try field.members(Key.allCases.map(\.rawValue))
    for key in Key.allCases {
      guard let member = members[key.rawValue] else { continue }
      stated[key] = member.isNull ? Int.max : try member.integer(key.range)
    }
  }
}

/// Limits with nothing left open; `Int.max` stands for none.
public struct Allowance: Sendable, Hashable {
  public var requestsPerMinute = Int.max
  public var tokensPerMinute = Int.max
  public var tokensPerDay = Int.max
  public var concurrency = Int.max
  public var queue = Int.max

  public static let unlimited = Allowance()

  public init() {}

  public init(_ limits: Limits) {
    for key in Limits.Key.allCases { if let value = limits[key] { self[key] = value } }
  }

  public subscript(key: Limits.Key) -> Int {
    get {
      switch key {
      case .requestsPerMinute: requestsPerMinute
      case .tokensPerMinute: tokensPerMinute
      case .tokensPerDay: tokensPerDay
      case .concurrency: concurrency
      case .queue: queue
      }
    }
    set {
      switch key {
      case .requestsPerMinute: requestsPerMinute = newValue
      case .tokensPerMinute: tokensPerMinute = newValue
      case .tokensPerDay: tokensPerDay = newValue
      case .concurrency: concurrency = newValue
      case .queue: queue = newValue
      }
    }
  }

  /// Key by key the more generous of both.
  func union(_ other: Allowance) -> Allowance {
    var made = Allowance()
    for key in Limits.Key.allCases { made[key] = max(self[key], other[key]) }
    return made
  }

  /// Key by key the narrower of both.
  func intersection(_ other: Allowance) -> Allowance {
    var made = Allowance()
    for key in Limits.Key.allCases { made[key] = min(self[key], other[key]) }
    return made
  }
}

/// A role that lets a caller do something, with how much of it.
public struct Grant: Sendable, Hashable {
  public let role: String
  /// What each caller who holds the role may use.
  public let own: Allowance
  /// What all who hold the role may use together.
  public let shared: Allowance

  public init(role: String, own: Allowance = .unlimited, shared: Allowance = .unlimited) {
    self.role = role
    self.own = own
    self.shared = shared
  }
}
