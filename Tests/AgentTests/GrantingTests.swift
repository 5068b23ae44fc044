import Access
import Storage
import Testing
import Trust

@testable import Agent

/// What no binding and no token may bring about, however they come together.
@Suite struct GrantingTests {
  let scratch: Scratch
  let records = Records()
  let root = Caller.local(uid: 0, name: "root", groups: [])

  init() throws { scratch = try Scratch() }

  private func make(_ policy: String) async throws -> AccessControl {
    let file = scratch.path + "/roles.json5"
    try DurableFile.replace(file, with: Array(policy.utf8))
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    return try await AccessControl(policyFile: file, database: database, audit: records.writer)
  }

  private func failure(_ body: () async throws -> Void) async -> AccessFailure? {
    do { try await body() } catch let error as AccessFailure { return error } catch { return nil }
    return nil
  }

  private static let policy = """
    {version: 1,
     roles: {
       admin: {allow: [{verbs: ['*'], resources: ['*']}]},
       auditor: {allow: [{verbs: ['audit.read'], resources: ['audit:*']}]},
       keeper: {allow: [{verbs: ['token.manage'], resources: ['token:*']}]},
       chief: {inherits: ['keeper'], allow: [{verbs: ['sync.run'], resources: ['box:*']}]},
       guest: {forbid: [{verbs: ['role.manage'], resources: ['*']}]}},
     separation: {static: {'keys-and-audit': {roles: ['keeper', 'auditor']}}},
     bindings: [{role: 'admin', subjects: ['uid:0']}, {role: 'auditor', subjects: ['group:audit', 'user:ann']}]}
    """

  @Test func theLastAdministratorIsNotBoundToWhatTakesItAway() async throws {
    let access = try await make(Self.policy)
    // What a role forbids outweighs what another allows: bound to it, the only administrator is none any more.
    // By whatever name, and through a group.
    for subject in ["uid:0", "local", "user:root", "gid:0", "group:root"] {
      let refused = await failure { try await access.bind("guest", to: subject, by: root) }
      #expect(refused == .lastAdministrator(role: "guest", subject: subject))
    }
    #expect(!access.policy.administrators.isEmpty)
    #expect(!records.of("role").contains { $0.fields["action"] == "bind" })
    // With another administrator it is their own affair.
    try await access.bind("admin", to: "user:daemon", by: root)
    #expect(try await access.bind("guest", to: "uid:0", by: root))
    #expect(access.policy.administrators.map(\.subject) == ["user:daemon"])
  }

  /// Who may give one role away does not take all roles from the administrator with it.
  @Test func aHelperTakesNothingFromTheLastAdministrator() async throws {
    let access = try await make(
      Self.policy
        .replacing("roles: {", with: "roles: {helper: {allow: [{verbs: ['role.manage'], resources: ['role:guest']}]},")
        .replacing("bindings: [", with: "bindings: [{role: 'helper', subjects: ['uid:4000000005']},"))
    let helper = Caller.local(uid: 4_000_000_005, name: nil, groups: [])
    for subject in ["user:root", "gid:0", "group:root"] {
      let refused = await failure { try await access.bind("guest", to: subject, by: helper) }
      #expect(refused == .lastAdministrator(role: "guest", subject: subject))
    }
    #expect(try await access.bind("guest", to: "user:daemon", by: helper))
    #expect(access.allows(root, .roleManage, .all(for: .roleManage)))
  }

  @Test func whatIsSeparateDoesNotTakeTheLastAdministratorAway() async throws {
    let access = try await make(
      Self.policy.replacing("{roles: ['keeper', 'auditor']}", with: "{roles: ['admin', 'auditor']}"))
    for subject in ["gid:0", "group:root"] {
      let refused = await failure { try await access.bind("auditor", to: subject, by: root) }
      #expect(refused == .lastAdministrator(role: "auditor", subject: subject))
    }
    // Roles of which one at a time may be active take nothing away: an administrator chooses.
    let chosen = try await make(
      Self.policy.replacing(
        "static: {'keys-and-audit': {roles: ['keeper', 'auditor']}}",
        with: "dynamic: {'keys-and-audit': {roles: ['admin', 'auditor']}}"))
    #expect(try await chosen.bind("auditor", to: "gid:0", by: root))
  }

  /// A binding to nobody lets nobody mend the policy.
  @Test func whoIsNotThereIsNoAdministrator() async throws {
    let guests = "{role: 'guest', subjects: ['group:guests']}"
    let access = try await make(Self.policy.replacing("bindings: [", with: "bindings: [\(guests), "))
    _ = try await access.createToken(
      "narrow", roles: [], scope: Scope(words: ["role.manage:role:g*", "infer"]), expiresInSeconds: nil, by: root)
    for subject in ["user:nobody-of-this-name", "group:no-such-group", "token:none", "token:narrow"] {
      try await access.bind("admin", to: subject, by: root)
      let refused = await failure { try await access.bind("guest", to: "uid:0", by: root) }
      #expect(refused == .lastAdministrator(role: "guest", subject: "uid:0"), "\(subject)")
    }
    // Neither by a reload.
    try DurableFile.replace(
      scratch.path + "/roles.json5",
      with: Array(Self.policy.replacing("subjects: ['uid:0']", with: "subjects: ['group:no-such-group']").utf8))
    await #expect(throws: ConfigurationError.self) { try await access.reload() }
    // A token that works is somebody; the last one stays.
    _ = try await access.createToken("whole", roles: ["admin"], expiresInSeconds: nil, by: root)
    #expect(try await access.bind("guest", to: "uid:0", by: root))
    let refused = await failure { try await access.revokeToken("whole", by: .token("whole")) }
    #expect(refused == .lastAdministrator(role: "admin", subject: "token:whole"))
  }

  @Test func nobodyHandsOutMoreThanTheirOwnLimits() async throws {
    let access = try await make(
      """
      {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
         chat: {allow: [{verbs: ['infer'], resources: ['model:*']}]},
         small: {inherits: ['chat'], limits: {requestsPerMinute: 5}},
         clerk: {allow: [{verbs: ['role.manage'], resources: ['role:*']},
           {verbs: ['token.manage'], resources: ['token:*']}]}},
       bindings: [{role: 'admin', subjects: ['uid:0']}, {role: 'clerk', subjects: ['group:staff']},
         {role: 'chat', subjects: ['group:staff', 'user:few'], limits: {requestsPerMinute: 5}}]}
      """)
    let ann = Caller.local(uid: 4_000_000_009, name: "ann", groups: [(gid: 4_000_000_009, name: "staff")])
    for subject in ["user:ann", "uid:4000000009", "user:friend", "group:friends"] {
      guard case .denied(let reason, _) = await failure({ try await access.bind("chat", to: subject, by: ann) }) else {
        Issue.record("\(subject) was given more")
        continue
      }
      #expect(reason.contains("requestsPerMinute"))
    }
    guard
      case .denied = await failure({
        _ = try await access.createToken("more", roles: ["chat"], expiresInSeconds: nil, by: ann)
      })
    else {
      Issue.record("a token was given more")
      return
    }
    #expect(access.policy.grants(ann, .infer, .model("m"), in: access.context(ann)).map(\.own.requestsPerMinute) == [5])
    // What is no more they may give; the administrator may give it whole.
    try await access.bind("small", to: "user:friend", by: ann)
    _ = try await access.createToken("same", roles: ["small"], expiresInSeconds: nil, by: ann)
    try await access.bind("chat", to: "user:ann", by: root)
    try await access.bind("chat", to: "user:friend", by: ann)
  }

  /// The group comes later than the policy on many boxes.
  @Test func aPolicyWithAnEmptyGroupOfAdministratorsLoads() async throws {
    let text = Self.policy.replacing("subjects: ['uid:0']", with: "subjects: ['group:no-such-group', 'token:boss']")
    let access = try await make(text)
    try await access.reload()
    #expect(access.policy.administrators.count == 2)
  }

  @Test func aBindingDoesNotBringTogetherWhatIsSeparate() async throws {
    let access = try await make(Self.policy)
    // Directly, and through what a role inherits.
    for role in ["keeper", "chief"] {
      guard case .separated(let why) = await failure({ try await access.bind(role, to: "user:ann", by: root) }) else {
        Issue.record("\(role) was given to an auditor")
        continue
      }
      #expect(why.contains("keys-and-audit"))
    }
    #expect(try await access.bind("keeper", to: "user:bob", by: root))
    guard case .separated = await failure({ try await access.bind("auditor", to: "user:bob", by: root) }) else {
      Issue.record("an auditor keeps tokens")
      return
    }
    #expect(records.of("role").filter { $0.fields["action"] == "bind" }.count == 1)
  }

  @Test func aTokenDoesNotBringTogetherWhatIsSeparate() async throws {
    let access = try await make(Self.policy)
    let refused = await failure {
      _ = try await access.createToken("both", roles: ["auditor", "chief"], expiresInSeconds: nil, by: root)
    }
    guard case .separated = refused else {
      Issue.record("\(String(describing: refused))")
      return
    }
    #expect(access.tokens().isEmpty)
    #expect(records.of("token").isEmpty)
    _ = try await access.createToken("one", roles: ["auditor"], expiresInSeconds: nil, by: root)
    guard case .separated = await failure({ try await access.bind("chief", to: "token:one", by: root) }) else {
      Issue.record("a token was given both")
      return
    }
  }

  /// Two bindings that are each allowed, made at the same time, must not be both.
  @Test func aRaceBringsNothingTogether() async throws {
    let access = try await make(Self.policy)
    for number in 0..<20 {
      let subject = "user:u\(number)"
      async let one = failure { try await access.bind("auditor", to: subject, by: root) }
      async let other = failure { try await access.bind("keeper", to: subject, by: root) }
      #expect(await [one, other].compactMap { $0 }.count == 1)
    }
  }
}
