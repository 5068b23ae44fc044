import Access
import Host
import Trust

extension AccessControl {
  /// Tries a policy file, or a fleet's policy, on the decisions of the last days; nothing changes. The bindings that were
  /// made through the agent count with it, as they would after a reload; and with a fleet's what else the box adds.
  ///
  /// Throws `ConfigurationError` for a file that a reload would refuse, and what reading the log throws.
  func simulate(_ bytes: [UInt8], days: Int, log: AuditLog) throws -> Simulation {
    let next: Policy
    let time = now()
    do {
      if FleetPolicy.isMeant(bytes) {
        let (file, stored) = state.withLock { ($0.file, $0.stored) }
        next = try FleetPolicy(parsing: bytes).combined(with: file, bound: stored).policy
      } else {
        next = try state.withLock { try $0.composed(file: Policy(parsing: bytes), at: time) }.policy
      }
    } catch {
      throw ConfigurationError(description: "the policy: \(error)")
    }
    return try simulate(next, against: standing, days: days, log: log)
  }

  /// - Parameter most: so many records at the log's end, and none before them.
  func simulate(
    _ next: Policy, against now: Policy, days: Int, log: AuditLog, most: UInt64 = .max
  ) throws -> Simulation {
    let tokens = state.withLock { $0.tokens }
    let scopes = Dictionary(tokens.values.map { ($0.name, $0.scope) }, uniquingKeysWith: { one, _ in one })
    var simulation = Simulation(of: next, against: now)
    var callers: [String: Caller?] = [:]
    let size = log.head().size
    var at = max(
      try AccessControl.first(since: (self.now() - Int64(days) * 86_400) * 1000, in: log), size - min(size, most))
    while true {
      let page = try log.entries(from: at, limit: 1024)
      if page.isEmpty { return simulation }
      for entry in page {
        // What was pruned is passed over.
        let index = entry["n"]?.integer.map { UInt64(clamping: $0) } ?? at
        at = index + 1
        guard entry["kind"] == "decision", entry["breakGlass"] == nil, let actor = entry["actor"]?.string,
          let verb = entry["verb"]?.string.flatMap(Verb.box), let allowed = entry["allowed"]?.bool,
          let resource = entry["resource"]?.string.flatMap(Resource.init(parsing:)), let time = entry["t"]?.integer
        else { continue }
        if callers[actor] == nil { callers[actor] = .some(AccessControl.past(actor, scopes)) }
        guard let caller = callers[actor].flatMap(\.self) else { continue }
        simulation.replay(
          Simulation.Past(
            caller: caller, verb: verb, resource: resource, wasAllowed: allowed,
            context: context(caller, at: time / 1000), index: index,
            times: Int(clamping: entry["repeated"]?.integer ?? 1)))
      }
    }
  }

  /// The caller of a record as they would be today, with today's groups and today's scope; nil for who is none.
  private static func past(_ label: String, _ scopes: [String: Scope?]) -> Caller? {
    switch Subject.parse(label) {
    case .token(let name)?: return .token(name, scope: scopes[name].flatMap(\.self))
    case .operator(let name)?: return .operator(name)
    // The groups of a token that is gone are known to nobody.
    case .oidc(let provider, let subject)?: return .oidc(provider, subject, groups: [])
    default: break
    }
    guard label.hasPrefix("uid:"), let uid = UInt32(label.dropFirst(4).prefix { $0.isNumber }) else { return nil }
    return Users.name(uid) == nil ? .local(uid: uid, name: nil, groups: []) : account(.user(uid))
  }

  /// The first record from this time on (milliseconds), by halving: where the clock was set back it may be an earlier one.
  private static func first(since time: Int64, in log: AuditLog) throws -> UInt64 {
    var (low, high) = (UInt64(0), log.head().size)
    while low < high {
      let middle = low + (high - low) / 2
      guard let entry = try log.entries(from: middle, limit: 1).first else { break }
      if entry["t"]?.integer ?? 0 < time { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
