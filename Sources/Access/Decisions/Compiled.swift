/// A policy in the form that decisions are made from: made once, read by many.
final class Compiled: Sendable {
  /// Sorted by name; a role's number is its place.
  let roles: [Role]
  let numbers: [String: Int]
  /// Each role with all that it inherits.
  let closures: [RoleSet]
  let rules: [Rule]
  /// Of each rule the role where it stands; -1 for those for everybody.
  let origins: [Int32]
  /// The rules that stand in a role itself.
  let ownRules: [[Int32]]
  /// The numbers of the roles bound to each subject, ascending.
  let held: [Subject: [Int]]
  let tables: [Subject: Table]
  /// What is forbidden to everybody.
  let everybody: [PatternIndex]
  let separation: [Separation]

  // What a policy may hold, so that none takes the box's memory.
  static let mostRoles = 4096
  static let mostRules = 65_536
  static let mostHeldRules = 4_194_304

  struct Separation: Sendable {
    let set: SeparationSet
    let members: RoleSet
    func isBroken(by roles: RoleSet) -> Bool { roles.shared(with: members) > set.atMost }
  }

  /// The rules of all roles that are bound to a subject, by verb.
  final class Table: Sendable {
    let roles: [Int]
    /// The roles with all that they inherit.
    let reach: RoleSet
    let permits: [PatternIndex]
    let forbids: [PatternIndex]
    /// Whether it breaks no separation by itself.
    let isApart: Bool

    init(_ roles: [Int], _ compiled: borrowing Parts) {
      self.roles = roles
      var reach = RoleSet(count: compiled.closures.count)
      /// The first bound role through which each role's rules are held.
      var via: [Int: Int] = [:]
      for role in roles {
        for inherited in compiled.closures[role].numbers where !reach.contains(inherited) {
          reach.insert(inherited)
          via[inherited] = role
        }
      }
      self.reach = reach
      var permits = [[(key: UInt64, rule: Int32)]](repeating: [], count: Verb.count)
      var forbids = permits
      for role in reach.numbers {
        for rule in compiled.ownRules[role] {
          let found = compiled.rules[Int(rule)]
          let key = Compiled.key(via[role] ?? role, rule)
          if found.effect == .permit {
            permits[found.verb.number].append((key, rule))
          } else {
            forbids[found.verb.number].append((key, rule))
          }
        }
      }
      let rules = compiled.rules
      self.permits = permits.map { PatternIndex($0) { rules[Int($0)].pattern } }
      self.forbids = forbids.map { PatternIndex($0) { rules[Int($0)].pattern } }
      isApart = !compiled.separation.contains { $0.isBroken(by: reach) }
    }
  }

  /// What tables are made from.
  struct Parts: ~Copyable {
    let closures: [RoleSet]
    let rules: [Rule]
    let ownRules: [[Int32]]
    let separation: [Separation]
  }

  /// A rule's place among those that decide the same: by the role through which it is held, then as the rules are sorted.
  static func key(_ via: Int, _ rule: Int32) -> UInt64 { UInt64(via) << 32 | UInt64(UInt32(bitPattern: rule)) }
  static func via(_ key: UInt64) -> Int { Int(key >> 32) }

  init(
    _ sorted: [Role], _ forbids: [Permission], _ fleetForbids: [Permission], _ separation: [SeparationSet],
    _ bindings: [Binding]
  ) throws(PolicyError) {
    guard sorted.count <= Compiled.mostRoles else {
      throw .field(
        path: "roles", problem: "\(sorted.count) roles are too many", allowed: "at most \(Compiled.mostRoles)")
    }
    roles = sorted
    numbers = try Compiled.number(sorted)
    closures = try Compiled.close(sorted, numbers)
    let found = try Compiled.list(sorted, forbids, fleetForbids)
    rules = found.map(\.rule)
    origins = found.map { Int32($0.role) }
    var own = [[Int32]](repeating: [], count: sorted.count)
    for (at, one) in found.enumerated() where one.role >= 0 { own[one.role].append(Int32(at)) }
    ownRules = own
    self.separation = try Compiled.check(separation, sorted, numbers, closures)
    held = try Compiled.hold(bindings, sorted, numbers)
    let parts = Parts(closures: closures, rules: rules, ownRules: own, separation: self.separation)
    var made: [[Int]: Table] = [:]
    var tables: [Subject: Table] = [:]
    var total = 0
    for (subject, bound) in held {
      let table: Table
      if let known = made[bound] {
        table = known
      } else {
        table = Table(bound, parts)
        total += table.reach.numbers.reduce(0) { $0 + own[$1].count }
        guard total <= Compiled.mostHeldRules else {
          throw .field(
            path: "bindings", problem: "the subjects' roles come to more than \(Compiled.mostHeldRules) rules in all",
            allowed: "fewer roles that inherit much, or fewer different combinations of them")
        }
      }
      made[bound] = table
      tables[subject] = table
    }
    self.tables = tables
    var everybody = [[(key: UInt64, rule: Int32)]](repeating: [], count: Verb.count)
    for (at, one) in found.enumerated() where one.role < 0 {
      everybody[one.rule.verb.number].append((Compiled.key(0, Int32(at)), Int32(at)))
    }
    let rules = rules
    self.everybody = everybody.map { PatternIndex($0) { rules[Int($0)].pattern } }
    for subject in held.keys.sorted(by: { $0.description < $1.description }) {
      if let broken = brokenStatically(by: subject, adding: nil) { throw .separated(subject: "\(subject)", broken) }
    }
  }

  private static func number(_ roles: [Role]) throws(PolicyError) -> [String: Int] {
    var numbers: [String: Int] = [:]
    for (number, role) in roles.enumerated() where numbers.updateValue(number, forKey: role.name) != nil {
      throw .field(path: "roles.\(role.name)", problem: "defined twice", allowed: "one definition of a role")
    }
    return numbers
  }

  /// A depth-first walk that finds circles.
  private static func close(_ roles: [Role], _ numbers: [String: Int]) throws(PolicyError) -> [RoleSet] {
    var done = [RoleSet?](repeating: nil, count: roles.count)
    var trail: [Int] = []
    func visit(_ number: Int) throws(PolicyError) -> RoleSet {
      if let known = done[number] { return known }
      if let start = trail.firstIndex(of: number) {
        throw .cycle(
          path: "roles.\(roles[number].name).inherits", roles: (trail[start...] + [number]).map { roles[$0].name })
      }
      var made = RoleSet(count: roles.count)
      made.insert(number)
      trail.append(number)
      for (position, name) in roles[number].inherits.enumerated() {
        guard let parent = numbers[name] else {
          throw .unknownRole(
            path: "roles.\(roles[number].name).inherits[\(position)]", name: name, allowed: roles.map(\.name))
        }
        made.formUnion(try visit(parent))
      }
      trail.removeLast()
      done[number] = made
      return made
    }
    var closures: [RoleSet] = []
    for number in roles.indices { closures.append(try visit(number)) }
    return closures
  }

  /// Every rule with the number of its role, in a fixed order.
  private static func list(
    _ roles: [Role], _ forbids: [Permission], _ fleetForbids: [Permission]
  ) throws(PolicyError) -> [(rule: Rule, role: Int)] {
    let count = (roles.flatMap { $0.permissions + $0.forbids } + forbids + fleetForbids)
      .reduce(0) { $0 + $1.verbs.count * $1.resources.count }
    guard count <= mostRules else {
      throw .field(
        path: "roles", problem: "\(count) verbs on resources are too many", allowed: "at most \(mostRules)")
    }
    var found: [(rule: Rule, role: Int)] = []
    func add(_ permissions: [Permission], _ effect: Rule.Effect, _ role: Int, _ path: String) {
      for (position, permission) in permissions.enumerated() {
        for verb in Set(permission.verbs) {
          for pattern in Set(permission.resources) {
            let rule = Rule(
              effect: effect, verb: verb, pattern: pattern, clause: permission.clause,
              role: role < 0 ? nil : roles[role].name, path: "\(path)[\(position)]")
            found.append((rule, role))
          }
        }
      }
    }
    for (number, role) in roles.enumerated() {
      // Where it stands in its document.
      let path = "\(role.isCentral ? "policy." : "")roles.\(role.name)"
      add(role.permissions, .permit, number, path + ".allow")
      add(role.forbids, .forbid, number, path + ".forbid")
    }
    add(forbids, .forbid, -1, "forbid")
    add(fleetForbids, .forbid, -1, "policy.forbid")
    let keyed = found.map { one in
      (one, "\(one.rule.verb.rawValue) \(one.rule.pattern) \(one.rule.clause) \(one.rule.effect)")
    }
    return keyed.sorted { ($0.0.role, $0.1) < ($1.0.role, $1.1) }.map(\.0)
  }

  private static func check(
    _ sets: [SeparationSet], _ roles: [Role], _ numbers: [String: Int], _ closures: [RoleSet]
  ) throws(PolicyError) -> [Separation] {
    var made: [Separation] = []
    var names: Set<String> = []
    for set in sets.sorted(by: { ($0.kind.rawValue, $0.name) < ($1.kind.rawValue, $1.name) }) {
      let path = "separation.\(set.kind.rawValue).\(set.name)"
      guard names.insert(path).inserted else {
        throw .field(path: path, problem: "defined twice", allowed: "one definition of a set")
      }
      var members = RoleSet(count: roles.count)
      for name in set.roles {
        guard let number = numbers[name] else {
          throw .unknownRole(path: path + ".roles", name: name, allowed: roles.map(\.name))
        }
        members.insert(number)
      }
      guard set.roles.count >= 2, (1..<set.roles.count).contains(set.atMost) else {
        throw .field(
          path: path, problem: "at most \(set.atMost) of \(set.roles.count) roles separates nothing",
          allowed: "two roles or more, and atMost from 1 to one less than there are")
      }
      let separation = Separation(set: set, members: members)
      if let broken = roles.indices.first(where: { separation.isBroken(by: closures[$0]) }) {
        let both = set.roles.filter { numbers[$0].map(closures[broken].contains) ?? false }
        throw .field(
          path: "roles.\(roles[broken].name)",
          problem: "is or inherits \(both.joined(separator: " and ")), of which \(path) lets nobody have more than "
            + "\(set.atMost)", allowed: "a role that breaks no separation by itself")
      }
      made.append(separation)
    }
    return made
  }

  private static func hold(
    _ bindings: [Binding], _ roles: [Role], _ numbers: [String: Int]
  ) throws(PolicyError) -> [Subject: [Int]] {
    var held: [Subject: Set<Int>] = [:]
    for binding in bindings {
      guard let number = numbers[binding.role] else {
        throw .unknownRole(path: "bindings", name: binding.role, allowed: roles.map(\.name))
      }
      guard let subject = Subject.parse(binding.subject) else {
        throw .field(path: "bindings", problem: "\"\(binding.subject)\" is no subject", allowed: Subject.allowed)
      }
      held[subject, default: []].insert(number)
    }
    return held.mapValues { $0.sorted() }
  }

  // MARK: separation

  /// The roles with all that they inherit.
  func reach(_ roles: some Sequence<Int>) -> RoleSet {
    var made = RoleSet(count: self.roles.count)
    for role in roles { made.formUnion(closures[role]) }
    return made
  }

  /// The static set that a subject's roles break, with `local`'s for whoever comes over the socket.
  func brokenStatically(by subject: Subject, adding role: Int?) -> SeparationSet? {
    guard separation.contains(where: { $0.set.kind == .held }) else { return nil }
    var bound = held[subject] ?? []
    if subject.isLocal { bound += held[.anyLocal] ?? [] }
    if let role { bound.append(role) }
    let reach = reach(bound)
    return separation.first { $0.set.kind == .held && $0.isBroken(by: reach) }?.set
  }
}
