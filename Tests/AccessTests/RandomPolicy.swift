@testable import Access

/// A small generator with a fixed seed (SplitMix64), so that a failing case can be run again.
struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// True once in `times`.
  mutating func once(in times: Int) -> Bool { Int.random(in: 0..<times, using: &self) == 0 }
}

extension Policy {
  /// Decides for a caller of whose request nothing else is known.
  func decide(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> Decision {
    decide(caller, verb, resource, in: RequestContext(transport: caller.transport))
  }
}

extension Decision {
  /// All that people are told of it.
  var text: String {
    switch self {
    case .allowed(let grounds): "\(grounds.role): \(grounds)"
    case .denied(let denial): "\(denial.reason); \(denial.remedy)"
    }
  }
}

/// Policies, callers and questions drawn from small sets, so that they meet often.
struct RandomPolicy {
  static let patterns = ["*", "model:*", "model:q*", "model:qwen-a", "model:*-a", "role:*", "box:*", "token:app*"]
  static let resources = [
    Resource.model("qwen-a"), .model("smol"), .model("q"), .role("chat"), .token("app1"),
    Resource(kind: "box", name: "x"),
  ]
  static let subjects = ["uid:0", "uid:7", "user:ann", "gid:9", "group:ops", "token:app1", "token:app2", "local"]
  static let callers = [
    Caller.token("app1"), .token("nobody"), .local(uid: 0, name: "root", groups: [(0, "root")]),
    .local(uid: 7, name: "ann", groups: [(9, "ops"), (100, nil)]), .local(uid: 42, name: nil, groups: []),
  ]

  var roles: [Role]
  var bindings: [Binding]
  var forbids: [Permission] = []
  var separation: [SeparationSet] = []

  /// Without conditions, forbidding and separation where it is `plain`.
  init(using random: inout SeededRandom, plain: Bool = false) {
    let names = (0..<Int.random(in: 1...6, using: &random)).map { "r\($0)" }
    func permissions(_ most: Int) -> [Permission] {
      (0..<Int.random(in: 0...most, using: &random)).map { _ in
        Permission(
          verbs: Verb.allCases.filter { _ in random.once(in: 5) },
          resources: RandomPolicy.patterns.filter { _ in random.once(in: 4) }.compactMap { ResourcePattern($0) },
          clause: plain ? .always : RandomPolicy.clause(using: &random))
      }
    }
    roles = []
    for (index, name) in names.enumerated() {
      // Inheriting only from earlier ones keeps it free of circles.
      let parents = names[..<index].filter { _ in random.once(in: 3) }
      roles.append(
        Role(
          name: name, summary: "", inherits: Array(parents), permissions: permissions(2),
          forbids: plain || !random.once(in: 3) ? [] : permissions(1)))
    }
    bindings = (0..<Int.random(in: 0...5, using: &random)).compactMap { _ in
      guard let role = names.randomElement(using: &random),
        let subject = RandomPolicy.subjects.randomElement(using: &random)
      else { return nil }
      return Binding(role: role, subject: subject)
    }
    if plain { return }
    forbids = random.once(in: 4) ? permissions(1) : []
    for kind in SeparationSet.Kind.allCases where random.once(in: 2) {
      let members = names.shuffled(using: &random).prefix(Int.random(in: 2...3, using: &random))
      let atMost = Int.random(in: 1...2, using: &random)
      if members.count > atMost {
        separation.append(SeparationSet(name: "s", kind: kind, roles: Array(members), atMost: atMost))
      }
    }
  }

  init(roles: [Role]) {
    self.roles = roles
    bindings = []
  }

  /// The policy; nil where separation does not allow it.
  var policy: Policy? {
    try? Policy(roles: roles, bindings: bindings, forbids: forbids, separation: separation)
  }

  static func clause(using random: inout SeededRandom) -> Clause {
    var clause = Clause()
    if random.once(in: 3) { clause.when = condition(using: &random) }
    if random.once(in: 6) { clause.unless = condition(using: &random) }
    return clause
  }

  static func condition(using random: inout SeededRandom) -> Condition {
    var made = Condition()
    repeat {
      if random.once(in: 6) { made.days = Set(Weekday.allCases.filter { _ in random.once(in: 2) } + [.monday]) }
      if random.once(in: 6) {
        let start = Int.random(in: 0..<1440, using: &random)
        made.hours = DayMinutes(start: start, end: (start + Int.random(in: 1..<1440, using: &random)) % 1440).map {
          [$0]
        }
      }
      if random.once(in: 6) { made.via = random.once(in: 2) ? [.socket] : [.network] }
      if random.once(in: 8) {
        made.networks = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"].filter { _ in random.once(in: 2) }
          .compactMap { NetworkRange($0) }
        if made.networks?.isEmpty == true { made.networks = nil }
      }
      if random.once(in: 6) { made.labels["site"] = random.once(in: 2) ? ["oslo"] : ["oslo", "rome"] }
      if random.once(in: 6) { made.maxContextTokens = Int.random(in: 1...4000, using: &random) }
      if random.once(in: 8) { made.minContextTokens = Int.random(in: 1...4000, using: &random) }
    } while made.isEmpty
    return made
  }

  static func context(_ caller: Caller, using random: inout SeededRandom) -> RequestContext {
    var made = RequestContext(transport: caller.transport)
    if !random.once(in: 5) {
      made.time = WeekTime(
        day: Weekday.allCases.randomElement(using: &random) ?? .monday, minute: Int.random(in: 0..<1440, using: &random)
      )
    }
    if case .network = caller.transport {
      let text = ["10.0.0.1", "10.1.2.3", "192.168.0.1", "fd00::1", "::ffff:10.1.0.1"].randomElement(using: &random)
      made.transport = .network(random.once(in: 5) ? nil : text.flatMap { NetworkAddress($0) })
    }
    if random.once(in: 10) { made.transport = nil }
    if random.once(in: 2) { made.labels = ["site": random.once(in: 2) ? "oslo" : "paris"] }
    if random.once(in: 2) { made.contextTokens = Int.random(in: 0...4000, using: &random) }
    return made
  }

  /// A caller, sometimes with roles that it asks with.
  func caller(using random: inout SeededRandom) -> Caller {
    var caller = RandomPolicy.callers.randomElement(using: &random) ?? .token("app1")
    if case .token(let name) = caller.identity, random.once(in: 4) {
      let words = Verb.allCases.filter { _ in random.once(in: 2) }.map(\.rawValue) + ["infer:model:q*"]
      caller = .token(name, scope: try? Scope(words: words))
    }
    if random.once(in: 4) {
      caller.activated = Set(roles.map(\.name).filter { _ in random.once(in: 3) } + (random.once(in: 9) ? ["no"] : []))
    }
    return caller
  }

  // MARK: the same question answered the slow and obvious way

  func allows(_ caller: Caller, _ verb: Verb, _ resource: Resource, _ context: RequestContext) -> Bool {
    if let scope = caller.scope, !scope.covers(verb, resource) { return false }
    let held = Set(
      bindings.filter { binding in caller.subjects.contains { $0.description == binding.subject } }.map(\.role))
    func covers(_ permission: Permission) -> Bool {
      permission.verbs.contains(verb) && permission.resources.contains { $0.covers(resource) }
    }
    let mine = roles.filter { below(held).contains($0.name) }
    for ban in forbids + mine.flatMap(\.forbids) where covers(ban) && ban.clause.holds(in: context) != false {
      return false
    }
    let counting = active(held, caller.activated)
    return roles.filter { below(counting).contains($0.name) }.flatMap(\.permissions)
      .contains { covers($0) && $0.clause.holds(in: context) == true }
  }

  /// The roles with all that they inherit.
  func below(_ names: Set<String>) -> Set<String> {
    var found = names
    for name in names { found.formUnion(below(Set(roles.filter { $0.name == name }.flatMap(\.inherits)))) }
    return found
  }

  private func active(_ held: Set<String>, _ asked: Set<String>?) -> Set<String> {
    func breaks(_ set: SeparationSet, _ names: Set<String>) -> Bool {
      below(names).intersection(set.roles).count > set.atMost
    }
    func touches(_ role: String, _ set: SeparationSet) -> Bool { !below([role]).isDisjoint(with: set.roles) }
    let broken = separation.filter { $0.kind == .held && breaks($0, held) }
    func counts(_ role: String) -> Bool { !broken.contains { touches(role, $0) } }
    if let asked {
      guard asked.isSubset(of: below(held)) else { return [] }
      let chosen = asked.filter(counts)
      return separation.contains { $0.kind == .active && breaks($0, chosen) } ? [] : chosen
    }
    let clean = held.filter(counts)
    let torn = separation.filter { $0.kind == .active && breaks($0, clean) }
    return clean.filter { role in !torn.contains { touches(role, $0) } }
  }
}
