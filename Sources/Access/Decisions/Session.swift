/// The roles that count for one request (a session, INCITS 359 §6.1): of those that the caller holds, the ones that are
/// active.
struct Activation: Sendable {
  /// Bound to the caller, ascending.
  var held: [Int] = []
  /// Held, with all that is inherited: what forbids counts through these.
  var authorized: RoleSet
  /// Ascending; what permits counts through these and what they inherit.
  var active: [Int] = []
  var reach: RoleSet
  var problem: Problem?

  /// Why the roles that a caller asked for can't be active, or why some of the held ones are not.
  enum Problem: Sendable, Hashable {
    /// They asked for a role that they don't hold.
    case notHeld(String)
    /// They asked for more roles of a set than may be active together.
    case tooMany(SeparationSet)
    /// They hold more roles of a static set than anybody may: none of its roles counts.
    case held(SeparationSet)
    /// They hold more roles of a dynamic set than may be active together and did not say which: none of its roles is.
    case unchosen(SeparationSet)
  }
}

extension Compiled {
  func activation(of caller: Caller) -> Activation {
    var bound: Set<Int> = []
    for subject in caller.subjects { if let roles = held[subject] { bound.formUnion(roles) } }
    return activation(bound.sorted(), caller.activated)
  }

  func activation(_ bound: [Int], _ activated: Set<String>?) -> Activation {
    let authorized = reach(bound)
    var made = Activation(held: bound, authorized: authorized, reach: RoleSet(count: roles.count))
    // Roles of a static set that groups brought together by accident: nobody can say which one was meant.
    var barred = RoleSet(count: roles.count)
    for one in separation where one.set.kind == .held && one.isBroken(by: authorized) {
      for role in authorized.numbers where closures[role].intersects(one.members) { barred.insert(role) }
      made.problem = .held(one.set)
    }
    if let activated {
      var chosen: [Int] = []
      for name in activated.sorted() {
        guard let role = numbers[name], authorized.contains(role) else {
          made.problem = .notHeld(name)
          return made
        }
        if !barred.contains(role) { chosen.append(role) }
      }
      let reach = reach(chosen)
      if let broken = separation.first(where: { $0.set.kind == .active && $0.isBroken(by: reach) }) {
        made.problem = .tooMany(broken.set)
        return made
      }
      made.active = chosen.sorted()
      made.reach = reach
      return made
    }
    var unchosen = barred
    for one in separation where one.set.kind == .active {
      guard one.isBroken(by: reach(bound.filter { !barred.contains($0) })) else { continue }
      for role in bound where closures[role].intersects(one.members) { unchosen.insert(role) }
      if made.problem == nil { made.problem = .unchosen(one.set) }
    }
    made.active = bound.filter { !unchosen.contains($0) }
    made.reach = reach(made.active)
    return made
  }
}

/// What a caller's roles come to, for people (the review function `SessionRoles`).
public struct Session: Sendable, Hashable {
  /// The roles bound to the caller, sorted.
  public let held: [String]
  /// Those that are active, sorted.
  public let active: [String]
  /// Why not all that are held are active, or why none is; nil otherwise.
  public let note: String?
}

extension Policy {
  /// The roles that count for a request of the caller.
  public func session(of caller: Caller) -> Session {
    let made = compiled.activation(of: caller)
    return Session(
      held: made.held.map { compiled.roles[$0].name }, active: made.active.map { compiled.roles[$0].name },
      note: made.problem.map { Denial.text($0, caller) })
  }
}
