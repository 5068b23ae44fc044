/// Something in a policy that does nothing, or not what it seems to.
public struct LintFinding: Sendable, Hashable, CustomStringConvertible {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// A rule that can never count.
    case unreachable
    /// A rule that another one makes superfluous, or void.
    case shadowed
    /// A role that nobody holds.
    case unheld
    /// Roles that exclude each other come together.
    case separation
    /// Nobody could mend the policy.
    case administrator
  }

  public let kind: Kind
  /// Where: `roles.chat.allow[0]`.
  public let path: String
  public let problem: String

  public var description: String { "\(path): \(kind.rawValue): \(problem)" }
}

extension Policy {
  /// What a careful reader would ask about, in the order of the policy. Empty for a policy without waste.
  public func lint() -> [LintFinding] {
    var found: [LintFinding] = []
    let everybody = compiled.rules.filter { $0.role == nil }
    for rule in compiled.rules {
      if let problem = Policy.unreachable(rule) {
        found.append(LintFinding(kind: .unreachable, path: rule.path, problem: "\(rule) \(problem)"))
      }
    }
    found += shadows(everybody, [])
    for role in compiled.roles.indices {
      found += shadows(
        compiled.ownRules[role].map { compiled.rules[Int($0)] }, rules(in: compiled.closures[role]) + everybody)
    }
    let reached = compiled.reach(Set(compiled.held.values.joined()))
    for (number, role) in compiled.roles.enumerated() where !reached.contains(number) {
      found.append(
        LintFinding(
          kind: .unheld, path: "roles.\(role.name)",
          problem: "nobody holds it, and no role that somebody holds inherits it"))
    }
    found += separations()
    if administrators.isEmpty {
      found.append(
        LintFinding(
          kind: .administrator, path: "bindings",
          problem: "nobody may give every role away whatever the circumstances: bind a role with role.manage on role:*")
      )
    }
    return Array(Set(found)).sorted {
      ($0.path, $0.kind.rawValue, $0.problem) < ($1.path, $1.kind.rawValue, $1.problem)
    }
  }

  /// Why a rule can never count; nil where it can.
  private static func unreachable(_ rule: Rule) -> String? {
    let kind = rule.verb.resourceKind
    if let all = ResourcePattern("\(kind):*"), !all.overlaps(rule.pattern) {
      return "never counts: \(rule.verb.rawValue) acts on \(kind):… alone"
    }
    let when = rule.clause.when
    if let most = when.maxContextTokens, let fewest = when.minContextTokens, fewest > most {
      return "never counts: nothing takes at most \(most) and at least \(fewest) tokens"
    }
    if when.networks != nil, let via = when.via, !via.contains(.network) {
      return "never counts: the socket is in no network"
    }
    if let unless = rule.clause.unless, when.implies(unless) {
      return "never counts: its exception holds whenever it does"
    }
    return nil
  }

  /// Rules that others make superfluous or void, among a role's own and those that hold for all its holders.
  private func shadows(_ own: [Rule], _ around: [Rule]) -> [LintFinding] {
    var found: [LintFinding] = []
    var byVerb: [Int: [Rule]] = [:]
    for rule in around + (around.isEmpty ? own : []) { byVerb[rule.verb.number, default: []].append(rule) }
    for rule in own {
      let others = byVerb[rule.verb.number] ?? []
      // Comparing each with each would take for ever.
      guard others.count * own.count <= 4_000_000 else { continue }
      if let ban = others.first(where: { $0.effect == .forbid && rule.effect == .permit && $0.covers(rule) }) {
        found.append(
          LintFinding(
            kind: .shadowed, path: rule.path, problem: "\(rule) never lets anybody in: \(ban.sentence), \(ban.path)"))
        continue
      }
      let wider = others.first { other in
        guard other !== rule, other.effect == rule.effect, other.covers(rule) else { return false }
        // Of two that say the same, the one that stands later is superfluous.
        return !rule.covers(other) || other.role != rule.role || other.path < rule.path
      }
      if let wider {
        found.append(
          LintFinding(
            kind: .shadowed, path: rule.path, problem: "\(rule) adds nothing: \(wider.sentence), \(wider.path)"))
      }
    }
    return found
  }

  private func separations() -> [LintFinding] {
    var found: [LintFinding] = []
    for one in compiled.separation {
      let path = "separation.\(one.set.kind.rawValue).\(one.set.name)"
      if one.set.kind == .active {
        for (subject, roles) in compiled.held {
          let bound = roles + (subject.isLocal ? compiled.held[.anyLocal] ?? [] : [])
          if one.isBroken(by: compiled.reach(bound)) {
            found.append(
              LintFinding(
                kind: .separation, path: path,
                problem: "\(subject) holds more of its roles than may be active together, and has none of them until a "
                  + "request names one"))
          }
        }
        continue
      }
      // One person can be in several groups, and be named besides.
      let local = compiled.held.filter { $0.key.isLocal && compiled.reach($0.value).intersects(one.members) }
      guard local.count > 1, one.isBroken(by: compiled.reach(Set(local.values.joined()))) else { continue }
      let names = local.keys.map(\.description).sorted().joined(separator: ", ")
      found.append(
        LintFinding(
          kind: .separation, path: path,
          problem: "whoever is more than one of \(names) loses all of its roles: nobody may hold them together"))
    }
    return found
  }
}
