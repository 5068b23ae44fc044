import Testing
import Trust

@testable import Access

@Suite struct ReviewTests {
  private func policy(_ text: String) throws -> Policy { try Policy(parsing: Array(text.utf8)) }

  private func lint(_ text: String) throws -> [String] { try policy(text).lint().map(\.description) }

  static let admin = "admin: {allow: [{verbs: ['*'], resources: ['*']}]}"
  static let bound = "{role: 'admin', subjects: ['uid:0']}"

  @Test func aPolicyWithoutWasteHasNoFindings() throws {
    #expect(
      try lint(
        """
        {version: 1, roles: {\(ReviewTests.admin),
          chat: {allow: [{verbs: ['infer'], resources: ['model:a*']},
            {verbs: ['infer'], resources: ['model:*'], when: {hours: '08:00-18:00'}}],
            forbid: [{verbs: ['infer'], resources: ['model:ab']}]}},
         bindings: [\(ReviewTests.bound), {role: 'chat', subjects: ['local']}]}
        """
      ).filter { !$0.contains("admin") } == [])
  }

  @Test(arguments: [
    (
      "{verbs: ['infer'], resources: ['box:*']}",
      "unreachable: infer on box:* never counts: infer acts on model:… alone"
    ),
    (
      "{verbs: ['infer'], resources: ['model:*'], when: {minContextTokens: 5, maxContextTokens: 4}}",
      "never counts: nothing takes at most 4 and at least 5 tokens"
    ),
    (
      "{verbs: ['infer'], resources: ['model:*'], when: {via: 'socket', networks: '10.0.0.0/8'}}",
      "never counts: the socket is in no network"
    ),
    (
      "{verbs: ['infer'], resources: ['model:*'], when: {hours: '09:00-10:00'}, unless: {hours: '08:00-12:00'}}",
      "never counts: its exception holds whenever it does"
    ),
    ("{verbs: ['infer'], resources: ['model:b-1']}", "infer on model:b-1 adds nothing: base allows infer on model:b*"),
    (
      "{verbs: ['infer'], resources: ['model:b*'], when: {hours: '09:00-10:00'}}",
      "infer on model:b* when hours 09:00-10:00 adds nothing: base allows infer on model:b*, roles.base.allow[0]"
    ),
    (
      "{verbs: ['infer'], resources: ['model:no-1']}",
      "infer on model:no-1 never lets anybody in: base forbids infer on model:no-*, roles.base.forbid[0]"
    ),
    (
      "{verbs: ['model.list'], resources: ['model:*'], when: {days: 'sun'}}",
      "never lets anybody in: the policy forbids everybody model.list on * when days sat sun, forbid[0]"
    ),
  ])
  func rulesThatDoNothingAreNamed(_ rule: String, _ expected: String) throws {
    let found = try lint(
      """
      {version: 1, roles: {\(ReviewTests.admin),
        base: {allow: [{verbs: ['infer'], resources: ['model:b*']}], forbid: [{verbs: ['infer'], resources: ['model:no-*']}]},
        x: {inherits: ['base'], allow: [\(rule)]}},
       forbid: [{verbs: ['model.list'], resources: ['*'], when: {days: ['sat', 'sun']}}],
       bindings: [\(ReviewTests.bound), {role: 'x', subjects: ['token:t']}]}
      """
    ).filter { $0.hasPrefix("roles.x") }
    #expect(found.count == 1 && found.first?.contains(expected) == true, "\(found)")
  }

  @Test func rolesThatNobodyHoldsAndThatComeTogetherAreNamed() throws {
    let found = try lint(
      """
      {version: 1, roles: {a: {}, b: {}, c: {inherits: ['a']}, d: {}},
       bindings: [{role: 'c', subjects: ['uid:1', 'group:x']}, {role: 'b', subjects: ['uid:1']},
         {role: 'd', subjects: ['group:y']}],
       separation: {dynamic: {ab: {roles: ['a', 'b']}}, static: {ad: {roles: ['a', 'd']}}}}
      """)
    #expect(
      found == [
        "bindings: administrator: nobody may give every role away whatever the circumstances: bind a role with role.manage "
          + "on role:*",
        "separation.dynamic.ab: separation: uid:1 holds more of its roles than may be active together, and has none of "
          + "them until a request names one",
        "separation.static.ad: separation: whoever is more than one of group:x, group:y, uid:1 loses all of its roles: "
          + "nobody may hold them together",
      ])
    #expect(try lint("{version: 1, roles: {a: {}}}").first?.hasPrefix("bindings: administrator") == true)
    #expect(
      try lint("{version: 1, roles: {a: {}}}").last
        == "roles.a: unheld: nobody holds it, and no role that somebody holds inherits it")
  }

  /// A rule that is said to be superfluous can be taken out, and nothing changes.
  @Test func whatAddsNothingCanGo() throws {
    var random = SeededRandom(state: 8)
    var gone = 0
    for _ in 0..<1500 {
      let made = RandomPolicy(using: &random)
      guard let policy = made.policy else { continue }
      for finding in policy.lint() where finding.kind == .shadowed || finding.kind == .unreachable {
        guard
          let number = policy.compiled.rules.firstIndex(where: { rule in
            rule.path == finding.path && finding.problem.hasPrefix("\(rule) ")
          }), policy.compiled.rules[number].effect == .permit, let name = policy.compiled.rules[number].role
        else { continue }
        let rule = policy.compiled.rules[number]
        // A verb on a resource of another kind is never asked for.
        let less = try policy.with(
          roles: policy.roles.map { role in
            guard role.name == name else { return role }
            return Role(
              name: role.name, summary: "", inherits: role.inherits,
              permissions: role.permissions.enumerated().flatMap { at, one -> [Permission] in
                guard rule.path == "roles.\(name).allow[\(at)]" else { return [one] }
                return [
                  Permission(
                    verbs: one.verbs.filter { $0 != rule.verb }, resources: one.resources, clause: one.clause),
                  Permission(
                    verbs: [rule.verb], resources: one.resources.filter { $0 != rule.pattern }, clause: one.clause),
                ]
              }, forbids: role.forbids)
          })
        gone += 1
        for _ in 0..<20 {
          let caller = made.caller(using: &random)
          let context = RandomPolicy.context(caller, using: &random)
          for resource in RandomPolicy.resources where resource.kind == rule.verb.resourceKind {
            #expect(
              policy.decide(caller, rule.verb, resource, in: context).isAllowed
                == less.decide(caller, rule.verb, resource, in: context).isAllowed, "\(finding)\n\(made)\n\(caller)")
          }
        }
      }
    }
    #expect(gone > 300)
  }

  /// The review functions say what decisions say.
  @Test func whoCanAndWhatMayAgreeWithDecisions() throws {
    var random = SeededRandom(state: 9)
    var (found, open) = (0, 0)
    for _ in 0..<1600 {
      let made = RandomPolicy(using: &random)
      guard let policy = made.policy else { continue }
      for _ in 0..<10 {
        let text = try #require(RandomPolicy.subjects.randomElement(using: &random))
        let subject = try #require(Subject.parse(text))
        let caller = Caller(
          subjects: subject.isLocal && subject != .anyLocal ? [subject, .anyLocal] : [subject], label: text,
          transport: subject.isLocal ? .socket : .network(nil))
        let context = RandomPolicy.context(caller, using: &random)
        let verb = try #require(Verb.allCases.randomElement(using: &random))
        let resource = try #require(RandomPolicy.resources.randomElement(using: &random))
        let can = policy.whoCan(verb, resource).filter { caller.subjects.contains($0.subject) }
        let permits = policy.whatMay(caller).permits.filter { $0.verb == verb && $0.pattern.covers(resource) }
        if policy.decide(caller, verb, resource, in: context).isAllowed {
          open += 1
          #expect(can.contains { $0.rule.clause.holds(in: context) == true })
          #expect(permits.contains { $0.clause.holds(in: context) == true })
        } else if policy.session(of: caller).note == nil {
          let bans = policy.whatMay(caller).forbids.filter { $0.verb == verb && $0.pattern.covers(resource) }
          #expect(
            !permits.contains { $0.clause.holds(in: context) == true }
              || bans.contains { $0.clause.holds(in: context) != false })
        }
        found += can.count
      }
    }
    #expect(found > 500 && open > 200)
  }

  @Test func conflictsAreThePairsThatBreakASet() throws {
    let made = try policy(
      """
      {version: 1, roles: {a: {}, b: {}, c: {inherits: ['a']}, d: {}},
       separation: {static: {ab: {roles: ['a', 'b']}}, dynamic: {three: {roles: ['a', 'b', 'd'], atMost: 2}}}}
      """)
    #expect(made.conflicts.map { $0.roles.joined(separator: "+") } == ["a+b", "b+c"])
  }

  @Test func anExplanationShowsBindingsRulesAndWhatWouldChangeIt() throws {
    let made = try policy(
      """
      {version: 1, roles: {base: {allow: [{verbs: ['infer'], resources: ['model:*'], when: {hours: '08:00-18:00'}}]},
        ops: {inherits: ['base'], forbid: [{verbs: ['infer'], resources: ['model:x*']}]}},
       bindings: [{role: 'ops', subjects: ['uid:1']}]}
      """)
    func lines(_ node: Explanation, _ depth: Int = 0) -> [String] {
      [String(repeating: "  ", count: depth) + node.text] + node.children.flatMap { lines($0, depth + 1) }
    }
    let caller = Caller(subjects: [.user(1), .anyLocal], label: "uid:1", transport: .socket)
    let night = RequestContext(time: WeekTime(day: .monday, minute: 60), transport: .socket)
    #expect(
      lines(made.explain(caller, .infer, .model("y"), in: night)) == [
        "denied: infer on model:y by uid:1",
        "  because base allows infer on model:* when hours 08:00-18:00, which is roles.base.allow[0], but hours "
          + "08:00-18:00 does not hold: it is mon 01:00",
        "  roles", "    uid:1 holds ops, active", "      inherits base", "  nothing forbids it", "  what permits it",
        "    base allows infer on model:* when hours 08:00-18:00, roles.base.allow[0]: hours 08:00-18:00 does not hold: it "
          + "is mon 01:00",
        "  what would change it",
        "    no role allows it: add {verbs: [\"infer\"], resources: [\"model:y\"]} to a role, such as a new one, may-infer, "
          + "and reload",
        "    skerry role bind may-infer uid:1",
      ])
    let day = RequestContext(time: WeekTime(day: .monday, minute: 600), transport: .socket)
    #expect(
      lines(made.explain(caller, .infer, .model("xy"), in: day)).contains(
        "    take {verbs: [\"infer\"], resources: [\"model:x*\"]} out of roles.ops.forbid[0] in the policy"))
    #expect(lines(made.explain(caller, .infer, .model("y"), in: day)).first == "allowed: infer on model:y by uid:1")
  }
}
