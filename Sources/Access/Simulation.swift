/// Another policy, tried on decisions that were recorded: which of them would come out otherwise.
///
/// Pure: whoever replays looks up who the recorded callers are. What was not recorded (addresses, the length of a request)
/// is not known to the conditions: then no condition on it lets anybody in, and every one that forbids does forbid.
public struct Simulation: Sendable {
  /// One recorded decision.
  public struct Past: Sendable {
    public var caller: Caller
    public var verb: Verb
    public var resource: Resource
    public var wasAllowed: Bool
    public var context: RequestContext
    /// Its number in the log.
    public var index: UInt64
    /// How often it was made: looks and refusals are counted.
    public var times: Int

    public init(
      caller: Caller, verb: Verb, resource: Resource, wasAllowed: Bool, context: RequestContext, index: UInt64,
      times: Int = 1
    ) {
      self.caller = caller
      self.verb = verb
      self.resource = resource
      self.wasAllowed = wasAllowed
      self.context = context
      self.index = index
      self.times = times
    }
  }

  /// Decisions of one caller about one thing that would come out otherwise.
  public struct Change: Sendable, Hashable {
    public let caller: String
    public let verb: Verb
    public let resource: Resource
    public let wasAllowed: Bool
    /// What the policy in force says now of the last of them: where it is not what was recorded, the policy has changed
    /// since or the record does not tell enough.
    public internal(set) var isAllowedNow: Bool
    /// The rule or its absence, in the new policy's words.
    public internal(set) var reason: String
    public internal(set) var times: Int
    /// The numbers of the first and the last record.
    public let first: UInt64
    public internal(set) var last: UInt64
  }

  private struct Key: Hashable {
    let caller: String
    let verb: Verb
    let resource: Resource
    let wasAllowed: Bool
  }

  /// So many different changes are told apart.
  public static let most = 1000

  private let next: Policy
  private let now: Policy
  private var found: [Key: Change] = [:]
  /// Decisions that were replayed.
  public private(set) var replayed = 0
  /// Changed decisions beyond those that are listed.
  public private(set) var unlisted = 0
  /// The callers who would lose or gain something that the policy in force decides as recorded, by their labels: all of
  /// them, beyond what is listed too.
  public private(set) var concerned: Set<String> = []

  public init(of next: Policy, against now: Policy) {
    self.next = next
    self.now = now
  }

  public mutating func replay(_ past: Past) {
    replayed += past.times
    let decision = next.decide(past.caller, past.verb, past.resource, in: past.context)
    guard decision.isAllowed != past.wasAllowed else { return }
    let key = Key(caller: past.caller.label, verb: past.verb, resource: past.resource, wasAllowed: past.wasAllowed)
    let isAllowedNow = now.decide(past.caller, past.verb, past.resource, in: past.context).isAllowed
    if isAllowedNow == past.wasAllowed { concerned.insert(key.caller) }
    let reason =
      switch decision {
      case .allowed(let grounds): grounds.description
      case .denied(let denial): denial.reason
      }
    if found[key] != nil {
      found[key]?.times += past.times
      found[key]?.last = past.index
      found[key]?.isAllowedNow = isAllowedNow
      found[key]?.reason = reason
    } else if found.count < Simulation.most {
      found[key] = Change(
        caller: past.caller.label, verb: past.verb, resource: past.resource, wasAllowed: past.wasAllowed,
        isAllowedNow: isAllowedNow, reason: reason, times: past.times, first: past.index, last: past.index)
    } else {
      unlisted += past.times
    }
  }

  /// What would be denied first, and of that the most frequent.
  public var changes: [Change] {
    found.values.sorted {
      ($0.wasAllowed ? 0 : 1, -$0.times, $0.first) < ($1.wasAllowed ? 0 : 1, -$1.times, $1.first)
    }
  }
}
