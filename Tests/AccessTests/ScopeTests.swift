import Testing

@testable import Access

@Suite struct ScopeTests {
  @Test func wordsAreReadAndWrittenBack() throws {
    let scope = try Scope(words: ["infer:model:qwen3-*", "status.read", "infer:model:*", "status.read:box:*"])
    #expect(scope.words == ["infer", "infer:model:qwen3-*", "status.read"])
    #expect(try Scope(words: scope.words) == scope)
    for word in ["", "*", "infre", "infer:", "infer:*", "infer:box:*", "infer:model:", "model:*", "infer model:*"] {
      #expect(throws: Scope.BadWord(word: word)) { try Scope(words: [word]) }
    }
  }

  /// Random policies, callers and scopes: what is allowed under a scope is what is allowed without it and in it.
  @Test func aScopeTakesAndNeverGives() throws {
    var random = SeededRandom(state: 77)
    var (kept, taken) = (0, 0)
    for _ in 0..<300 {
      let made = RandomPolicy(using: &random)
      let policy = try Policy(roles: made.roles, bindings: made.bindings)
      let grants = Verb.allCases.filter { _ in Bool.random(using: &random) }.compactMap { verb in
        Scope.Grant([verb.rawValue, "\(verb.rawValue):\(verb.resourceKind):q*"].randomElement(using: &random) ?? "")
      }
      let scope = Scope(grants)
      for whole in RandomPolicy.callers {
        let narrowed = Caller(subjects: whole.subjects, label: whole.label, scope: scope, transport: whole.transport)
        for verb in Verb.allCases {
          for resource in RandomPolicy.resources {
            let free = policy.decide(whole, verb, resource).isAllowed
            let decision = policy.decide(narrowed, verb, resource)
            #expect(decision.isAllowed == (free && scope.covers(verb, resource)))
            kept += decision.isAllowed ? 1 : 0
            taken += free && !decision.isAllowed ? 1 : 0
            // The named scope is the one that lacks.
            if free, case .denied(let denial) = decision, resource.kind == verb.resourceKind {
              let word = denial.remedy.description.split(separator: " ").last.map(String.init) ?? ""
              let wider = Scope(scope.grants + [try #require(Scope.Grant(word))])
              let caller = Caller(
                subjects: whole.subjects, label: whole.label, scope: wider, transport: whole.transport)
              #expect(policy.decide(caller, verb, resource).isAllowed)
            }
          }
        }
        // Who may not do all that a role allows may not hand it out, either.
        for role in policy.roles where policy.mayGrant(narrowed, role.name) {
          #expect(policy.mayGrant(whole, role.name))
          for rule in policy.allows(role.name) { #expect(scope.covers(rule.verb, rule.pattern)) }
        }
      }
    }
    #expect(kept > 100 && taken > 100)
  }

  @Test func aNarrowedAdministratorHandsOutNoMoreThanTheScope() throws {
    let policy = try Policy(
      parsing: Array(
        """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
          chat: {allow: [{verbs: ['infer'], resources: ['model:*']}]}},
         bindings: [{role: 'admin', subjects: ['token:boss']}]}
        """.utf8))
    let boss = Caller.token("boss", scope: try Scope(words: ["role.manage", "infer"]))
    #expect(policy.mayGrant(boss, "chat"))
    #expect(!policy.mayGrant(boss, "admin"))
    #expect(policy.mayGrant(.token("boss"), "admin"))
  }
}
