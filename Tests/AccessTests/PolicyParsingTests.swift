import Testing

@testable import Access

@Suite struct PolicyParsingTests {
  private func error(_ text: String) -> String {
    do {
      _ = try Policy(parsing: Array(text.utf8))
      return "accepted"
    } catch { return "\(error)" }
  }

  @Test func readsRolesAndBindings() throws {
    let policy = try Policy(
      parsing: Array(
        """
        // a comment
        {version: 1,
         roles: {
           chat: {summary: 'asks', allow: [{verbs: ['infer'], resources: ['model:qwen-*']}]},
           ops: {inherits: ['chat'], allow: [{verbs: ['*'], resources: ['box:*']}]},
         },
         bindings: [{role: 'ops', subjects: ['group:ops', 'uid:0']}, {role: 'chat', subjects: ['local']}]}
        """.utf8))
    let root = Caller.local(uid: 0, name: "root", groups: [])
    #expect(policy.decide(root, .infer, .model("qwen-1")).isAllowed)
    #expect(policy.decide(root, .infer, .model("qwen-1")).text == "chat: chat allows infer on model:qwen-*")
    #expect(policy.decide(root, .syncRun, .all(for: .syncRun)).isAllowed)
    #expect(policy.roles(of: root) == ["chat", "ops"])
    let guest = Caller.local(uid: 5, name: "guest", groups: [])
    #expect(
      policy.decide(guest, .syncRun, .all(for: .syncRun)).text
        == "none of the roles of uid:5(guest) (chat) allows sync.run on box:*; skerry role bind ops user:guest")
    #expect(
      policy.decide(.token("app"), .infer, .model("other")).text
        == "token:app holds no role, so nothing allows infer on model:other; no role allows it: add {verbs: [\"infer\"], "
        + "resources: [\"model:other\"]} to a role, such as a new one, may-infer, and reload; then skerry role bind "
        + "may-infer token:app")
  }

  @Test func nothingIsAllowedByDefault() throws {
    let policy = try Policy(parsing: Array("{version: 1}".utf8))
    for verb in Verb.allCases {
      #expect(!policy.decide(.local(uid: 0, name: "root", groups: [(0, "root")]), verb, .all(for: verb)).isAllowed)
    }
    #expect(policy.administrators.isEmpty)
  }

  @Test(arguments: [
    ("{version: 1, rolls: {}}", "rolls: unknown key; allowed: version, roles, bindings, forbid, separation"),
    ("{roles: {}}", "the document: version is missing; allowed: version: 1"),
    ("{version: 2}", "version: 2 is out of range; allowed: a whole number from 1 to 1"),
    ("[]", "the document: wrong type, found an array; allowed: an object"),
    ("{version: 1, roles: {A: {}}}", "roles.A: no role name; allowed: \(Role.allowedNames)"),
    (
      "{version: 1, roles: {a: {alow: []}}}",
      "roles.a.alow: unknown key; allowed: summary, inherits, allow, forbid, limits, sharedLimits, keepContent"
    ),
    (
      "{version: 1, roles: {a: {allow: {}}}}",
      "roles.a.allow: wrong type, found an object; allowed: an array of {verbs, resources}"
    ),
    (
      "{version: 1, roles: {a: {allow: [{verbs: ['infer']}]}}}",
      "roles.a.allow[0]: resources is missing; allowed: {verbs: [...], resources: [...]}"
    ),
    (
      "{version: 1, roles: {a: {allow: [{verbs: ['infer'], resources: ['models:*']}]}}}",
      "roles.a.allow[0].resources[0]: \"models:*\" is no resource pattern; allowed: *, or KIND:NAME with stars in the "
        + "name and KIND one of model, role, token, audit, report, box"
    ),
    ("{version: 1, roles: {a: {inherits: ['b']}}}", "roles.a.inherits[0]: unknown role \"b\"; allowed: a"),
    (
      "{version: 1, roles: {a: {}}, bindings: [{role: 'b', subjects: []}, {role: 'b', subjects: ['local']}]}",
      "bindings[1].role: unknown role \"b\"; allowed: a"
    ),
    (
      "{version: 1, roles: {a: {}}, bindings: [{role: 'a', subjects: ['uid:-1']}]}",
      "bindings[0].subjects[0]: \"uid:-1\" is no subject; allowed: \(Subject.allowed)"
    ),
  ])
  func refusesAndSaysWhatIsAllowed(_ text: String, _ expected: String) {
    #expect(error(text) == expected)
  }

  @Test func namesAllVerbsWhenOneIsUnknown() {
    let text = error("{version: 1, roles: {a: {allow: [{verbs: ['infer', 'infr'], resources: ['*']}]}}}")
    #expect(text.hasPrefix("roles.a.allow[0].verbs[1]: unknown verb \"infr\"; allowed: infer, model.list"))
  }

  @Test func namesTheCircle() {
    let circle = error("{version: 1, roles: {a: {inherits: ['b']}, b: {inherits: ['c']}, c: {inherits: ['b']}}}")
    #expect(
      circle
        == "roles.b.inherits: roles inherit each other in a circle, b -> c -> b; allowed: inheritance without a circle")
    #expect(error("{version: 1, roles: {a: {inherits: ['a']}}}").contains("a -> a"))
  }

  @Test func syntaxErrorsSayWhere() {
    #expect(error("{version: 1,\n roles: {\n a: [}").contains("line 3"))
  }

  @Test(arguments: [
    "uid:0", "uid:4294967295", "user:alice", "gid:5", "group:skerry", "token:app1", "local",
  ])
  func subjectsReadBack(_ text: String) throws {
    #expect(try #require(Subject.parse(text)).description == text)
  }

  @Test(arguments: [
    "", "uid:", "uid:+1", "uid:4294967296", "user:", "user:a b", "user:a:b", "token:UP", "Local", "x:1",
  ])
  func badSubjectsAreRefused(_ text: String) {
    #expect(Subject.parse(text) == nil)
  }

  @Test func administratorsAreThoseWhoCanGiveAnyRole() throws {
    let policy = try Policy(
      parsing: Array(
        """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
          some: {allow: [{verbs: ['role.manage'], resources: ['role:chat']}]}},
         bindings: [{role: 'admin', subjects: ['uid:0']}, {role: 'some', subjects: ['uid:1']}]}
        """.utf8))
    #expect(policy.administrators == [Binding(role: "admin", subject: "uid:0")])
    #expect(policy.mayGrant(.local(uid: 0, name: nil, groups: []), "some"))
    #expect(!policy.mayGrant(.local(uid: 1, name: nil, groups: []), "admin"))
    #expect(!policy.mayGrant(.local(uid: 0, name: nil, groups: []), "missing"))
  }
}
