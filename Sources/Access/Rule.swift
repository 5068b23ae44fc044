/// One verb on one pattern, as it stands in a policy: what a decision is founded on.
public final class Rule: Sendable, Hashable, CustomStringConvertible {
  public enum Effect: String, Sendable, Hashable { case permit, forbid }

  public let effect: Effect
  public let verb: Verb
  public let pattern: ResourcePattern
  public let clause: Clause
  /// The role in whose definition it stands; nil for what is forbidden to everybody.
  public let role: String?
  /// Where: `roles.chat.allow[0]`.
  public let path: String
  /// Whether it counts without a condition.
  let isAlways: Bool

  init(
    effect: Effect, verb: Verb, pattern: ResourcePattern, clause: Clause, role: String?, path: String
  ) {
    self.effect = effect
    self.verb = verb
    self.pattern = pattern
    self.clause = clause
    self.role = role
    self.path = path
    isAlways = clause.isAlways
  }

  /// Whether this permit gives all that the other gives, or this forbid takes all that the other takes.
  public func covers(_ other: Rule) -> Bool {
    verb == other.verb && pattern.covers(other.pattern) && other.clause.implies(clause)
  }

  /// `infer on model:qwen-* when hours 08:00-18:00`.
  public var description: String {
    "\(verb.rawValue) on \(pattern)" + (clause.isAlways ? "" : " \(clause)")
  }

  /// `chat forbids infer on model:x`.
  var sentence: String {
    let what = effect == .permit ? "allows" : "forbids"
    return role.map { "\($0) \(what) \(self)" } ?? "the policy forbids everybody \(self)"
  }

  public static func == (one: Rule, other: Rule) -> Bool {
    one === other
      || (one.effect == other.effect && one.verb == other.verb && one.pattern == other.pattern
        && one.clause == other.clause && one.role == other.role)
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(effect)
    hasher.combine(pattern)
    hasher.combine(role)
  }
}
