/// The review functions of INCITS 359 §6: who may, what may, which roles exclude each other.
extension Policy {
  /// Somebody who may do something, through a rule, perhaps under its conditions only.
  public struct Entitlement: Sendable, Hashable {
    public let subject: Subject
    /// The bound role.
    public let role: String
    public let rule: Rule
    /// What forbids it to them, where its conditions hold.
    public let bans: [Rule]
  }

  /// The subjects that a permission reaches; who has no binding of their own, and who only a group names, is not among
  /// them. What is forbidden to them whatever the circumstances is left out.
  public func whoCan(_ verb: Verb, _ resource: Resource) -> [Entitlement] {
    func meant(_ rule: Rule) -> Bool { rule.verb == verb && rule.pattern.covers(resource) }
    let everybody = compiled.rules.filter { $0.role == nil && meant($0) }
    var found: [Entitlement] = []
    for (subject, roles) in compiled.held {
      let all = roles + (subject.isLocal ? compiled.held[.anyLocal] ?? [] : [])
      let bans = everybody + rules(in: compiled.reach(all)).filter { $0.effect == .forbid && meant($0) }
      if bans.contains(where: \.isAlways) { continue }
      for role in roles {
        for rule in rules(in: compiled.closures[role]) where rule.effect == .permit && meant(rule) {
          found.append(Entitlement(subject: subject, role: compiled.roles[role].name, rule: rule, bans: bans))
        }
      }
    }
    return found.sorted {
      ($0.subject.description, $0.role, $0.rule.path) < ($1.subject.description, $1.role, $1.rule.path)
    }
  }

  /// What a caller may do through the roles that are active, and what is forbidden to them.
  public func whatMay(_ caller: Caller) -> (permits: [Rule], forbids: [Rule]) {
    let activation = compiled.activation(of: caller)
    func sorted(_ rules: [Rule]) -> [Rule] {
      rules.sorted { ($0.verb.rawValue, $0.description, $0.path) < ($1.verb.rawValue, $1.description, $1.path) }
    }
    let permits = rules(in: activation.reach).filter { rule in
      rule.effect == .permit
        && caller.scope?.grants.contains { $0.verb == rule.verb && $0.pattern.overlaps(rule.pattern) } != false
    }
    let everybody = compiled.rules.filter { $0.role == nil }
    return (sorted(permits), sorted(everybody + rules(in: activation.authorized).filter { $0.effect == .forbid }))
  }

  /// Two roles that nobody may hold, or have active, together.
  public struct Conflict: Sendable, Hashable {
    public let roles: [String]
    public let set: SeparationSet
  }

  /// Every pair of roles that a separation keeps apart, by themselves or by what they inherit.
  public var conflicts: [Conflict] {
    var found: [Conflict] = []
    for one in compiled.separation {
      let touching = compiled.roles.indices.filter { compiled.closures[$0].intersects(one.members) }
      for (at, first) in touching.enumerated() {
        for second in touching[(at + 1)...] where one.isBroken(by: compiled.reach([first, second])) {
          found.append(Conflict(roles: [compiled.roles[first].name, compiled.roles[second].name], set: one.set))
        }
      }
    }
    return found
  }
}
