import Testing

@testable import Access

@Suite struct PolicyPropertyTests {
  @Test func decidesAsTheObviousWayDoes() throws {
    var random = SeededRandom(state: 1)
    var allowed = 0
    for _ in 0..<300 {
      let made = RandomPolicy(using: &random)
      let policy = try Policy(roles: made.roles, bindings: made.bindings)
      for caller in RandomPolicy.callers {
        for verb in Verb.allCases {
          for resource in RandomPolicy.resources {
            let decision = policy.decide(caller, verb, resource)
            #expect(decision.isAllowed == made.allows(caller, verb, resource), "\(made) \(caller.label) \(verb)")
            if decision.isAllowed { allowed += 1 }
          }
        }
      }
    }
    #expect(allowed > 1000, "the generator must also produce what is allowed")
  }

  @Test func orderNeverMatters() throws {
    var random = SeededRandom(state: 2)
    for _ in 0..<200 {
      let made = RandomPolicy(using: &random)
      let policy = try Policy(roles: made.roles, bindings: made.bindings)
      let shuffled = try Policy(
        roles: made.roles.shuffled(using: &random).map { role in
          Role(
            name: role.name, summary: role.summary, inherits: role.inherits.shuffled(using: &random),
            permissions: role.permissions.shuffled(using: &random).map {
              Permission(verbs: $0.verbs.shuffled(using: &random), resources: $0.resources.shuffled(using: &random))
            })
        }, bindings: made.bindings.shuffled(using: &random))
      for caller in RandomPolicy.callers {
        let mixed = Caller(subjects: caller.subjects.shuffled(using: &random), label: caller.label)
        for verb in Verb.allCases {
          for resource in RandomPolicy.resources {
            #expect(policy.decide(caller, verb, resource) == shuffled.decide(mixed, verb, resource))
          }
        }
      }
    }
  }

  @Test func theNamedRemedyFlipsTheDecision() throws {
    var random = SeededRandom(state: 3)
    var flipped = 0
    for _ in 0..<40 {
      let made = RandomPolicy(using: &random)
      let policy = try Policy(roles: made.roles, bindings: made.bindings)
      for caller in RandomPolicy.callers {
        for verb in Verb.allCases {
          for resource in RandomPolicy.resources {
            guard case .denied(_, let text) = policy.decide(caller, verb, resource) else { continue }
            guard let remedy = policy.remedy(caller, verb, resource) else {
              // No role allows it: then not even all roles together do.
              let everything = try policy.adding(
                made.roles.map { Binding(role: $0.name, subject: caller.identity.description) })
              #expect(!everything.decide(caller, verb, resource).isAllowed)
              #expect(text.contains(verb.rawValue))
              continue
            }
            #expect(text == "skerry role bind \(remedy.role) \(remedy.subject)")
            #expect(try policy.adding([remedy]).decide(caller, verb, resource).isAllowed)
            flipped += 1
          }
        }
      }
    }
    #expect(flipped > 1000)
  }

  @Test func grantingNeverGivesWhatTheGranterLacks() throws {
    var random = SeededRandom(state: 4)
    var granted = 0
    for _ in 0..<300 {
      let made = RandomPolicy(using: &random)
      let policy = try Policy(roles: made.roles, bindings: made.bindings)
      let stranger = Caller.token("fresh")
      for caller in RandomPolicy.callers {
        for role in made.roles where policy.mayGrant(caller, role.name) {
          granted += 1
          let after = try policy.adding([Binding(role: role.name, subject: "token:fresh")])
          for verb in Verb.allCases {
            for resource in RandomPolicy.resources where after.decide(stranger, verb, resource).isAllowed {
              #expect(policy.decide(caller, verb, resource).isAllowed)
            }
          }
        }
      }
    }
    #expect(granted > 100)
  }

  @Test func patternsCoverEachOtherOnlyIfTheyCoverTheSame() throws {
    let names = ["a", "b", "aa", "ab", "ba", "aba", "abba", "bab"].map { Resource.model($0) }
    let texts = ["*", "model:*", "model:a*", "model:*a", "model:a*a", "model:**", "model:*b*", "model:a", "role:*"]
    let patterns = try texts.map { try #require(ResourcePattern($0)) }
    for one in patterns {
      for other in patterns where one.covers(other) {
        for name in names where other.covers(name) { #expect(one.covers(name), "\(one) \(other) \(name)") }
      }
    }
    #expect(try #require(ResourcePattern("model:*")).covers(try #require(ResourcePattern("model:a*"))))
    #expect(!(try #require(ResourcePattern("model:a*")).covers(try #require(ResourcePattern("model:*")))))
  }
}
