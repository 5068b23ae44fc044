import Trust

/// Roles and who holds them. Everything that no role allows is denied.
///
/// A value: deciding reads nothing else, and neither the order of roles, permissions and bindings nor that of the
/// caller's subjects changes a decision.
public struct Policy: Sendable {
  /// Sorted by name.
  public let roles: [Role]
  /// Sorted, each once.
  public let bindings: [Binding]

  /// What a role allows with everything inherited, by verb, in a fixed order.
  struct Rule: Sendable, Hashable {
    let pattern: ResourcePattern
    /// The role in whose definition the rule stands.
    let origin: String
  }
  let effective: [String: [Verb: [Rule]]]
  private let rolesOfSubject: [Subject: [String]]
  /// What a binding says instead of its role.
  public let bindingLimits: [Binding: Limits]
  /// Each role's limits with the inherited ones.
  let limits: [String: Limits]
  private let shared: [String: Allowance]

  /// Throws `PolicyError` for an unknown role, a name twice, a bad subject or a cycle.
  public init(
    roles: [Role], bindings: [Binding], bindingLimits: [Binding: Limits] = [:]
  ) throws(PolicyError) {
    self.roles = roles.sorted { $0.name < $1.name }
    self.bindings = Set(bindings).sorted()
    self.bindingLimits = bindingLimits
    effective = try Policy.flatten(self.roles)
    limits = Policy.limits(self.roles)
    shared = Dictionary(self.roles.map { ($0.name, Allowance($0.sharedLimits)) }) { one, _ in one }
    var held: [Subject: [String]] = [:]
    for binding in self.bindings {
      guard effective[binding.role] != nil else {
        throw PolicyError.unknownRole(
          path: "bindings", name: binding.role, allowed: self.roles.map(\.name))
      }
      guard let subject = Subject.parse(binding.subject) else {
        throw PolicyError.field(
          JSONFieldError(path: "bindings", problem: "\"\(binding.subject)\" is no subject", allowed: Subject.allowed))
      }
      held[subject, default: []].append(binding.role)
    }
    rolesOfSubject = held
  }

  /// The same roles with more bindings. Throws `PolicyError` for an unknown role or a bad subject.
  public func adding(_ more: [Binding]) throws(PolicyError) -> Policy {
    try Policy(roles: roles, bindings: bindings + more, bindingLimits: bindingLimits)
  }

  /// The same roles without one binding.
  public func removing(_ binding: Binding) throws(PolicyError) -> Policy {
    try Policy(roles: roles, bindings: bindings.filter { $0 != binding }, bindingLimits: bindingLimits)
  }

  public func role(named name: String) -> Role? { roles.first { $0.name == name } }

  /// The names of the roles bound to the caller, without inherited ones, sorted.
  public func roles(of caller: Caller) -> [String] {
    var names: Set<String> = []
    for subject in caller.subjects {
      if let held = rolesOfSubject[subject] { names.formUnion(held) }
    }
    return names.sorted()
  }

  public func decide(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> Decision {
    if let scope = caller.scope, !scope.covers(verb, resource) {
      let word = Scope.Grant("\(verb.rawValue):\(resource)")?.description ?? verb.rawValue
      return .denied(
        reason: "\(caller.label) is narrowed to \(scope), which leaves out \(verb.rawValue) on \(resource)",
        remedy: "another token with the scope \(word) besides: skerry token create NAME --scope \(word)")
    }
    let held = roles(of: caller)
    for name in held {
      if let rule = rule(of: name, verb, resource) {
        let origin = rule.origin == name ? "" : ", inherited from \(rule.origin)"
        return .allowed(role: name, rule: "\(name) allows \(verb.rawValue) on \(rule.pattern)\(origin)")
      }
    }
    let holds =
      held.isEmpty
      ? "\(caller.label) holds no role" : "none of the roles of \(caller.label) (\(held.joined(separator: ", ")))"
    let reason =
      held.isEmpty
      ? "\(holds), so nothing allows \(verb.rawValue) on \(resource)"
      : "\(holds) allows \(verb.rawValue) on \(resource)"
    return .denied(reason: reason, remedy: remedyText(caller, verb, resource))
  }

  /// The binding that would make `decide` allow it: of the roles that do, the one that gives the least besides.
  /// Nil when no role does.
  public func remedy(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> Binding? {
    let fitting = roles.filter { rule(of: $0.name, verb, resource) != nil }
    let smallest = fitting.min { (weight($0.name), $0.name) < (weight($1.name), $1.name) }
    return smallest.map { Binding(role: $0.name, subject: caller.identity.description) }
  }

  /// Whether the caller's own roles, as far as the caller's scope leaves them, allow all that the role allows: nobody
  /// hands out what they don't hold.
  public func mayGrant(_ caller: Caller, _ role: String) -> Bool {
    guard let wanted = effective[role] else { return false }
    if let scope = caller.scope {
      let isWhole = wanted.allSatisfy { verb, rules in rules.allSatisfy { scope.covers(verb, $0.pattern) } }
      guard isWhole else { return false }
    }
    let held = roles(of: caller).compactMap { effective[$0] }
    return wanted.allSatisfy { verb, rules in
      rules.allSatisfy { rule in
        held.contains { $0[verb]?.contains { $0.pattern.covers(rule.pattern) } ?? false }
      }
    }
  }

  /// The bindings that let somebody give every role away; without one, nobody could mend the policy from inside.
  public var administrators: [Binding] {
    bindings.filter { rule(of: $0.role, .roleManage, Resource.all(for: .roleManage)) != nil }
  }

  /// What a role allows with everything inherited, as `verb on pattern`, sorted.
  public func allows(_ role: String) -> [(verb: Verb, resource: ResourcePattern)] {
    (effective[role] ?? [:]).flatMap { verb, rules in rules.map { (verb, $0.pattern) } }
      .sorted { ($0.0.rawValue, $0.1.description) < ($1.0.rawValue, $1.1.description) }
  }

  func rule(of role: String, _ verb: Verb, _ resource: Resource) -> Rule? {
    effective[role]?[verb]?.first { $0.pattern.covers(resource) }
  }

  func sharedAllowance(_ role: String) -> Allowance { shared[role] ?? .unlimited }

  func isBound(_ role: String, to subject: Subject) -> Bool { rolesOfSubject[subject]?.contains(role) ?? false }

  private func remedyText(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> String {
    if let binding = remedy(caller, verb, resource) { return "skerry role bind \(binding.role) \(binding.subject)" }
    return "no role allows it: add {verbs: [\"\(verb.rawValue)\"], resources: [\"\(resource)\"]} to a role in "
      + "roles.json5, reload, and bind that role to \(caller.identity)"
  }

  /// How much a role gives: each verb on each pattern counts, wide patterns more.
  private func weight(_ role: String) -> Int {
    (effective[role] ?? [:]).values.joined().reduce(0) { sum, rule in
      sum + (rule.pattern.description == "*" ? 100 : rule.pattern.description.contains("*") ? 10 : 1)
    }
  }
}

extension Policy {
  /// Each role's rules with the inherited ones. A depth-first walk that finds cycles.
  private static func flatten(_ roles: [Role]) throws(PolicyError) -> [String: [Verb: [Rule]]] {
    var byName: [String: Role] = [:]
    for role in roles {
      guard byName.updateValue(role, forKey: role.name) == nil else {
        throw PolicyError.field(
          JSONFieldError(path: "roles.\(role.name)", problem: "defined twice", allowed: "one definition of a role"))
      }
    }
    var done: [String: [Verb: Set<Rule>]] = [:]
    for role in roles { _ = try visit(role, byName, &done, trail: []) }
    return done.mapValues { verbs in
      verbs.mapValues { rules in
        rules.sorted { ($0.origin, $0.pattern.description) < ($1.origin, $1.pattern.description) }
      }
    }
  }

  private static func visit(
    _ role: Role, _ byName: [String: Role], _ done: inout [String: [Verb: Set<Rule>]], trail: [String]
  ) throws(PolicyError) -> [Verb: Set<Rule>] {
    if let known = done[role.name] { return known }
    if let start = trail.firstIndex(of: role.name) {
      throw PolicyError.cycle(path: "roles.\(role.name).inherits", roles: trail[start...] + [role.name])
    }
    var rules: [Verb: Set<Rule>] = [:]
    for permission in role.permissions {
      for verb in permission.verbs {
        rules[verb, default: []].formUnion(permission.resources.map { Rule(pattern: $0, origin: role.name) })
      }
    }
    for (position, name) in role.inherits.enumerated() {
      guard let parent = byName[name] else {
        throw PolicyError.unknownRole(
          path: "roles.\(role.name).inherits[\(position)]", name: name, allowed: byName.keys.sorted())
      }
      for (verb, inherited) in try visit(parent, byName, &done, trail: trail + [role.name]) {
        rules[verb, default: []].formUnion(inherited)
      }
    }
    done[role.name] = rules
    return rules
  }
}
