/// Decides who may ask now and who has to wait, by how much they used. A value: time comes in as readings of clocks that
/// never go back, and the same calls give the same decisions.
///
/// Two kinds of scope are counted: each caller, under the most generous of the roles that let them ask; and each role, for
/// all its callers together. A request is let in when its caller has room, and one of the roles has.
public struct Limiter: Sendable {
  /// Two readings of time, in seconds.
  public struct Now: Sendable, Hashable {
    /// Never goes back while the program runs.
    public let seconds: Double
    /// Never goes back over restarts, either.
    public let lasting: Double

    public init(seconds: Double, lasting: Double) {
      self.seconds = seconds
      self.lasting = lasting
    }

    var hour: Int64 { Int64(lasting / 3600) }
  }

  public enum Scope: Sendable, Hashable, CustomStringConvertible {
    case caller(String)
    case role(String)

    public var description: String {
      switch self {
      case .caller(let name): "caller \(name)"
      case .role(let name): "role \(name)"
      }
    }

    /// For records and metrics: without a name.
    public var kind: String {
      switch self {
      case .caller: "caller"
      case .role: "role"
      }
    }
  }

  /// Why a request is not let in.
  public struct Refusal: Error, Sendable, Hashable {
    public let limit: Limits.Key
    public let scope: Scope
    /// The role whose limit it is.
    public let role: String
    public let allowed: Int
    /// Who waits so long gets in, unless others of the same scope come first; in seconds.
    public var wait: Double

    public init(limit: Limits.Key, scope: Scope, role: String, allowed: Int, wait: Double) {
      self.limit = limit
      self.scope = scope
      self.role = role
      self.allowed = allowed
      self.wait = wait
    }
  }

  /// A role under which a request was let in, with what all who hold it may use together.
  public struct Share: Sendable, Hashable {
    public let role: String
    public let allowance: Allowance
  }

  /// What was taken for a request that was let in; to be settled once.
  public struct Charge: Sendable, Hashable {
    public let caller: String
    public let own: Allowance
    /// Nil where there was no grant.
    let share: Share?
    /// The other role, where what is asked and what it is made from were let in under two.
    let other: Share?
    /// What was foreseen.
    public let tokens: Int
    let hour: Int64

    /// The role under which it was let in: of two, the one for what is at the bottom.
    public var role: String { share?.role ?? "" }
  }

  /// How much of the limits per minute is left, for the caller's own eyes.
  public struct Standing: Sendable, Hashable {
    public var requests: (limit: Int, remaining: Int, reset: Double)?
    public var tokens: (limit: Int, remaining: Int, reset: Double)?

    public init() {}

    public static func == (one: Standing, other: Standing) -> Bool {
      one.requests.map { [$0.limit, $0.remaining] } == other.requests.map { [$0.limit, $0.remaining] }
        && one.tokens.map { [$0.limit, $0.remaining] } == other.tokens.map { [$0.limit, $0.remaining] }
    }
    public func hash(into hasher: inout Hasher) { hasher.combine(requests?.remaining) }
  }

  struct Meter: Sendable {
    var requests: RateBucket?
    var tokens: RateBucket?
    var day = DayWindow()
    /// Let in and not settled.
    var open = 0
    /// At an engine.
    var running = 0
    /// In front of one.
    var waiting = 0

    mutating func adapt(to allowance: Allowance, at now: Double) {
      Meter.adapt(&requests, allowance.requestsPerMinute, now)
      Meter.adapt(&tokens, allowance.tokensPerMinute, now)
    }

    private static func adapt(_ bucket: inout RateBucket?, _ perMinute: Int, _ now: Double) {
      guard perMinute < Int.max else { return }
      if bucket == nil { bucket = RateBucket(perMinute: perMinute, at: now) }
      bucket?.change(perMinute: perMinute, at: now)
    }

    /// The limit that holds longest, and for how many seconds; nil when there is room.
    mutating func obstacle(_ allowance: Allowance, _ tokens: Int, at now: Now) -> (Limits.Key, Double)? {
      var worst: (Limits.Key, Double)?
      func note(_ key: Limits.Key, _ wait: Double) { if wait > worst?.1 ?? 0 { worst = (key, wait) } }
      if allowance.requestsPerMinute < Int.max {
        note(.requestsPerMinute, requests?.wait(for: 1, at: now.seconds) ?? 0)
      }
      if allowance.tokensPerMinute < Int.max {
        note(.tokensPerMinute, self.tokens?.wait(for: tokens, at: now.seconds) ?? 0)
      }
      if allowance.tokensPerDay < Int.max {
        note(.tokensPerDay, day.wait(for: tokens, limit: allowance.tokensPerDay, at: now.lasting))
      }
      return worst
    }

    mutating func take(_ amount: Int, at now: Now) {
      requests?.take(1, at: now.seconds)
      tokens?.take(amount, at: now.seconds)
      day.add(amount, in: now.hour, now: now.hour)
      open += 1
    }

    mutating func settle(_ foreseen: Int, _ used: Int, _ hour: Int64, at now: Now) {
      if used > foreseen {
        tokens?.take(used - foreseen, at: now.seconds)
      } else {
        tokens?.giveBack(foreseen - used, at: now.seconds)
      }
      day.add(used - foreseen, in: hour, now: now.hour)
      open = max(0, open - 1)
    }

    /// Whether forgetting it changes nothing.
    mutating func isBlank(at now: Now) -> Bool {
      open == 0 && day.used(at: now.hour) == 0 && (requests?.untilFull(at: now.seconds) ?? 0) == 0
        && (tokens?.untilFull(at: now.seconds) ?? 0) == 0
    }
  }

  /// Scopes that are remembered before those that are at rest are looked for.
  private let capacity: Int
  private var meters: [Scope: Meter] = [:]

  public init(capacity: Int = 1024) { self.capacity = capacity }

  /// Lets a request in that will use about so many tokens, or says why not. Without a grant there is nothing to count by:
  /// the policy has already refused it.
  ///
  /// - Parameters:
  ///   - made: the grants for what is made from that for which `grants` are: both must have room, and key by key the
  ///     narrower of both counts. Nil: nothing is.
  ///   - queue: how many requests of one caller may wait where no role says.
  public mutating func take(
    _ caller: String, _ grants: [Grant], made: [Grant]? = nil, tokens: Int, queue: Int, at now: Now
  ) throws(Refusal) -> Charge {
    let base = Limiter.union(grants)
    let upper = made.map(Limiter.union)
    var own = upper.map(base.intersection) ?? base
    if own.queue == Int.max { own.queue = queue }
    prune(at: now)
    let scope = Scope.caller(caller)
    var meter = meters[scope] ?? Meter()
    meter.adapt(to: own, at: now.seconds)
    func refusal(_ key: Limits.Key, _ wait: Double) -> Refusal {
      let narrower = upper.map { $0[key] < base[key] } == true ? made ?? [] : grants
      let role = narrower.max { $0.own[key] < $1.own[key] }?.role ?? ""
      return Refusal(limit: key, scope: scope, role: role, allowed: own[key], wait: wait)
    }
    if let (key, wait) = meter.obstacle(own, tokens, at: now) {
      meters[scope] = meter
      throw refusal(key, wait)
    }
    // Whoever has as many waiting as may wait would only be sent away later.
    if meter.waiting >= own.queue, own.queue > 0 || meter.running >= own.concurrency {
      meters[scope] = meter
      throw refusal(.queue, 1)
    }
    let share = try roomiest(grants, tokens, at: now)
    var other: Share?
    // A role that lets both is charged once.
    if let made, !made.contains(where: { $0.role == share?.role }) { other = try roomiest(made, tokens, at: now) }
    meter.take(tokens, at: now)
    meters[scope] = meter
    for share in [share, other] {
      if let share { meters[.role(share.role), default: Meter()].take(tokens, at: now) }
    }
    return Charge(caller: caller, own: own, share: share, other: other, tokens: tokens, hour: now.hour)
  }

  private static func union(_ grants: [Grant]) -> Allowance {
    grants.dropFirst().reduce(grants.first?.own ?? .unlimited) { $0.union($1.own) }
  }

  /// The first role with room for all its callers together; throws the refusal that lasts shortest when none has.
  private mutating func roomiest(_ grants: [Grant], _ tokens: Int, at now: Now) throws(Refusal) -> Share? {
    var shortest: Refusal?
    // What nobody limits is used up first.
    for grant in grants.sorted(by: { ($0.shared == .unlimited ? 0 : 1) < ($1.shared == .unlimited ? 0 : 1) }) {
      let scope = Scope.role(grant.role)
      var meter = meters[scope] ?? Meter()
      meter.adapt(to: grant.shared, at: now.seconds)
      var obstacle = meter.obstacle(grant.shared, tokens, at: now)
      if obstacle == nil, meter.waiting >= grant.shared.queue, grant.shared.queue > 0 { obstacle = (.queue, 1) }
      meters[scope] = meter
      guard let (key, wait) = obstacle else { return Share(role: grant.role, allowance: grant.shared) }
      if wait < shortest?.wait ?? .infinity {
        shortest = Refusal(limit: key, scope: scope, role: grant.role, allowed: grant.shared[key], wait: wait)
      }
    }
    if let shortest { throw shortest }
    return nil
  }

  /// The request is over; so many tokens were used.
  public mutating func settle(_ charge: Charge, tokens used: Int, at now: Now) {
    meters[.caller(charge.caller)]?.settle(charge.tokens, used, charge.hour, at: now)
    for share in [charge.share, charge.other] {
      if let share { meters[.role(share.role)]?.settle(charge.tokens, used, charge.hour, at: now) }
    }
  }

  // MARK: at the engine

  /// Whether one more of its caller's requests, and of its role's, may be at an engine.
  public func mayRun(_ charge: Charge) -> Bool {
    (meters[.caller(charge.caller)]?.running ?? 0) < charge.own.concurrency
      && mayRun(charge.share) && mayRun(charge.other)
  }

  private func mayRun(_ share: Share?) -> Bool {
    share.map { (meters[.role($0.role)]?.running ?? 0) < $0.allowance.concurrency } ?? true
  }

  /// The limit that one who waits has gone beyond; nil when it may wait.
  public func overfull(_ charge: Charge) -> Refusal? {
    func refusal(_ scope: Scope, _ role: String, _ allowed: Int) -> Refusal? {
      guard meters[scope]?.waiting ?? 0 > allowed else { return nil }
      return Refusal(limit: .queue, scope: scope, role: role, allowed: allowed, wait: 1)
    }
    if let found = refusal(.caller(charge.caller), charge.role, charge.own.queue) { return found }
    for share in [charge.share, charge.other] {
      if let share, let found = refusal(.role(share.role), share.role, share.allowance.queue) { return found }
    }
    return nil
  }

  public mutating func began(_ charge: Charge) { change(charge) { $0.running += 1 } }
  public mutating func ended(_ charge: Charge) { change(charge) { $0.running -= 1 } }
  public mutating func beganWaiting(_ charge: Charge) { change(charge) { $0.waiting += 1 } }
  public mutating func endedWaiting(_ charge: Charge) { change(charge) { $0.waiting -= 1 } }

  private mutating func change(_ charge: Charge, _ body: (inout Meter) -> Void) {
    func change(_ scope: Scope) {
      guard var meter = meters[scope] else { return }
      body(&meter)
      meters[scope] = meter
    }
    change(.caller(charge.caller))
    if let share = charge.share { change(.role(share.role)) }
    if let share = charge.other { change(.role(share.role)) }
  }

  // MARK: looking

  public mutating func standing(of caller: String, at now: Now) -> Standing {
    var made = Standing()
    guard var meter = meters[.caller(caller)] else { return made }
    if let limit = meter.requests?.perMinute, let left = meter.requests?.remaining(at: now.seconds) {
      made.requests = (limit, left, meter.requests?.untilFull(at: now.seconds) ?? 0)
    }
    if let limit = meter.tokens?.perMinute, let left = meter.tokens?.remaining(at: now.seconds) {
      made.tokens = (limit, left, meter.tokens?.untilFull(at: now.seconds) ?? 0)
    }
    meters[.caller(caller)] = meter
    return made
  }

  /// What a scope used within the last 24 hours.
  public mutating func usedToday(_ scope: Scope, at now: Now) -> Int { meters[scope]?.day.used(at: now.hour) ?? 0 }

  /// Takes over what was used before a restart.
  public mutating func restore(_ scope: Scope, tokens: Int, hour: Int64, at now: Now) {
    meters[scope, default: Meter()].day.add(tokens, in: hour, now: now.hour)
  }

  public var scopes: Int { meters.count }

  private mutating func prune(at now: Now) {
    guard meters.count > capacity else { return }
    for (scope, meter) in meters {
      var meter = meter
      if meter.isBlank(at: now) { meters[scope] = nil }
    }
  }
}
