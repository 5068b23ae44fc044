/// Who may hand out what (Kubernetes' rule on escalating and binding): nobody gives what they don't hold, and nobody lifts
/// from anybody what is forbidden to themselves.
extension Policy {
  /// Whether the caller's active roles, as far as the caller's scope leaves them, permit all that the role permits, under no narrower conditions, and nothing is
  /// forbidden to them of it that is not forbidden to whoever holds the role.
  public func mayGrant(_ caller: Caller, _ role: String) -> Bool {
    guard let number = compiled.numbers[role] else { return false }
    let wanted = rules(in: compiled.closures[number])
    let forbidden = rules(in: compiled.activation(of: caller).authorized).filter { $0.effect == .forbid }
    let kept = wanted.filter { $0.effect == .forbid }
    return wanted.filter { $0.effect == .permit }.allSatisfy { rule in
      holds(caller, rule)
        && forbidden.allSatisfy { ban in
          !(ban.verb == rule.verb && ban.pattern.overlaps(rule.pattern)) || kept.contains { $0.covers(ban) }
        }
    }
  }

  /// Whether the caller may take the role from somebody: what is forbidden through it, they must be free to do themselves.
  public func mayRevoke(_ caller: Caller, _ role: String) -> Bool {
    guard let number = compiled.numbers[role] else { return true }
    let bans = rules(in: compiled.closures[number]).filter { $0.effect == .forbid }
    let own = rules(in: compiled.activation(of: caller).authorized).filter { $0.effect == .forbid }
    return bans.allSatisfy { ban in
      holds(caller, ban, isAlways: true)
        && !own.contains { $0.verb == ban.verb && $0.pattern.overlaps(ban.pattern) }
    }
  }

  /// The static set that a caller's roles break together; then none of its roles counts for them.
  public func staticConflict(of caller: Caller) -> SeparationSet? {
    if case .held(let set)? = compiled.activation(of: caller).problem { return set }
    return nil
  }

  /// The bindings that let somebody give every role away whatever the circumstances; without one, nobody could mend the
  /// policy from inside. Who else their subject is, it does not know: `isAdministrator` does.
  public var administrators: [Binding] {
    bindings.filter { binding in
      guard let number = compiled.numbers[binding.role], let subject = Subject.parse(binding.subject),
        managesRoles(compiled.closures[number])
      else { return false }
      let bound = (compiled.held[subject] ?? []) + (subject.isLocal ? compiled.held[.anyLocal] ?? [] : [])
      return !isBarredFromRoles(compiled.reach(bound))
    }
  }

  /// Whether the caller, with all that they are, can give every role away whatever the circumstances, if need be with one
  /// of their roles active alone.
  public func isAdministrator(_ caller: Caller) -> Bool {
    if let scope = caller.scope, let all = Policy.allRoles, !scope.covers(.roleManage, all) { return false }
    let bound = compiled.activation(of: caller)
    if isBarredFromRoles(bound.authorized) { return false }
    return bound.authorized.numbers.contains { role in
      guard managesRoles(compiled.closures[role]) else { return false }
      return managesRoles(compiled.activation(bound.held, [compiled.roles[role].name]).reach)
    }
  }

  private static let allRoles = ResourcePattern(Resource.all(for: .roleManage).description)

  private func managesRoles(_ reach: RoleSet) -> Bool {
    guard let all = Policy.allRoles else { return false }
    return rules(in: reach).contains {
      $0.effect == .permit && $0.verb == .roleManage && $0.isAlways && $0.pattern.covers(all)
    }
  }

  private func isBarredFromRoles(_ authorized: RoleSet) -> Bool {
    guard let all = Policy.allRoles else { return true }
    let bans = rules(in: authorized).filter { $0.effect == .forbid } + compiled.rules.filter { $0.role == nil }
    return bans.contains { $0.verb == .roleManage && $0.pattern.overlaps(all) }
  }

  /// What a role allows with everything inherited, as `verb on pattern`, sorted.
  public func allows(_ role: String) -> [Rule] {
    guard let number = compiled.numbers[role] else { return [] }
    return rules(in: compiled.closures[number]).filter { $0.effect == .permit }
      .sorted { ($0.verb.rawValue, $0.description) < ($1.verb.rawValue, $1.description) }
  }

  private func holds(_ caller: Caller, _ wanted: Rule, isAlways: Bool = false) -> Bool {
    if let scope = caller.scope, !scope.covers(wanted.verb, wanted.pattern) { return false }
    return rules(in: compiled.activation(of: caller).reach).contains { own in
      own.effect == .permit && own.verb == wanted.verb && own.pattern.covers(wanted.pattern)
        && (isAlways ? own.isAlways : wanted.clause.implies(own.clause))
    }
  }

  func rules(in roles: RoleSet) -> [Rule] {
    roles.numbers.flatMap { compiled.ownRules[$0] }.map { compiled.rules[Int($0)] }
  }
}
