extension Policy {
  /// The active roles that let the caller do it, by name, each with how much it grants. Empty: none does, or a rule forbids
  /// it.
  ///
  /// Of several bindings that give a caller the same role, the one that names the caller most closely counts: a token or
  /// user before a group, and a group before everybody.
  public func grants(_ caller: Caller, _ verb: Verb, _ resource: Resource, in context: RequestContext) -> [Grant] {
    compiled.permitting(caller, verb, resource, context).map { number in
      let name = compiled.roles[number].name
      return Grant(role: name, own: own(name, caller), shared: sharedAllowance(name))
    }
  }

  /// For how many days what the caller asks and is answered is to be kept: the longest that any of the active roles that
  /// let them do it asks for; nil: none asks.
  public func contentDays(_ caller: Caller, _ verb: Verb, _ resource: Resource, in context: RequestContext) -> Int? {
    if contentDays.isEmpty { return nil }
    return compiled.permitting(caller, verb, resource, context).compactMap { contentDays[compiled.roles[$0].name] }
      .max()
  }

  /// What a role doesn't say it takes from those that it inherits: the longest.
  static func contentDays(_ roles: [Role]) -> [String: Int] {
    if roles.allSatisfy({ $0.keepContentDays == nil }) { return [:] }
    let byName = Dictionary(roles.map { ($0.name, $0) }) { one, _ in one }
    var done: [String: Int] = [:]
    // There is no circle: `flatten` has refused it.
    func visit(_ role: Role) -> Int? {
      if let known = done[role.name] { return known }
      let inherited = role.inherits.compactMap { byName[$0] }.compactMap(visit).max()
      done[role.name] = role.keepContentDays ?? inherited
      return done[role.name]
    }
    for role in roles { _ = visit(role) }
    return done
  }

  private func own(_ role: String, _ caller: Caller) -> Allowance {
    let base = limits[role] ?? Limits()
    if bindingLimits.isEmpty { return Allowance(base) }
    let held = caller.subjects.filter { isBound(role, to: $0) }
    let closest = held.map(Caller.rank).min()
    let stated = held.filter { Caller.rank($0) == closest }.map {
      (bindingLimits[Binding(role: role, subject: $0.description)] ?? Limits()).over(base)
    }
    guard let first = stated.first else { return Allowance(base) }
    return stated.dropFirst().reduce(Allowance(first)) { $0.union(Allowance($1)) }
  }

  /// What the binding would give more of than the caller may use themselves by any role that lets them ask the same; nil:
  /// nothing.
  public func excess(of caller: Caller, giving binding: Binding) -> Limits.Key? {
    guard let number = compiled.numbers[binding.role] else { return nil }
    let given = Allowance((bindingLimits[binding] ?? Limits()).over(limits[binding.role] ?? Limits()))
    let active = compiled.activation(of: caller).active
    for rule in rules(in: compiled.closures[number]) where rule.effect == .permit && rule.verb == .infer {
      let mine = active.filter { role in
        rules(in: compiled.closures[role]).contains { own in
          own.effect == .permit && own.verb == .infer && own.pattern.covers(rule.pattern)
            && rule.clause.implies(own.clause)
        }
      }
      .map { own(compiled.roles[$0].name, caller) }
      // Whoever may not ask at all is refused before.
      guard let first = mine.first else { continue }
      let most = mine.dropFirst().reduce(first) { $0.union($1) }
      if let key = Limits.Key.allCases.first(where: { given[$0] > most[$0] }) { return key }
    }
    return nil
  }

  /// Each role's limits. What a role leaves open it takes from those that it inherits and that say something: from the
  /// most generous where there are several.
  static func limits(_ roles: [Role]) -> [String: Limits] {
    let byName = Dictionary(roles.map { ($0.name, $0) }) { one, _ in one }
    var done: [String: Limits] = [:]
    // There is no circle: `flatten` has refused it.
    func visit(_ role: Role) -> Limits {
      if let known = done[role.name] { return known }
      let inherited = role.inherits.compactMap { byName[$0] }.map(visit).reduce(Limits()) { $0.widened(by: $1) }
      let made = role.limits.over(inherited)
      done[role.name] = made
      return made
    }
    for role in roles { _ = visit(role) }
    return done
  }
}
