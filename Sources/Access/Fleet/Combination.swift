/// A fleet's policy with what a box adds of its own, as far as the fleet's ceiling lets it.
public struct CombinedPolicy: Sendable {
  /// Something of the box's own that does not count, or not whole.
  public struct Ignored: Sendable, Hashable, CustomStringConvertible {
    /// Where: `roles.chat.allow[0]`, `bindings`, `separation.static.NAME`.
    public let path: String
    public let problem: String

    public var description: String { "\(path): \(problem)" }
  }

  public let policy: Policy
  /// Sorted.
  public let ignored: [Ignored]

  public init(policy: Policy, ignored: [Ignored]) {
    self.policy = policy
    self.ignored = ignored
  }
}

extension FleetPolicy {
  /// The policy that a box decides by.
  ///
  /// - What the fleet's policy allows and forbids holds whatever the box says.
  /// - Of the box's own roles count the verbs that the ceiling covers on all resources of the rule; of its bindings to the
  ///   fleet's roles those whose role allows nothing beyond the ceiling.
  /// - What the box forbids counts always: it may be stricter.
  /// - Where both define a role of one name, the fleet's is meant.
  /// - A binding of the box's that breaks the fleet's separation of duty does not count.
  ///
  /// It never fails: where a box's additions make no policy together with the fleet's, none of them counts.
  ///
  /// - Parameter bound: what was bound through the agent, to roles of the box's or the fleet's; others give nothing.
  public func combined(with local: Policy, bound: [Binding] = []) -> CombinedPolicy {
    do {
      var draft = Combination(self, local, bound)
      return try draft.made()
    } catch {
      let reason = CombinedPolicy.Ignored(path: "the box's own policy", problem: "\(error)")
      let strict = try? Policy(
        roles: policy.roles, bindings: policy.bindings, bindingLimits: policy.bindingLimits, forbids: local.forbids,
        fleetForbids: policy.fleetForbids, separation: policy.separation)
      return CombinedPolicy(policy: strict ?? policy, ignored: [reason])
    }
  }

  /// The same once the policy has expired, or can't be believed whole: of the roles only `staleRoles` and what they
  /// inherit. What is forbidden stays forbidden.
  public func reduced(with local: Policy, bound: [Binding] = []) -> CombinedPolicy {
    let whole = combined(with: local, bound: bound)
    // Where the box's additions made it too large, the fleet's own part does.
    return CombinedPolicy(policy: (try? whole.policy.reduced(to: staleRoles)) ?? rest, ignored: whole.ignored)
  }
}

extension Policy {
  /// The same, known as the fleet's in its rules' paths.
  var central: Policy {
    get throws(PolicyError) {
      try Policy(
        roles: roles.map(\.central), bindings: bindings, bindingLimits: bindingLimits, fleetForbids: forbids,
        separation: separation)
    }
  }

  /// Whoever holds another role than these, or than one that these inherit, has a shadow of it instead: it allows nothing
  /// of its own, inherits what stays, forbids as before, and counts for separation as before. The roles themselves are
  /// there still, held by nobody: what is lent in an emergency is lent whole.
  func reduced(to names: [String]) throws(PolicyError) -> Policy {
    let byName = Dictionary(roles.map { ($0.name, $0) }) { one, _ in one }
    var kept: Set<String> = []
    var open = names
    while let name = open.popLast() { if kept.insert(name).inserted { open += byName[name]?.inherits ?? [] } }
    var shadows = Shadows(roles: byName, kept: kept, suffix: "stale")
    let bindings = bindings.map { Binding(role: shadows.name(of: $0.role), subject: $0.subject) }
    var limits: [Binding: Limits] = [:]
    for (binding, stated) in bindingLimits {
      limits[Binding(role: shadows.name(of: binding.role), subject: binding.subject)] = stated
    }
    let separation = separation.map { set in
      SeparationSet(
        name: set.name, kind: set.kind, roles: set.roles + set.roles.compactMap { shadows.made[$0]?.name },
        atMost: set.atMost)
    }
    return try Policy(
      roles: roles + shadows.made.values, bindings: bindings, bindingLimits: limits, forbids: forbids,
      fleetForbids: fleetForbids, separation: separation)
  }
}

/// Roles without what they allow: what they forbid stays.
struct Shadows {
  let roles: [String: Role]
  /// Roles that stay as they are.
  let kept: Set<String>
  let suffix: String
  /// By the name of the role.
  private(set) var made: [String: Role] = [:]

  init(roles: [String: Role], kept: Set<String> = [], suffix: String) {
    self.roles = roles
    self.kept = kept
    self.suffix = suffix
  }

  /// The name of a role's shadow, which is made where there is none; of a role that stays its own name.
  mutating func name(of role: String) -> String {
    guard !kept.contains(role), let original = roles[role] else { return role }
    if let shadow = made[role] { return shadow.name }
    let inherits = original.inherits.map { name(of: $0) }
    // No policy file can name it: the name has a space.
    let shadow = Role(
      name: "\(role) (\(suffix))", summary: original.summary, inherits: inherits, permissions: [],
      forbids: original.forbids, limits: original.limits, sharedLimits: original.sharedLimits,
      isCentral: original.isCentral)
    made[role] = shadow
    return shadow.name
  }

  /// Whether the role, or one that it inherits, forbids anything.
  func forbids(_ role: String) -> Bool {
    guard let original = roles[role] else { return false }
    return !original.forbids.isEmpty || original.inherits.contains { forbids($0) }
  }
}

/// A combination in the making.
private struct Combination {
  let fleet: FleetPolicy
  let local: Policy
  let bound: [Binding]
  var roles: [String: Role] = [:]
  var bindings: Set<Binding> = []
  var limits: [Binding: Limits]
  var separation: [SeparationSet]
  var ignored: Set<CombinedPolicy.Ignored> = []
  /// Shadows of the fleet's roles that the box may not give, and of the box's roles whose name is the fleet's.
  var beyond: Shadows
  var renamed: Shadows

  init(_ fleet: FleetPolicy, _ local: Policy, _ bound: [Binding]) {
    (self.fleet, self.local, self.bound) = (fleet, local, bound)
    for role in fleet.policy.roles { roles[role.name] = role }
    limits = fleet.policy.bindingLimits
    separation = fleet.policy.separation
    beyond = Shadows(roles: roles, suffix: "forbids")
    renamed = Shadows(roles: Dictionary(local.roles.map { ($0.name, $0) }) { one, _ in one }, suffix: "local")
  }

  mutating func made() throws(PolicyError) -> CombinedPolicy {
    let central = roles
    for role in local.roles { add(role, central) }
    for binding in local.bindings + bound where roles[binding.role] != nil { add(binding, central) }
    addSeparation(central)
    for role in beyond.made.values { roles[role.name] = role }
    for role in renamed.made.values { roles[role.name] = role }
    while true {
      do {
        let policy = try Policy(
          roles: Array(roles.values), bindings: fleet.policy.bindings + bindings, bindingLimits: limits,
          forbids: local.forbids, fleetForbids: fleet.policy.fleetForbids, separation: separation)
        return CombinedPolicy(policy: policy, ignored: ignored.sorted { ($0.path, $0.problem) < ($1.path, $1.problem) })
      } catch .separated(let subject, let set) {
        try giveWay(subject, set)
      }
    }
  }

  private mutating func ignore(_ path: String, _ problem: String) {
    ignored.insert(CombinedPolicy.Ignored(path: path, problem: problem))
  }

  /// The first rule of a role of the fleet's that the ceiling does not cover.
  private func excess(_ role: String) -> Rule? {
    fleet.policy.allows(role).first { !(fleet.ceiling?.covers($0.verb, $0.pattern) ?? false) }
  }

  private mutating func add(_ role: Role, _ central: [String: Role]) {
    let path = "roles.\(role.name)"
    if let other = central[role.name] {
      ignore(path, "the fleet's policy has a role of this name, which is meant; what this one forbids stays forbidden")
      guard renamed.forbids(role.name) else { return }
      roles[role.name] = other.inheriting(renamed.name(of: role.name))
      return
    }
    var permissions: [Permission] = []
    for (position, permission) in role.permissions.enumerated() {
      let verbs = permission.verbs.filter { verb in
        // A verb acts on no other kind of resource.
        let all = ResourcePattern("\(verb.resourceKind):*")
        return permission.resources.allSatisfy {
          fleet.ceiling?.covers(verb, $0) ?? false || all?.overlaps($0) == false
        }
      }
      let lost = Set(permission.verbs).subtracting(verbs)
      if !lost.isEmpty {
        ignore(
          "\(path).allow[\(position)]",
          "the fleet's ceiling does not cover \(lost.map(\.rawValue).sorted().joined(separator: ", ")) on "
            + permission.resources.map(\.description).joined(separator: ", "))
      }
      // Rules keep their places in the file.
      permissions.append(Permission(verbs: verbs, resources: permission.resources, clause: permission.clause))
    }
    var inherits: [String] = []
    for parent in role.inherits {
      guard central[parent] != nil, let rule = excess(parent) else {
        inherits.append(parent)
        continue
      }
      ignore("\(path).inherits", "the fleet's role \(parent) allows \(rule), which the fleet's ceiling does not cover")
      inherits += forbidding(parent)
    }
    roles[role.name] = Role(
      name: role.name, summary: role.summary, inherits: inherits, permissions: permissions, forbids: role.forbids,
      limits: role.limits, sharedLimits: role.sharedLimits)
  }

  private mutating func add(_ binding: Binding, _ central: [String: Role]) {
    // The fleet gives it already, and says how much of it.
    if fleet.policy.bindings.contains(binding) { return }
    guard central[binding.role] != nil, let rule = excess(binding.role) else {
      bindings.insert(binding)
      if let stated = local.bindingLimits[binding] { limits[binding] = stated }
      return
    }
    ignore(
      "bindings", "\(binding): the fleet's role allows \(rule), which the fleet's ceiling does not cover")
    for name in forbidding(binding.role) { bindings.insert(Binding(role: name, subject: binding.subject)) }
  }

  /// What a role of the fleet's forbids, here and by the box's role of its name, as roles that allow nothing.
  private mutating func forbidding(_ role: String) -> [String] {
    var names: [String] = []
    if beyond.forbids(role) { names.append(beyond.name(of: role)) }
    if renamed.forbids(role) { names.append(renamed.name(of: role)) }
    return names
  }

  private mutating func addSeparation(_ central: [String: Role]) {
    for set in local.separation {
      let path = "separation.\(set.kind.rawValue).\(set.name)"
      if separation.contains(where: { $0.kind == set.kind && $0.name == set.name }) {
        ignore(path, "the fleet's policy has a set of this name, which is meant")
      } else if set.roles.contains(where: { central[$0] != nil }) {
        ignore(path, "it is about roles of the fleet's, which the fleet separates")
      } else {
        separation.append(set)
      }
    }
  }

  /// Takes back the box's own bindings that break a separation. Throws it where they are none of the box's.
  private mutating func giveWay(_ subject: String, _ set: SeparationSet) throws(PolicyError) {
    let guilty = bindings.filter { binding in
      let isHis = binding.subject == subject || (binding.subject == "local" && Subject.parse(subject)?.isLocal == true)
      return isHis && !closure(binding.role).isDisjoint(with: set.roles)
    }
    guard !guilty.isEmpty else { throw .separated(subject: subject, set) }
    for binding in guilty {
      bindings.remove(binding)
      limits[binding] = nil
      ignore(
        "bindings", "\(binding): with it \(subject) would break separation.\(set.kind.rawValue).\(set.name)")
    }
  }

  private func closure(_ role: String) -> Set<String> {
    var found: Set<String> = []
    var open = [role]
    while let name = open.popLast() { if found.insert(name).inserted { open += roles[name]?.inherits ?? [] } }
    return found
  }
}
