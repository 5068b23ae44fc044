import Access
import Fleet
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

@Suite struct BreakGlassTests {
  let scratch: Scratch
  let records = Records()
  let clock = TwoClocks()
  let codes = [BreakGlassCode(), BreakGlassCode(), BreakGlassCode()]
  let ann = Caller.local(uid: 1001, name: "ann", groups: [])
  let bob = Caller.local(uid: 1002, name: "bob", groups: [])
  let why = "the shop is locked out, ticket 4711"

  final class TwoClocks: Sendable {
    private let state = Mutex<(wall: Int64, monotonic: Duration)>((1_000_000, .seconds(50)))
    var wall: Int64 {
      get { state.withLock { $0.wall } }
      set { state.withLock { $0.wall = newValue } }
    }
    var monotonic: Duration {
      get { state.withLock { $0.monotonic } }
      set { state.withLock { $0.monotonic = newValue } }
    }
  }

  init() throws { scratch = try Scratch() }

  /// One grant for one person, and one for two.
  private func grants(role: String = "admin", expires: Int64 = 2_000_000) -> [BreakGlassGrant] {
    [[codes[0]], [codes[1], codes[2]]].enumerated().map { index, codes in
      BreakGlassGrant(
        id: "000000000000000\(index)", codes: codes.map(\.digest), role: role, seconds: 900, issued: 1,
        expires: expires, issuedBy: "operator:first")
    }
  }

  private func make(
    _ grants: [BreakGlassGrant]? = nil, maxSeconds: Int = 3600
  ) async throws -> (access: AccessControl, breakGlass: BreakGlass, database: Database) {
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let wall: @Sendable () -> Int64 = { [clock] in clock.wall }
    let access = try await AccessControl(
      policyFile: scratch.path + "/roles.json5", database: database, now: wall,
      monotonic: { [clock] in clock.monotonic }, audit: records.writer)
    let known = grants ?? self.grants()
    return (
      access,
      BreakGlass(access: access, database: database, maxSeconds: maxSeconds, now: wall) { known }, database
    )
  }

  private func pass(_ seconds: Int64) { clock.monotonic += .seconds(seconds) }

  private func may(_ access: AccessControl, _ caller: Caller, _ verb: Verb = .auditRead) async -> Bool {
    do { try await access.authorize(caller, verb, .all(for: verb)) } catch { return false }
    return true
  }

  private func outbox(_ database: Database) async throws -> [JSONValue] {
    try await SyncTables(database: database).batch(limit: 10, bytes: 1 << 20).map(\.body)
  }

  @Test func aCodeOpensOnceForAShortTime() async throws {
    let (access, breakGlass, database) = try await make()
    #expect(await !may(access, ann))
    let outcome = try await breakGlass.open("\(codes[0])".lowercased(), reason: why, caller: ann, uid: 1001)
    #expect(outcome == .open(grants()[0], seconds: 900))
    #expect(await may(access, ann))
    #expect(await !may(access, bob), "the door is the caller's own")
    #expect(records.of("decision").last { $0.fields["allowed"] == true }?.fields["breakGlass"] == "0000000000000000")
    let opened = try #require(records.of("break-glass").first)
    #expect(opened.fields["event"] == "opened" && opened.fields["why"]?.string == why)
    #expect(opened.fields["persons"] == ["uid:1001(ann)"] && opened.actor == "uid:1001(ann)")
    // What everybody may do is not put down to it.
    try await access.authorize(ann, .infer, .model("m"))
    #expect(records.of("decision").last?.fields["breakGlass"] == nil)

    await #expect(throws: BreakGlassFailure.used(id: "0000000000000000")) {
      try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    }
    // A wall clock that is set back keeps no door open, and one that leaps shuts none.
    clock.wall += 400_000_000
    pass(899)
    #expect(await may(access, ann))
    clock.wall = 5
    pass(1)
    #expect(await !may(access, ann))
    #expect(access.loans.isEmpty)
    // The hub hears of it before everything else.
    let told = try await outbox(database)
    #expect(told.first?["did"] == "opened" && told.first?["reason"]?.string == why && told.count == 1)
  }

  @Test func twoPersonsAreTwoUsersWithTwoCodes() async throws {
    let (access, breakGlass, _) = try await make()
    let id = "0000000000000001"
    #expect(
      try await breakGlass.open("\(codes[1])", reason: why, caller: ann, uid: 1001)
        == .waiting(grants()[1], seconds: 600))
    #expect(await !may(access, ann))
    await #expect(throws: BreakGlassFailure.samePerson(id: id)) {
      try await breakGlass.open("\(codes[2])", reason: why, caller: ann, uid: 1001)
    }
    await #expect(throws: BreakGlassFailure.sameCode(id: id)) {
      try await breakGlass.open("\(codes[1])", reason: why, caller: bob, uid: 1002)
    }
    // The first one's word does not last for ever.
    pass(600)
    #expect(
      try await breakGlass.open("\(codes[2])", reason: why, caller: bob, uid: 1002)
        == .waiting(grants()[1], seconds: 600))
    #expect(try await breakGlass.standings().map(\.state) == [.ready, .waiting])
    _ = try await breakGlass.open("\(codes[1])", reason: "agreed with bob", caller: ann, uid: 1001)
    #expect(await may(access, bob))
    #expect(await !may(access, ann), "who agrees gets nothing")
    let opened = try #require(records.of("break-glass").last)
    #expect(opened.fields["persons"] == ["uid:1002(bob)", "uid:1001(ann)"])
    #expect(opened.fields["why"]?.string == "\(why) / agreed with bob")
    for code in codes[1...] {
      await #expect(throws: BreakGlassFailure.used(id: id)) {
        try await breakGlass.open("\(code)", reason: why, caller: ann, uid: 1001)
      }
    }
  }

  /// Separation of duty is asked of the one to whom the role goes, and again when it goes.
  @Test func theFirstOfTwoIsTheOneWhoMustBeFit() async throws {
    let file = scratch.path + "/roles.json5"
    func policy(auditor: String) throws {
      try DurableFile.replace(
        file,
        with: Array(
          """
          {version: 1, roles: {admin: {allow: [{verbs: ["*"], resources: ["*"]}]},
             auditor: {allow: [{verbs: ["audit.read"], resources: ["audit:*"]}]}},
           separation: {static: {apart: {roles: ["admin", "auditor"]}}},
           bindings: [{role: "admin", subjects: ["uid:0"]}, {role: "auditor", subjects: ["\(auditor)"]}]}
          """.utf8))
    }
    let id = "0000000000000001"
    func isKeptApart(
      _ breakGlass: BreakGlass, _ code: Int, _ caller: Caller, _ uid: UInt32, from borrower: String
    ) async throws {
      let failure = await #expect(throws: BreakGlassFailure.self) {
        try await breakGlass.open("\(codes[code])", reason: why, caller: caller, uid: uid)
      }
      guard case .cannotLend(id, let reason) = failure else {
        Issue.record("\(String(describing: failure))")
        return
      }
      #expect(reason.contains("separation.static.apart") && reason.contains(borrower))
    }
    try policy(auditor: "uid:1002")
    let (access, breakGlass, database) = try await make()
    // As the first one an auditor is refused at once, and waits for nobody.
    try await isKeptApart(breakGlass, 1, bob, 1002, from: "uid:1002")
    #expect(try await breakGlass.standings().map(\.state) == [.ready, .ready])
    #expect(
      try await breakGlass.open("\(codes[1])", reason: why, caller: ann, uid: 1001)
        == .waiting(grants()[1], seconds: 600))
    // The first one becomes an auditor: nothing is opened, and no code is used up.
    try policy(auditor: "uid:1001")
    try await access.reload()
    try await isKeptApart(breakGlass, 2, bob, 1002, from: "uid:1001")
    #expect(access.loans.isEmpty)
    #expect(try await outbox(database).isEmpty)
    #expect(try await breakGlass.standings().map(\.state) == [.ready, .ready])
    #expect(!records.of("break-glass").contains { $0.fields["event"] == "opened" })
    // An auditor may agree: nothing is lent to them.
    _ = try await breakGlass.open("\(codes[2])", reason: why, caller: bob, uid: 1002)
    #expect(
      try await breakGlass.open("\(codes[1])", reason: why, caller: ann, uid: 1001) == .open(grants()[1], seconds: 900))
    #expect(access.loans.map(\.label) == ["uid:1002(bob)"])
    try await access.authorize(bob, .auditRead, .all(for: .auditRead))
  }

  @Test func withoutADurableRecordNothingOpensAndTheCodeStaysGood() async throws {
    let (access, breakGlass, database) = try await make()
    records.fail(true)
    for _ in 0..<2 {
      await #expect(throws: AccessFailure.self) {
        try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
      }
    }
    #expect(access.loans.isEmpty)
    #expect(try await outbox(database).isEmpty)
    records.fail(false)
    // The disk refuses the mark that it is used: nothing opens, either.
    try await database.write { connection in
      try connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON break_glass BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    }
    await #expect(throws: (any Error).self) {
      try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    }
    #expect(access.loans.isEmpty)
    #expect(records.of("break-glass").map { $0.fields["event"] } == ["opened", "failed"])
    #expect(try await outbox(database).isEmpty)
    try await database.write { try $0.execute("DROP TRIGGER full") }
    _ = try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    #expect(await may(access, ann))
  }

  /// The door is open, and the log can't be written: nothing is allowed, whatever the lent role says.
  @Test func itDoesNotSwitchOffTheAudit() async throws {
    let (access, breakGlass, _) = try await make()
    _ = try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    records.fail(true)
    for verb in Verb.allCases {
      do {
        try await access.authorize(ann, verb, .model("a model or what else"))
        Issue.record("\(verb) was allowed without a record")
      } catch {
        guard case .auditUnavailable = error else {
          Issue.record("\(error)")
          continue
        }
      }
    }
  }

  /// What is lent is not handed on, or the short time would be none.
  @Test func whatIsLentIsNotHandedOn() async throws {
    let (access, breakGlass, _) = try await make()
    _ = try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    for role in ["admin", "operator", "auditor"] {
      do {
        try await access.bind(role, to: "uid:1001", by: ann)
        Issue.record("\(role) was handed on")
      } catch let error as AccessFailure {
        guard case .denied = error else {
          Issue.record("\(error)")
          continue
        }
      }
    }
    await #expect(throws: AccessFailure.self) {
      try await access.createToken("mine", roles: ["admin"], expiresInSeconds: nil, by: ann)
    }
    // What everybody holds may be given on as before; and a token that fell into false hands can be revoked.
    try await access.bind("chat", to: "uid:1003", by: ann)
    let root = Caller.local(uid: 0, name: "root", groups: [])
    _ = try await access.createToken("lost", roles: ["admin"], expiresInSeconds: nil, by: root)
    try await access.revokeToken("lost", by: ann)
    #expect(access.tokens().isEmpty)
  }

  @Test func aRestartShutsTheDoorAndKeepsTheCodeUsed() async throws {
    let (_, breakGlass, _) = try await make()
    _ = try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    let (access, again, database) = try await make()
    #expect(await !may(access, ann))
    await #expect(throws: BreakGlassFailure.used(id: "0000000000000000")) {
      try await again.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    }
    for _ in 0..<2 { await again.settle("the agent ended before it was closed") }
    #expect(records.of("break-glass").filter { $0.fields["event"] == "closed" }.count == 1)
    #expect(try await outbox(database).compactMap { $0["did"]?.string }.sorted() == ["closed", "opened"])
  }

  @Test func itCanBeGivenBackBeforeItsTime() async throws {
    let (access, breakGlass, _) = try await make()
    await #expect(throws: BreakGlassFailure.notOpen) { try await breakGlass.close(uid: 1001, caller: ann) }
    _ = try await breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    await #expect(throws: BreakGlassFailure.notOpen) { try await breakGlass.close(uid: 1002, caller: bob) }
    await #expect(throws: BreakGlassFailure.notOpen) { try await breakGlass.close(uid: nil, caller: .token("app")) }
    #expect(try await breakGlass.close(uid: 1001, caller: ann) == ["0000000000000000"])
    #expect(await !may(access, ann))
    #expect(try await breakGlass.standings().map(\.state) == [.used, .ready])
  }

  @Test func whatIsRefusedOpensNothingAndGoesOnRecord() async throws {
    let refusals: [(String, String, UInt32?, BreakGlassFailure)] = [
      ("\(codes[0])", "short", 1001, .badReason), ("\(codes[0])", "two\nlines of a reason", 1001, .badReason),
      ("\(codes[0])", String(repeating: "x", count: 501), 1001, .badReason),
      ("\(codes[0])", "hidden \u{202E}direction", 1001, .badReason), ("\(codes[0])", why, nil, .notLocal),
      ("SKB-1", why, 1001, .noCode), ("\(BreakGlassCode())", why, 1001, .unknownCode),
    ]
    let (access, breakGlass, _) = try await make()
    for (code, reason, uid, failure) in refusals {
      await #expect(throws: failure) { try await breakGlass.open(code, reason: reason, caller: ann, uid: uid) }
    }
    await #expect(throws: BreakGlassFailure.expired(id: "0000000000000000")) {
      try await make(grants(expires: 1_000_000)).breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    }
    await #expect(throws: BreakGlassFailure.off) {
      try await make(maxSeconds: 0).breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    }
    await #expect(
      throws: BreakGlassFailure.cannotLend(
        id: "0000000000000000", reason: "there is no role \"emperor\"; there are admin, auditor, chat, operator")
    ) {
      try await make(grants(role: "emperor")).breakGlass.open("\(codes[0])", reason: why, caller: ann, uid: 1001)
    }
    #expect(records.of("break-glass").allSatisfy { $0.fields["event"] == "refused" })
    #expect(records.of("break-glass").count >= 7)
    #expect(access.loans.isEmpty)
    // The box says how long at most.
    let short = try await make(maxSeconds: 60).breakGlass
    #expect(
      try await short.open("\(codes[0])", reason: why, caller: ann, uid: 1001) == .open(grants()[0], seconds: 60))
  }

  /// A code that many give at once opens one door.
  @Test func aRaceOpensOneDoor() async throws {
    let (access, breakGlass, _) = try await make()
    let opened = await withTaskGroup(of: Bool.self) { group in
      for uid in UInt32(2000)..<2032 {
        group.addTask { [codes, why] in
          let caller = Caller.local(uid: uid, name: nil, groups: [])
          return (try? await breakGlass.open("\(codes[0])", reason: why, caller: caller, uid: uid)) != nil
        }
      }
      return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
    #expect(opened == 1 && access.loans.count == 1)
  }
}
