import Testing

@testable import Access

@Suite struct LimitsParsingTests {
  static func policy(_ roles: String, _ bindings: String = "") throws -> Policy {
    try Policy(parsing: Array("{version: 1, roles: {\(roles)}, bindings: [\(bindings)]}".utf8))
  }
  static let allow = "allow: [{verbs: ['infer'], resources: ['model:*']}]"
  static let alice = Caller.local(uid: 1000, name: "alice", groups: [(gid: 5, name: "staff")])

  static func own(_ policy: Policy, _ caller: Caller = alice) -> [Allowance] {
    policy.grants(caller, .infer, .model("m"), in: RequestContext()).map(\.own)
  }

  @Test func aRolesLimitsAreRead() throws {
    let policy = try LimitsParsingTests.policy(
      "chat: {\(LimitsParsingTests.allow), limits: {requestsPerMinute: 60, tokensPerDay: 5000, queue: 0}, "
        + "sharedLimits: {concurrency: 3}}", "{role: 'chat', subjects: ['local']}")
    let grant = try #require(policy.grants(LimitsParsingTests.alice, .infer, .model("m"), in: RequestContext()).first)
    #expect(grant.own.requestsPerMinute == 60 && grant.own.tokensPerDay == 5000 && grant.own.queue == 0)
    #expect(grant.own.tokensPerMinute == .max && grant.shared.concurrency == 3)
  }

  @Test(arguments: [
    "limits: {requestPerMinute: 60}", "limits: {requestsPerMinute: 0}", "limits: {requestsPerMinute: 1.5}",
    "limits: {tokensPerDay: '5'}", "limits: {queue: -1}", "limits: []", "sharedLimits: {queue: true}", "limit: {}",
  ])
  func whatIsWrongIsRefused(text: String) {
    #expect(throws: PolicyError.self) { try LimitsParsingTests.policy("chat: {\(LimitsParsingTests.allow), \(text)}") }
  }

  @Test func theErrorNamesTheKey() {
    let error = #expect(throws: PolicyError.self) {
      try LimitsParsingTests.policy("chat: {limits: {tokensPerMinute: 0}}")
    }
    #expect(error?.description.contains("roles.chat.limits.tokensPerMinute") == true)
  }

  @Test func whatARoleLeavesOpenItInherits() throws {
    let policy = try LimitsParsingTests.policy(
      "a: {\(LimitsParsingTests.allow), limits: {requestsPerMinute: 10, concurrency: 1}}, "
        + "b: {\(LimitsParsingTests.allow), limits: {requestsPerMinute: 20}}, "
        + "c: {inherits: ['a', 'b'], limits: {concurrency: null}}", "{role: 'c', subjects: ['local']}")
    #expect(LimitsParsingTests.own(policy).first?.requestsPerMinute == 20)
    #expect(LimitsParsingTests.own(policy).first?.concurrency == .max)
  }

  @Test func theClosestBindingCounts() throws {
    let policy = try LimitsParsingTests.policy(
      "chat: {\(LimitsParsingTests.allow), limits: {requestsPerMinute: 10, tokensPerDay: 7}}",
      "{role: 'chat', subjects: ['local']}, {role: 'chat', subjects: ['group:staff'], limits: {requestsPerMinute: 50}}, "
        + "{role: 'chat', subjects: ['user:alice', 'token:app'], limits: {requestsPerMinute: 3}}")
    #expect(LimitsParsingTests.own(policy).map(\.requestsPerMinute) == [3])
    #expect(LimitsParsingTests.own(policy).map(\.tokensPerDay) == [7])
    let bob = Caller.local(uid: 1001, name: "bob", groups: [(gid: 5, name: "staff")])
    #expect(LimitsParsingTests.own(policy, bob).map(\.requestsPerMinute) == [50])
    let carol = Caller.local(uid: 1002, name: "carol", groups: [])
    #expect(LimitsParsingTests.own(policy, carol).map(\.requestsPerMinute) == [10])
    #expect(LimitsParsingTests.own(policy, .token("app")).map(\.requestsPerMinute) == [3])
    // A binding that is added later leaves them as they are.
    let more = try policy.adding([Binding(role: "chat", subject: "token:other")])
    #expect(LimitsParsingTests.own(more, .token("app")).map(\.requestsPerMinute) == [3])
    #expect(LimitsParsingTests.own(more, .token("other")).map(\.requestsPerMinute) == [10])
  }

  @Test func oneBindingHasOneStatement() {
    #expect(throws: PolicyError.self) {
      try LimitsParsingTests.policy(
        "chat: {}",
        "{role: 'chat', subjects: ['local'], limits: {queue: 1}}, "
          + "{role: 'chat', subjects: ['local'], limits: {queue: 2}}")
    }
  }

  @Test func noGrantWithoutARoleThatAllowsIt() throws {
    let policy = try LimitsParsingTests.policy(
      "chat: {allow: [{verbs: ['infer'], resources: ['model:small-*']}]}", "{role: 'chat', subjects: ['local']}")
    #expect(policy.grants(LimitsParsingTests.alice, .infer, .model("big"), in: RequestContext()).isEmpty)
    #expect(policy.grants(LimitsParsingTests.alice, .infer, .model("small-1"), in: RequestContext()).count == 1)
  }
}
