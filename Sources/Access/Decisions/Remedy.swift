/// One change that helps to have something allowed.
public enum Change: Sendable, Hashable, CustomStringConvertible {
  /// Let this role count in the request: a header or an option of the command line, no change of the policy.
  case activate(String)
  /// Ask with a token whose scope has this besides.
  case widen(Scope.Grant)
  /// Bind a role.
  case bind(Binding)
  /// Take one verb on one pattern out of what is forbidden.
  case lift(Rule)
  /// Define a role that permits just this; no role does.
  case define(role: String, Verb, Resource)

  public var description: String {
    switch self {
    case .activate(let role): "ask with the role \(role): skerry --as \(role), or the header Skerry-Roles: \(role)"
    case .widen(let grant):
      "another token with the scope \(grant) besides: skerry token create NAME --scope \(grant)"
    case .bind(let binding): "skerry role bind \(binding.role) \(binding.subject)"
    case .lift(let rule):
      "take {verbs: [\"\(rule.verb.rawValue)\"], resources: [\"\(rule.pattern)\"]} out of \(rule.path) in the policy"
    case .define(let role, let verb, let resource):
      "no role allows it: add {verbs: [\"\(verb.rawValue)\"], resources: [\"\(resource)\"]} to a role, such as a new one, "
        + "\(role), and reload"
    }
  }
}

/// The smallest grant that makes a denied request an allowed one; every change in it is needed.
public struct Remedy: Sendable, Hashable, CustomStringConvertible {
  /// In the order in which they are made.
  public let changes: [Change]

  public var description: String { changes.map(\.description).joined(separator: "; then ") }
}

extension Denial {
  /// The smallest grant that makes an allowed request of it: rules that forbid it are lifted; a role is activated, where
  /// that is enough; else the role that gives the least besides is bound; where none permits it, one is defined that
  /// permits nothing else.
  public var remedy: Remedy {
    let compiled = policy.compiled
    var changes: [Change] = []
    if let scope = caller.scope, !scope.covers(verb, resource),
      let grant = Scope.Grant("\(verb.rawValue):\(resource)") ?? Scope.Grant(verb.rawValue)
    {
      changes.append(.widen(grant))
    }
    changes += compiled.forbidding(caller, verb, resource, context).map { Change.lift(compiled.rules[Int($0)]) }
    changes += missing(compiled)
    return Remedy(changes: changes)
  }

  /// What is missing besides that nothing forbids it.
  private func missing(_ compiled: Compiled) -> [Change] {
    let permitting = compiled.roles(.permit, verb, resource, context)
    func permits(_ activation: Activation) -> Bool { activation.reach.intersects(permitting) }
    let now = compiled.activation(of: caller)
    if permits(now) { return [] }
    let fitting = compiled.roles.indices.filter { compiled.closures[$0].intersects(permitting) }
    let smallest = fitting.map { (compiled.weight($0), $0) }.sorted { $0 < $1 }.map(\.1)
    for role in smallest where now.authorized.contains(role) {
      let name = compiled.roles[role].name
      if permits(compiled.activation(now.held, [name])) { return [.activate(name)] }
    }
    // A role that forbids it itself is no help.
    let forbidding = compiled.roles(.forbid, verb, resource, context)
    for role in smallest where !now.held.contains(role) && !compiled.closures[role].intersects(forbidding) {
      guard compiled.brokenStatically(by: caller.identity, adding: role) == nil,
        caller.identity != .anyLocal || compiled.localMayHold(role)
      else { continue }
      let name = compiled.roles[role].name
      let bind = Change.bind(Binding(role: name, subject: caller.identity.description))
      let held = (now.held + [role]).sorted()
      if permits(compiled.activation(held, caller.activated)) { return [bind] }
      if permits(compiled.activation(held, [name])) { return [bind, .activate(name)] }
    }
    var name = "may-\(verb.rawValue)"
    while compiled.numbers[name] != nil { name += "-more" }
    let bind = Change.bind(Binding(role: name, subject: caller.identity.description))
    return [.define(role: name, verb, resource), bind] + (caller.activated == nil ? [] : [.activate(name)])
  }
}

extension Remedy {
  /// The policy and the caller once the changes are made.
  public func applied(to policy: Policy, _ caller: Caller) throws(PolicyError) -> (policy: Policy, caller: Caller) {
    var (policy, caller) = (policy, caller)
    var bindings: [Binding] = []
    for change in changes {
      switch change {
      case .activate(let role): caller.activated = [role]
      case .widen(let grant):
        caller = Caller(
          subjects: caller.subjects, label: caller.label, scope: Scope((caller.scope?.grants ?? []) + [grant]),
          transport: caller.transport, activated: caller.activated)
      case .bind(let binding): bindings.append(binding)
      case .lift(let rule): policy = try policy.lifting(rule)
      case .define(let role, let verb, let resource):
        guard let pattern = ResourcePattern(resource.description) else { continue }
        let made = Role(
          name: role, summary: "", inherits: [], permissions: [Permission(verbs: [verb], resources: [pattern])])
        policy = try policy.with(roles: policy.roles + [made])
      }
    }
    return (bindings.isEmpty ? policy : try policy.adding(bindings), caller)
  }
}

extension Policy {
  func with(roles: [Role], forbids: [Permission]? = nil) throws(PolicyError) -> Policy {
    try Policy(
      roles: roles, bindings: bindings, bindingLimits: bindingLimits, forbids: forbids ?? self.forbids,
      separation: separation)
  }

  /// Without one verb on one pattern among what is forbidden.
  func lifting(_ rule: Rule) throws(PolicyError) -> Policy {
    func without(_ permissions: [Permission]) -> [Permission] {
      permissions.flatMap { permission -> [Permission] in
        guard permission.clause == rule.clause, permission.verbs.contains(rule.verb),
          permission.resources.contains(rule.pattern)
        else { return [permission] }
        return [
          Permission(
            verbs: permission.verbs.filter { $0 != rule.verb }, resources: permission.resources,
            clause: permission.clause),
          Permission(
            verbs: [rule.verb], resources: permission.resources.filter { $0 != rule.pattern },
            clause: permission.clause),
        ]
      }
    }
    guard let name = rule.role else { return try with(roles: roles, forbids: without(forbids)) }
    return try with(
      roles: roles.map { role in
        guard role.name == name else { return role }
        return Role(
          name: role.name, summary: role.summary, inherits: role.inherits, permissions: role.permissions,
          forbids: without(role.forbids), limits: role.limits, sharedLimits: role.sharedLimits,
          keepContentDays: role.keepContentDays)
      })
  }
}

extension Compiled {
  /// The roles in whose own definition something permits or forbids it, whoever holds them.
  func roles(_ effect: Rule.Effect, _ verb: Verb, _ resource: Resource, _ context: RequestContext) -> RoleSet {
    var found = RoleSet(count: roles.count)
    resource.withBytes { text in
      for (at, rule) in rules.enumerated() where rule.effect == effect && rule.verb == verb {
        let origin = Int(origins[at])
        guard origin >= 0, !found.contains(origin),
          rule.pattern.pattern.withUnsafeBufferPointer({ ResourcePattern.matches($0, text) }),
          effect == .permit ? rule.clause.holds(in: context) == true : rule.clause.holds(in: context) != false
        else { continue }
        found.insert(origin)
      }
    }
    return found
  }

  /// How much a role gives: each verb on each pattern counts, wide patterns more.
  func weight(_ role: Int) -> Int {
    closures[role].numbers.reduce(0) { sum, origin in
      ownRules[origin].reduce(sum) { sum, number in
        let rule = rules[Int(number)]
        guard rule.effect == .permit else { return sum }
        return sum + (rule.pattern.description == "*" ? 100 : rule.pattern.description.contains("*") ? 10 : 1)
      }
    }
  }

  /// Whether everybody on the socket may hold it without breaking a separation.
  func localMayHold(_ role: Int) -> Bool {
    !held.keys.contains { $0.isLocal && brokenStatically(by: $0, adding: role) != nil }
  }
}
