import Access
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

@Suite struct AccessControlTests {
  let scratch: Scratch
  let records = Records()
  let time = SettableTime()
  let root = Caller.local(uid: 0, name: "root", groups: [])

  init() throws { scratch = try Scratch() }

  final class SettableTime: Sendable {
    private let value = Mutex<Int64>(1_000_000)
    var now: Int64 {
      get { value.withLock { $0 } }
      set { value.withLock { $0 = newValue } }
    }
  }

  private func make(policy: String? = nil) async throws -> AccessControl {
    let file = scratch.path + "/roles.json5"
    if let policy { try DurableFile.replace(file, with: Array(policy.utf8)) }
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    return try await AccessControl(
      policyFile: file, database: database, now: { [time] in time.now }, audit: records.writer)
  }

  private func failure(_ body: () async throws -> Void) async -> AccessFailure? {
    do { try await body() } catch let error as AccessFailure { return error } catch { return nil }
    return nil
  }

  @Test func theShippedPolicyIsTheBuiltInOne() throws {
    let file = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let bytes = try #require(try DurableFile.read("/\(file)/policies/roles.json5"))
    let shipped = try Policy(parsing: bytes)
    let builtIn = try Policy(parsing: Array(AccessControl.builtInPolicy.utf8))
    #expect(shipped.roles == builtIn.roles)
    #expect(shipped.bindings == builtIn.bindings)
  }

  @Test func localUsersMayAskAndNoMore() async throws {
    let access = try await make()
    let user = Caller.local(uid: 4242, name: nil, groups: [])
    try await access.authorize(user, .infer, .model("smol"))
    let denied = await failure { try await access.authorize(user, .syncRun, .all(for: .syncRun)) }
    #expect(
      denied
        == .denied(
          reason: "none of the roles of uid:4242 (chat) allows sync.run on box:*",
          remedy: "skerry role bind operator uid:4242"))
    let decisions = records.of("decision")
    #expect(decisions.map { $0.fields["allowed"] } == [true, false])
    #expect(decisions.last?.fields["remedy"] == "skerry role bind operator uid:4242")
  }

  @Test func aRefusedNameDoesNotFillTheLog() async throws {
    let access = try await make()
    let user = access.localCaller(uid: 4242, gid: 4242)
    let long = String(repeating: "x", count: 500_000)
    guard case .denied = await failure({ try await access.bind(long, to: "local", by: user) }) else {
      Issue.record("not denied")
      return
    }
    guard case .denied = await failure({ try await access.authorize(user, .infer, .model(long)) }) else {
      Issue.record("not denied")
      return
    }
    let decisions = records.of("decision")
    #expect(decisions.count == 2)
    #expect(
      decisions.allSatisfy { JSONValue.object($0.fields).encoded().count < 1000 && $0.fields["allowed"] == false })
  }

  @Test func withoutARecordNothingIsAllowedAndNothingChanges() async throws {
    let access = try await make()
    records.fail(true)
    let refused = await failure { try await access.authorize(root, .infer, .model("smol")) }
    guard case .auditUnavailable = refused else {
      Issue.record("allowed without a record: \(String(describing: refused))")
      return
    }
    _ = await failure { try await access.bind("operator", to: "user:ann", by: root) }
    _ = await failure { _ = try await access.createToken("app", roles: ["chat"], expiresInSeconds: nil, by: root) }
    records.fail(false)
    #expect(!access.policy.bindings.contains(Binding(role: "operator", subject: "user:ann")))
    #expect(access.tokens().isEmpty)
  }

  @Test func bindingsLastAndCanBeTaken() async throws {
    let first = try await make()
    #expect(try await first.bind("operator", to: "user:ann", by: root))
    #expect(try await !first.bind("operator", to: "user:ann", by: root))
    let second = try await make()
    let ann = Caller.local(uid: 9, name: "ann", groups: [])
    try await second.authorize(ann, .syncRun, .all(for: .syncRun))
    try await second.unbind("operator", from: "user:ann", by: root)
    #expect(await failure { try await second.authorize(ann, .syncRun, .all(for: .syncRun)) } != nil)
    #expect(
      await failure { try await second.unbind("operator", from: "user:ann", by: root) }
        == .unknownBinding(role: "operator", subject: "user:ann"))
    #expect(records.of("role").map { $0.fields["action"] } == ["bind", "unbind"])
  }

  @Test func nobodyHandsOutWhatTheyDoNotHold() async throws {
    let access = try await make(
      policy: """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
          chat: {allow: [{verbs: ['infer'], resources: ['model:*']}]},
          clerk: {inherits: ['chat'], allow: [{verbs: ['role.manage'], resources: ['role:*']},
            {verbs: ['token.manage'], resources: ['token:*']}]}},
         bindings: [{role: 'admin', subjects: ['uid:0', 'token:boss']}, {role: 'clerk', subjects: ['uid:5']}]}
        """)
    let clerk = Caller.local(uid: 5, name: nil, groups: [])
    try await access.bind("chat", to: "uid:6", by: clerk)
    guard case .denied = await failure({ try await access.bind("admin", to: "uid:5", by: clerk) }) else {
      Issue.record("a clerk made an admin")
      return
    }
    // The file gives token:boss the role admin, so making that token is handing out admin.
    guard
      case .denied = await failure({
        _ = try await access.createToken("boss", roles: [], expiresInSeconds: nil, by: clerk)
      })
    else {
      Issue.record("a clerk made an admin's token")
      return
    }
    #expect(access.tokens().isEmpty)
    _ = try await access.createToken("app", roles: ["chat"], expiresInSeconds: nil, by: clerk)
  }

  @Test func theLastAdministratorStays() async throws {
    let access = try await make(
      policy: "{version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]}}, bindings: []}")
    // Nobody is admin yet: the first one comes from the file, as an editor's act.
    try DurableFile.replace(
      scratch.path + "/roles.json5",
      with: Array(
        """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]}},
         bindings: [{role: 'admin', subjects: ['uid:0']}]}
        """.utf8))
    try await access.reload()
    try await access.bind("admin", to: "user:daemon", by: root)
    #expect(
      await failure { try await access.unbind("admin", from: "uid:0", by: root) }
        == .boundByFile(role: "admin", subject: "uid:0", file: scratch.path + "/roles.json5"))
    // The file lets go of its admin; the stored one remains and is now the last.
    try DurableFile.replace(
      scratch.path + "/roles.json5",
      with: Array("{version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]}}}".utf8))
    try await access.reload()
    let daemon = Caller.local(uid: 1, name: "daemon", groups: [])
    #expect(
      await failure { try await access.unbind("admin", from: "user:daemon", by: daemon) }
        == .lastAdministrator(role: "admin", subject: "user:daemon"))
    // Two at once: only one of two administrators can go.
    try await access.bind("admin", to: "user:bin", by: daemon)
    let bin = Caller.local(uid: 2, name: "bin", groups: [])
    async let one = failure { try await access.unbind("admin", from: "user:bin", by: daemon) }
    async let other = failure { try await access.unbind("admin", from: "user:daemon", by: bin) }
    #expect(await [one, other].compactMap { $0 }.count == 1)
    #expect(access.policy.administrators.count == 1)
  }

  @Test func aBadFileChangesNothing() async throws {
    let access = try await make(policy: AccessControl.builtInPolicy)
    try DurableFile.replace(scratch.path + "/roles.json5", with: Array("{version: 1,\n roles: {x: {alow: []}}}".utf8))
    do {
      try await access.reload()
      Issue.record("accepted")
    } catch {
      #expect(
        "\(error)".hasSuffix(
          "roles.json5: roles.x.alow: unknown key; allowed: summary, inherits, allow, forbid, limits, sharedLimits, keepContent"
        ))
    }
    try await access.authorize(root, .syncRun, .all(for: .syncRun))
    #expect(records.of("role").last?.fields["outcome"] == "refused")
    try DurableFile.replace(scratch.path + "/roles.json5", with: Array("{version: 1}".utf8))
    await #expect(throws: ConfigurationError.self) { try await access.reload() }
    #expect(!access.policy.administrators.isEmpty)
  }

  /// A clock that is set back brings no ended token back, not even through a restart; the hub's signed time may.
  @Test func anEndedTokenStaysEndedWhateverTheClockShows() async throws {
    let access = try await make()
    let text = try await access.createToken("app", roles: ["chat"], expiresInSeconds: 60, by: root)
    let unused = try await access.createToken("unused", roles: ["chat"], expiresInSeconds: 60, by: root)
    _ = try await access.createToken("long", roles: [], expiresInSeconds: 10_000_000, by: root)
    time.now += 60
    await access.endTokens()
    time.now -= 60
    let again = try await make()
    for one in [access, again] {
      for token in [text, unused] {
        let refusal = await failure { _ = try await one.tokenCaller(authorization: "Bearer \(token)") }
        guard case .unknownCaller(let reason) = refusal else {
          Issue.record("a token that had ended was accepted")
          continue
        }
        #expect(reason.contains("expired"))
      }
    }
    // The hub says that it is later than the end: they stay ended. That it is earlier: they were ended too soon.
    try await again.reviveTokens(signed: 1_000_100)
    #expect(again.tokens().filter { $0.ended != nil }.map(\.name) == ["app", "unused"])
    try await again.reviveTokens(signed: 900_000)
    _ = try await again.tokenCaller(authorization: "Bearer \(text)")
    #expect(again.tokens().allSatisfy { $0.ended == nil })
    #expect(records.of("token").filter { $0.fields["action"] == "revive" }.count == 2)
    // Not while the box itself takes them for over.
    time.now += 60
    await again.endTokens()
    try await again.reviveTokens(signed: 900_000)
    #expect(again.tokens().filter { $0.ended != nil }.count == 2)
  }

  @Test func tokensAreShownOnceAndExpire() async throws {
    let access = try await make()
    let text = try await access.createToken("app", roles: ["chat"], expiresInSeconds: 60, by: root)
    #expect(text.hasPrefix("skt_") && text.utf8.count == 52)
    let stored = try #require(try DurableFile.read(scratch.path + "/agent.sqlite-wal"))
    #expect(!String(decoding: stored, as: UTF8.self).contains(text.dropFirst(4).prefix(20)))

    let caller = try await access.tokenCaller(authorization: "bearer \(text)")
    #expect(caller.label == "token:app")
    try await access.authorize(caller, .infer, .model("smol"))
    #expect(access.tokens().first?.lastUse == 1_000_000)
    #expect(
      await failure { _ = try await access.createToken("app", roles: [], expiresInSeconds: nil, by: root) }
        == .tokenExists("app"))

    // It lives in another process too, and ends on time.
    let again = try await make()
    _ = try await again.tokenCaller(authorization: "Bearer \(text)")
    time.now += 60
    guard
      case .unknownCaller(let reason) = await failure({
        _ = try await again.tokenCaller(authorization: "Bearer \(text)")
      })
    else {
      Issue.record("an expired token was accepted")
      return
    }
    #expect(reason.contains("expired"))
  }

  @Test func aTokenIsNarrowedBelowItsRolesAndStaysSo() async throws {
    let access = try await make()
    let scope = try Scope(words: ["infer:model:smol*", "token.manage"])
    let text = try await access.createToken("app", roles: ["admin"], scope: scope, expiresInSeconds: nil, by: root)
    for one in [access, try await make()] {
      let caller = try await one.tokenCaller(authorization: "Bearer \(text)")
      try await one.authorize(caller, .infer, .model("smollm2"))
      for (verb, resource) in [(Verb.infer, Resource.model("qwen")), (.auditRead, .all(for: .auditRead))] {
        guard case .denied(let reason, let remedy) = await failure({ try await one.authorize(caller, verb, resource) })
        else {
          Issue.record("\(verb) was allowed")
          continue
        }
        #expect(reason.contains("narrowed to infer:model:smol*, token.manage"))
        #expect(remedy.contains("--scope \(verb == .infer ? "infer:model:qwen" : "audit.read")"))
      }
      // It makes no token that may more than itself.
      guard
        case .denied = await failure({
          _ = try await one.createToken("wide", roles: ["admin"], expiresInSeconds: nil, by: caller)
        })
      else {
        Issue.record("a narrowed token made a wide one")
        continue
      }
    }
    #expect(records.of("token").first?.fields["scope"] == ["infer:model:smol*", "token.manage"])
  }

  /// A damaged scope leaves nothing; it never widens.
  @Test(arguments: ["", "[]", "[1]", "{}", "[\"infre\"]", "null"]) func aDamagedScopeLeavesNothing(_ stored: String)
    async throws
  {
    let text = try await make().createToken(
      "app", roles: ["admin"], scope: try Scope(words: ["infer"]), expiresInSeconds: nil, by: root)
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    try await database.write { try $0.execute("UPDATE tokens SET scope = ?", .text(stored)) }
    database.close()
    let access = try await make()
    let caller = try await access.tokenCaller(authorization: "Bearer \(text)")
    for verb in Verb.allCases {
      #expect(await failure { try await access.authorize(caller, verb, .all(for: verb)) } != nil)
    }
  }

  @Test func revokingTakesTheRolesToo() async throws {
    let access = try await make()
    let text = try await access.createToken("app", roles: ["chat", "auditor"], expiresInSeconds: nil, by: root)
    try await access.revokeToken("app", by: root)
    #expect(await failure { _ = try await access.tokenCaller(authorization: "Bearer \(text)") } != nil)
    let next = try await access.createToken("app", roles: [], expiresInSeconds: nil, by: root)
    let caller = try await access.tokenCaller(authorization: "Bearer \(next)")
    #expect(await failure { try await access.authorize(caller, .infer, .model("smol")) } != nil)
    #expect(await failure { try await access.revokeToken("none", by: root) } == .unknownToken("none"))
  }

  @Test(arguments: [nil, "", "Bearer", "Basic abc", "Bearer skt_", "Bearer skt_0", "Bearer nonsense"])
  func strangersAreUnknown(_ header: String?) async throws {
    let access = try await make()
    guard case .unknownCaller = await failure({ _ = try await access.tokenCaller(authorization: header) }) else {
      Issue.record("known")
      return
    }
    #expect(records.of("decision").count == 1)
  }

  @Test func strangersDoNotFloodTheLog() async throws {
    let access = try await make()
    for _ in 0..<200 { _ = await failure { _ = try await access.tokenCaller(authorization: "Bearer x") } }
    #expect((1...3).contains(records.of("decision").count))
  }

  @Test func everyCutTokenIsTold() throws {
    let token = BearerToken()
    #expect(BearerToken(parsing: token.text) == token)
    for length in 0..<token.text.count { #expect(BearerToken(parsing: String(token.text.prefix(length))) == nil) }
    for at in 4..<52 {
      var bytes = Array(token.text.utf8)
      bytes[at] = bytes[at] == UInt8(ascii: "0") ? UInt8(ascii: "1") : UInt8(ascii: "0")
      #expect(BearerToken(parsing: String(decoding: bytes, as: UTF8.self)) == nil)
    }
  }

  /// Decisions of a real log, tried on another policy: those that would change, with their number, and nothing changes.
  @Test func aPolicyIsTriedOnWhatWasDecided() async throws {
    let day: Int64 = 86_400
    time.now = 1_800_000_000
    let log = try AuditLog(
      directory: scratch.path + "/audit", key: SigningKey.generate(), origin: "box",
      milliseconds: { [time] in time.now * 1000 })
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let access = try await AccessControl(
      policyFile: scratch.path + "/roles.json5", database: database, now: { [time] in time.now },
      audit: { kind, actor, fields in
        try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
      })
    let user = Caller.local(uid: 4_000_000_001, name: nil, groups: [])
    _ = try await access.createToken("app", roles: ["chat"], expiresInSeconds: nil, by: root)
    try await access.authorize(user, .infer, .model("old"))
    time.now += 30 * day
    for _ in 0..<5 { try await access.authorize(user, .infer, .model("smol")) }
    try await access.authorize(.token("app"), .infer, .model("smol"))
    _ = await failure { try await access.authorize(user, .syncRun, .all(for: .syncRun)) }
    let before = log.head()

    let next = """
      {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
        chat: {allow: [{verbs: ['infer'], resources: ['model:*']}]},
        sync: {allow: [{verbs: ['sync.run'], resources: ['box:*']}]}},
       bindings: [{role: 'admin', subjects: ['uid:0']}, {role: 'sync', subjects: ['local']}]}
      """
    let tried = try access.simulate(Array(next.utf8), days: 7, log: log)
    #expect(
      tried.changes.map { "\($0.caller) \($0.verb.rawValue) \($0.resource) \($0.wasAllowed) \($0.times)" } == [
        "uid:4000000001 infer model:smol true 5", "uid:4000000001 sync.run box:* false 1",
      ])
    // The token's binding was made through the agent and stays: nothing of it changes.
    #expect(tried.changes.allSatisfy { $0.isAllowedNow == $0.wasAllowed })
    #expect(try access.simulate(Array(next.utf8), days: 40, log: log).changes.first?.times == 5)
    #expect(try access.simulate(Array(next.utf8), days: 40, log: log).changes.contains { $0.resource == .model("old") })
    #expect(try access.simulate(Array(AccessControl.builtInPolicy.utf8), days: 40, log: log).changes.isEmpty)
    #expect(throws: ConfigurationError.self) {
      try access.simulate(Array("{version: 1, rols: {}}".utf8), days: 1, log: log)
    }
    #expect(log.head() == before)
    try await access.authorize(user, .infer, .model("smol"))
  }
}
