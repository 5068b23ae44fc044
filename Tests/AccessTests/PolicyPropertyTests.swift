import Testing

@testable import Access

@Suite struct PolicyPropertyTests {
  @Test func decidesAsTheObviousWayDoes() {
    var random = SeededRandom(state: 1)
    var (allowed, forbidden, asked, made) = (0, 0, 0, 0)
    for round in 0..<6000 {
      let drawn = RandomPolicy(using: &random, plain: round % 4 == 0)
      guard let policy = drawn.policy else { continue }
      made += 1
      for _ in 0..<12 {
        let caller = drawn.caller(using: &random)
        let context = RandomPolicy.context(caller, using: &random)
        guard let verb = Verb.allCases.randomElement(using: &random),
          let resource = RandomPolicy.resources.randomElement(using: &random)
        else { continue }
        let decision = policy.decide(caller, verb, resource, in: context)
        #expect(
          decision.isAllowed == drawn.allows(caller, verb, resource, context), "\(drawn) \(caller) \(verb) \(context)")
        if decision.isAllowed { allowed += 1 }
        if decision.isAllowed, caller.activated != nil { asked += 1 }
        if case .denied(let denial) = decision, case .forbidden = denial.cause { forbidden += 1 }
        #expect(policy.grants(caller, verb, resource, in: context).isEmpty != decision.isAllowed)
      }
    }
    #expect(made > 4000 && allowed > 1500 && forbidden > 500 && asked > 100, "\(made) \(allowed) \(forbidden) \(asked)")
  }

  @Test func orderNeverMatters() throws {
    var random = SeededRandom(state: 2)
    for _ in 0..<400 {
      let made = RandomPolicy(using: &random)
      guard let policy = made.policy else { continue }
      func mixed(_ permissions: [Permission]) -> [Permission] {
        permissions.shuffled(using: &random).map {
          Permission(
            verbs: $0.verbs.shuffled(using: &random), resources: $0.resources.shuffled(using: &random),
            clause: $0.clause)
        }
      }
      let shuffled = try Policy(
        roles: made.roles.shuffled(using: &random).map { role in
          Role(
            name: role.name, summary: role.summary, inherits: role.inherits.shuffled(using: &random),
            permissions: mixed(role.permissions), forbids: mixed(role.forbids))
        }, bindings: made.bindings.shuffled(using: &random), forbids: mixed(made.forbids),
        separation: made.separation.shuffled(using: &random))
      for _ in 0..<60 {
        let caller = made.caller(using: &random)
        let context = RandomPolicy.context(caller, using: &random)
        let other = Caller(
          subjects: caller.subjects.shuffled(using: &random), label: caller.label, scope: caller.scope,
          transport: caller.transport, activated: caller.activated)
        let verb = try #require(Verb.allCases.randomElement(using: &random))
        let resource = try #require(RandomPolicy.resources.randomElement(using: &random))
        let (one, two) = (
          policy.decide(caller, verb, resource, in: context), shuffled.decide(other, verb, resource, in: context)
        )
        #expect(one.isAllowed == two.isAllowed)
        // The texts too, but for the numbers in paths, which say where a rule stands.
        func plain(_ decision: Decision) -> String { String(decision.text.filter { !$0.isNumber }) }
        #expect(plain(one) == plain(two))
      }
    }
  }

  /// Of every denial: the named grant flips it, and each change in it is needed.
  @Test func theNamedGrantFlipsEveryDenial() throws {
    var random = SeededRandom(state: 3)
    let wanted = deepCount(100_000)
    var (denials, lifted, activated, bound, defined, widened) = (0, 0, 0, 0, 0, 0)
    while denials < wanted {
      let made = RandomPolicy(using: &random)
      guard let policy = made.policy else { continue }
      for _ in 0..<100 {
        let caller = made.caller(using: &random)
        let context = RandomPolicy.context(caller, using: &random)
        let verb = try #require(Verb.allCases.randomElement(using: &random))
        let resource = try #require(RandomPolicy.resources.randomElement(using: &random))
        // A scope names nothing of another kind than its verb's.
        guard caller.scope == nil || resource.kind == verb.resourceKind else { continue }
        guard case .denied(let denial) = policy.decide(caller, verb, resource, in: context) else { continue }
        denials += 1
        let remedy = denial.remedy
        let after = try remedy.applied(to: policy, caller)
        #expect(
          after.policy.decide(after.caller, verb, resource, in: context).isAllowed,
          "\(remedy)\n\(denial.reason)\n\(made)\n\(caller) \(verb) \(resource) \(context)")
        #expect(!remedy.changes.isEmpty && !denial.reason.isEmpty)
        for change in remedy.changes {
          switch change {
          case .lift: lifted += 1
          case .activate: activated += 1
          case .widen: widened += 1
          case .bind: bound += 1
          case .define: defined += 1
          }
        }
        // A definition alone means nothing without the binding that follows; they go together.
        if remedy.changes.count > 1, denials % 10 == 0 {
          for left in remedy.changes {
            if case .define = left { continue }
            let rest = Remedy(changes: remedy.changes.filter { $0 != left })
            guard let less = try? rest.applied(to: policy, caller) else { continue }
            #expect(!less.policy.decide(less.caller, verb, resource, in: context).isAllowed, "\(left) is too much")
          }
        }
      }
    }
    #expect(lifted > wanted / 100 && activated > wanted / 1000 && bound > wanted / 10 && defined > wanted / 10)
    #expect(widened > wanted / 1000)
  }

  @Test func grantingNeverGivesWhatTheGranterLacks() throws {
    var random = SeededRandom(state: 4)
    var granted = 0
    for _ in 0..<1500 {
      let made = RandomPolicy(using: &random)
      guard let policy = made.policy else { continue }
      let stranger = Caller.token("fresh")
      for drawn in RandomPolicy.callers {
        var caller = drawn
        caller.activated = nil
        for role in made.roles where policy.mayGrant(caller, role.name) {
          granted += 1
          let after = try policy.adding([Binding(role: role.name, subject: "token:fresh")])
          for verb in Verb.allCases {
            for resource in RandomPolicy.resources {
              let context = RandomPolicy.context(caller, using: &random)
              guard after.decide(stranger, verb, resource, in: context).isAllowed else { continue }
              #expect(policy.decide(caller, verb, resource, in: context).isAllowed, "\(made) \(caller) \(role.name)")
            }
          }
        }
      }
    }
    #expect(granted > 200)
  }

  /// Taking a role away frees nobody to do what the one who takes it is not free to do.
  @Test func revokingNeverFreesForWhatTheRevokerLacks() throws {
    var random = SeededRandom(state: 5)
    var revoked = 0
    for _ in 0..<800 {
      let made = RandomPolicy(using: &random)
      let all = try #require(ResourcePattern("*"))
      let boss = Role(
        name: "boss", summary: "", inherits: [], permissions: [Permission(verbs: Verb.allCases, resources: [all])])
      guard let binding = made.bindings.first,
        let policy = try? Policy(
          roles: made.roles + [boss], bindings: made.bindings + [Binding(role: "boss", subject: "token:app1")],
          forbids: made.forbids, separation: made.separation), policy.mayRevoke(.token("app1"), binding.role)
      else { continue }
      let caller = Caller.token("app1")
      let after = try policy.removing(binding)
      for victim in RandomPolicy.callers {
        for verb in Verb.allCases {
          for resource in RandomPolicy.resources {
            let context = RandomPolicy.context(victim, using: &random)
            guard case .denied(let denial) = policy.decide(victim, verb, resource, in: context),
              case .forbidden(let rule) = denial.cause, rule.role != nil,
              after.decide(victim, verb, resource, in: context).isAllowed
            else { continue }
            revoked += 1
            #expect(policy.decide(caller, verb, resource, in: context).isAllowed, "\(made) \(binding)")
          }
        }
      }
    }
    #expect(revoked > 5, "\(revoked)")
  }

  @Test func whatImpliesHoldsWhereverItHolds() {
    var random = SeededRandom(state: 6)
    var implied = 0
    for _ in 0..<60_000 {
      let (one, other) = (RandomPolicy.clause(using: &random), RandomPolicy.clause(using: &random))
      guard one.implies(other) else { continue }
      implied += 1
      let context = RandomPolicy.context(random.once(in: 2) ? .token("a") : RandomPolicy.callers[2], using: &random)
      if one.holds(in: context) == true { #expect(other.holds(in: context) == true, "\(one) \(other) \(context)") }
      if one.holds(in: context) != false { #expect(other.holds(in: context) != false, "\(one) \(other) \(context)") }
    }
    #expect(implied > 10_000)
  }

  @Test func patternsCoverAndMeetEachOtherAsTheirNamesDo() throws {
    let letters = ["a", "b"]
    var names = [""]
    for _ in 0..<5 { names = [""] + names.flatMap { name in letters.map { name + $0 } } }
    let resources = Set(names.filter { !$0.isEmpty }).map { Resource.model($0) }
    let texts = ["*", "model:*", "model:a*", "model:*a", "model:a*a", "model:**", "model:*b*", "model:a", "role:*"]
    let patterns = try texts.map { try #require(ResourcePattern($0)) }
    for one in patterns {
      for other in patterns {
        let meet = resources.contains { one.covers($0) && other.covers($0) }
        #expect(one.overlaps(other) == (meet || one == other || one.description == "*" || other.description == "*"))
        guard one.covers(other) else { continue }
        for name in resources where other.covers(name) { #expect(one.covers(name), "\(one) \(other) \(name)") }
      }
    }
    #expect(try #require(ResourcePattern("model:*")).covers(try #require(ResourcePattern("model:a*"))))
    #expect(!(try #require(ResourcePattern("model:a*")).covers(try #require(ResourcePattern("model:*")))))
  }

  /// The index finds exactly the patterns that cover a name, whatever they look like.
  @Test func theIndexFindsWhatCovers() throws {
    var random = SeededRandom(state: 7)
    func name(_ alphabet: [String], _ longest: Int) -> String {
      (0..<Int.random(in: 1...longest, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? "a" }
        .joined()
    }
    for _ in 0..<200 {
      let patterns = try (0..<60).map { _ in
        try #require(ResourcePattern(random.once(in: 20) ? "*" : "model:" + name(["a", "b", "*"], 6)))
      }
      let index = PatternIndex(patterns.indices.map { (UInt64($0), Int32($0)) }) { patterns[Int($0)] }
      for _ in 0..<50 {
        let resource = Resource.model(name(["a", "b"], 8))
        var found: [Int] = []
        resource.withBytes { text in
          index.visit(text) { entry in
            if !entry.isGlob || patterns[Int(entry.rule)].covers(resource) { found.append(Int(entry.rule)) }
            return true
          }
        }
        #expect(found.sorted() == patterns.indices.filter { patterns[$0].covers(resource) }, "\(patterns) \(resource)")
      }
    }
  }
}
