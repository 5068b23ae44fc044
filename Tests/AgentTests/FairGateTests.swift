import Access
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

@Suite struct FairGateTests {
  let scratch: Scratch
  let records = Records()
  let time = ManualTime()
  let key = InferenceService.Key(sha256: Digest(of: [1]), kind: .generate)
  let other = InferenceService.Key(sha256: Digest(of: [2]), kind: .generate)

  init() throws { scratch = try Scratch() }

  final class ManualTime: Sendable {
    private let value = Mutex<Double>(1000)
    var now: Double {
      get { value.withLock { $0 } }
      set { value.withLock { $0 = newValue } }
    }
  }

  private func make(_ limits: String = "", queue: Int = 32, management: Int = 100) async throws -> FairGate {
    let file = scratch.path + "/roles.json5"
    let policy = """
      {version: 1, roles: {chat: {allow: [{verbs: ["infer"], resources: ["model:*"]}], \(limits)}},
       bindings: [{role: "chat", subjects: ["token:a", "token:b", "token:c"]}]}
      """
    try DurableFile.replace(file, with: Array(policy.utf8))
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let access = try await AccessControl(policyFile: file, database: database, audit: records.writer)
    return FairGate(
      access: access, settings: FairGate.Settings(queue: queue, managementPerMinute: management),
      denials: access.repetitions, counters: APICounters()
    ) { [time] in Limiter.Now(seconds: time.now, lasting: time.now) }
  }

  private func admit(_ gate: FairGate, _ name: String, tokens: Int = 10) async throws -> Ticket {
    try await gate.admit(.token(name), .model("m"), tokens: tokens)
  }

  /// A request that waits for its turn; its ticket, once it has it.
  private func queued(_ gate: FairGate, _ name: String, slots: Int = 1) -> Task<Ticket, any Error> {
    Task {
      let ticket = try await admit(gate, name)
      try await gate.enter(ticket, key, slots: slots)
      return ticket
    }
  }

  /// Those of one caller are served in the order in which they came.
  private func line(_ gate: FairGate, _ names: [String]) async throws -> [Task<Ticket, any Error>] {
    var waiting: [Task<Ticket, any Error>] = []
    for name in names {
      waiting.append(queued(gate, name))
      try await wait(gate, for: waiting.count)
    }
    return waiting
  }

  private func wait(_ gate: FairGate, for count: Int) async throws {
    for _ in 0..<2000 where gate.lanes().first?.waiting ?? 0 != count { try await Task.sleep(for: .milliseconds(1)) }
    #expect(gate.lanes().first?.waiting == count)
  }

  @Test func aFreeEngineTakesAtOnceAndEndsOnce() async throws {
    let gate = try await make()
    let ticket = try await admit(gate, "a")
    try await gate.enter(ticket, key, slots: 1)
    ticket.end(tokens: 5)
    ticket.end(tokens: 5)
    let next = try await admit(gate, "b")
    try await gate.enter(next, key, slots: 1)
    #expect(gate.lanes().map(\.waiting) == [0])
  }

  @Test func whoHasTheirMinuteUsedUpIsToldWhenToComeBackAndThatIsTrue() async throws {
    let gate = try await make("limits: {requestsPerMinute: 3}")
    for _ in 0..<3 { try await admit(gate, "a").end(tokens: 1) }
    var failures: [APIFailure] = []
    for _ in 0..<50 {
      do { _ = try await admit(gate, "a") } catch let failure as APIFailure { failures.append(failure) }
    }
    #expect(failures.count == 50)
    let failure = try #require(failures.first)
    #expect(failure.status == 429 && failure.code == "rate_limited" && failure.retryAfter == 20)
    #expect(failure.message.contains("requestsPerMinute 3") && failure.message.contains("role chat"))
    #expect(failure.message.contains("token:a"))
    // Fifty refusals are one record, and one more that says how many.
    #expect(records.of("limit").count == 1)
    #expect(records.of("limit").first?.fields["limit"] == "requestsPerMinute")
    await gate.denials.flush()
    #expect(records.of("limit").map { $0.fields["repeated"] } == [nil, 49])
    _ = try await admit(gate, "b")
    time.now += 19
    await #expect(throws: APIFailure.self) { try await admit(gate, "a") }
    time.now += 1
    _ = try await admit(gate, "a")
  }

  /// Who may make variants as they like has no more of the model for it.
  @Test func aVariantHasItsModelsLimitsToo() async throws {
    let file = scratch.path + "/roles.json5"
    let policy = """
      {version: 1, roles: {
         big: {allow: [{verbs: ["infer"], resources: ["model:big"]}], limits: {requestsPerMinute: 2}},
         lab: {allow: [{verbs: ["infer", "model.create"], resources: ["model:my-*"]}]}},
       bindings: [{role: "big", subjects: ["token:a"]}, {role: "lab", subjects: ["token:a"]}]}
      """
    let gate = try await make()
    try DurableFile.replace(file, with: Array(policy.utf8))
    try await gate.access.reload()
    for number in 0..<2 {
      try await gate.admit(.token("a"), .model("my-\(number)"), base: .model("big"), tokens: 1).end(tokens: 1)
    }
    let failure = await #expect(throws: APIFailure.self) {
      try await gate.admit(.token("a"), .model("my-3"), base: .model("big"), tokens: 1)
    }
    #expect(failure?.message.contains("requestsPerMinute 2, by role big") == true)
    await #expect(throws: APIFailure.self) { try await gate.admit(.token("a"), .model("big"), tokens: 1) }
  }

  @Test func aTicketThatIsLetGoGivesEverythingBack() async throws {
    let gate = try await make("limits: {tokensPerMinute: 100, concurrency: 1}")
    for _ in 0..<10 {
      let ticket = try await admit(gate, "a", tokens: 100)
      try await gate.enter(ticket, key, slots: 1)
    }
    #expect(gate.lanes().map(\.waiting) == [0])
  }

  @Test func aQueueThatIsFullSaysSo() async throws {
    let gate = try await make(queue: 2)
    let running = try await queued(gate, "a").value
    let waiting = try await line(gate, ["a", "a"])
    let failure = await #expect(throws: APIFailure.self) { try await admit(gate, "a") }
    #expect(failure?.status == 429 && failure?.message.contains("queue 2") == true && (failure?.retryAfter ?? 0) >= 1)
    // Another caller has a queue of their own.
    let light = queued(gate, "b")
    try await wait(gate, for: 3)
    running.end(tokens: 10)
    try await light.value.end(tokens: 10)
    for task in waiting { try await task.value.end(tokens: 10) }
    #expect(gate.lanes().map(\.waiting) == [0])
  }

  @Test func withoutAQueueNobodyWaits() async throws {
    let gate = try await make("limits: {queue: 0}")
    let running = try await queued(gate, "a").value
    await #expect(throws: APIFailure.self) { _ = try await queued(gate, "b").value }
    await #expect(throws: APIFailure.self) { _ = try await queued(gate, "b").value }
    running.end(tokens: 1)
    time.now += 61
    try await queued(gate, "b").value.end(tokens: 1)
  }

  @Test func whoHangsUpLeavesTheQueueAtOnce() async throws {
    let gate = try await make()
    let running = try await queued(gate, "a").value
    let waiting = (0..<8).map { _ in queued(gate, "b") }
    try await wait(gate, for: 8)
    for task in waiting.dropFirst() { task.cancel() }
    for task in waiting.dropFirst() { await #expect(throws: CancellationError.self) { _ = try await task.value } }
    #expect(gate.lanes().map(\.waiting) == [1])
    running.end(tokens: 1)
    try await waiting[0].value.end(tokens: 1)
    #expect(gate.lanes().map(\.waiting) == [0])
  }

  @Test func oneCallersConcurrencyIsOneForAllEngines() async throws {
    let gate = try await make("limits: {concurrency: 2}")
    let first = try await admit(gate, "a")
    try await gate.enter(first, key, slots: 4)
    let second = try await admit(gate, "a")
    try await gate.enter(second, other, slots: 4)
    let third = queued(gate, "a", slots: 4)
    try await Task.sleep(for: .milliseconds(20))
    #expect(gate.lanes().map(\.waiting).reduce(0, +) == 1)
    try await queued(gate, "b", slots: 4).value.end(tokens: 1)
    second.end(tokens: 1)
    try await third.value.end(tokens: 1)
    first.end(tokens: 1)
  }

  @Test func aRolesConcurrencyAndQueueAreOneForAllItsCallers() async throws {
    let gate = try await make("sharedLimits: {concurrency: 1, queue: 1}")
    let running = try await queued(gate, "a", slots: 4).value
    let waiting = queued(gate, "b", slots: 4)
    try await wait(gate, for: 1)
    let failure = await #expect(throws: APIFailure.self) { try await admit(gate, "c") }
    #expect(failure?.status == 429 && failure?.message == "role chat is at its limit: queue 1, by role chat")
    running.end(tokens: 1)
    try await waiting.value.end(tokens: 1)
    try await queued(gate, "c", slots: 4).value.end(tokens: 1)
  }

  @Test func placesAreKnown() async throws {
    let gate = try await make()
    let running = try await queued(gate, "a").value
    let waiting = try await line(gate, ["a", "a", "b"])
    time.now += 2
    #expect(gate.account(of: "token:b")["waiting"]?.array?.compactMap { $0["position"]?.integer } == [1])
    #expect(gate.account(of: "token:a")["waiting"]?.array?.compactMap { $0["position"]?.integer } == [2, 3])
    #expect(gate.lanes().first?.callers == 2 && gate.lanes().first?.longest == 2)
    running.end(tokens: 1)
    for place in [2, 0, 1] { try await waiting[place].value.end(tokens: 1) }
  }

  @Test func otherRequestsAreBoundedToo() async throws {
    let gate = try await make(management: 10)
    for _ in 0..<10 { try await gate.manage(.token("a")) }
    let failure = await #expect(throws: APIFailure.self) { try await gate.manage(.token("a")) }
    #expect(failure?.status == 429 && failure?.retryAfter == 6)
    try await gate.manage(.token("b"))
    time.now += 6
    try await gate.manage(.token("a"))
  }

  /// Many at once, some of whom hang up: nobody is lost, no slot is lost, and never more than the slots are taken.
  @Test func aCrowdIsServedToTheLast() async throws {
    let gate = try await make(queue: 1000)
    let (atEngine, done) = (Counter(), Counter())
    let (key, other) = (key, other)
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<300 {
        group.addTask {
          let task = Task {
            let ticket = try await gate.admit(.token(["a", "b", "c"][number % 3]), .model("m"), tokens: 5)
            try await gate.enter(ticket, number % 2 == 0 ? key : other, slots: 3)
            #expect(atEngine.add(1) <= 6)
            try? await Task.sleep(for: .microseconds(100 + number % 7 * 100))
            _ = atEngine.add(-1)
            ticket.end(tokens: number % 9)
          }
          if number % 5 == 0 {
            try? await Task.sleep(for: .microseconds(50 * (number % 13)))
            task.cancel()
          }
          _ = await task.result
          _ = done.add(1)
        }
      }
    }
    #expect(done.add(0) == 300)
    #expect(gate.lanes().allSatisfy { $0.waiting == 0 })
    #expect(gate.state.withLock { $0.waiters.isEmpty && $0.chosen.isEmpty && $0.charges.isEmpty })
    let last = try await admit(gate, "a")
    try await gate.enter(last, key, slots: 3)
  }
}

final class Counter: Sendable {
  private let value = Atomic<Int>(0)
  func add(_ by: Int) -> Int { value.add(by, ordering: .relaxed).newValue }
}

@Suite struct RepetitionsTests {
  let records = Records()

  @Test func theSameAgainIsCounted() async throws {
    let repetitions = Repetitions(window: .seconds(1), audit: records.writer)
    for _ in 0..<20 { try await repetitions.record(.decision, "a", "x", ["allowed": true, "verb": "status.read"]) }
    try await repetitions.record(.decision, "b", "x", ["allowed": true])
    #expect(records.of("decision").count == 2)
    for _ in 0..<500 where records.of("decision").count < 3 { try await Task.sleep(for: .milliseconds(10)) }
    #expect(records.of("decision").last?.fields["repeated"] == 19)
    try await repetitions.record(.decision, "a", "x", ["allowed": true])
    #expect(records.of("decision").count == 4)
  }

  @Test func whatCannotBeWrittenIsNotCounted() async throws {
    struct Full: Error {}
    let fullness = Counter()
    _ = fullness.add(1)
    let repetitions = Repetitions { [records] kind, actor, fields in
      if fullness.add(0) > 0 { throw Full() }
      try await records.writer(kind, actor, fields)
    }
    await #expect(throws: Full.self) { try await repetitions.record(.decision, "a", "x", ["allowed": true]) }
    await #expect(throws: Full.self) { try await repetitions.record(.decision, "a", "x", ["allowed": true]) }
    _ = fullness.add(-1)
    try await repetitions.record(.decision, "a", "x", ["allowed": true])
    #expect(records.of("decision").count == 1)
  }

  @Test func manyDifferentThingsOfOneActorAreBounded() async throws {
    let repetitions = Repetitions(distinct: 8, audit: records.writer)
    for number in 0..<1000 {
      try await repetitions.record(
        .decision, "a", "infer model:\(number)",
        ["allowed": true, "verb": "infer", "resource": .string("model:\(number)")])
    }
    #expect(records.of("decision").count == 9)
    await repetitions.flush()
    let last = try #require(records.of("decision").last)
    #expect(records.of("decision").count == 10)
    #expect(last.fields["others"] == true && last.fields["resource"] == nil && last.fields["repeated"] == 991)
  }

  /// Refused attempts beyond those that are told apart never read as allowed, nor as another verb.
  @Test func whatIsOneOfManyKeepsItsVerbAndItsOutcome() async throws {
    let repetitions = Repetitions(distinct: 2, audit: records.writer)
    for number in 0..<40 {
      for (verb, isAllowed) in [("role.manage", false), ("infer", true), ("infer", false)] {
        try await repetitions.record(
          .decision, "a", "\(verb) \(number) \(isAllowed)", ["allowed": .bool(isAllowed), "verb": .string(verb)])
      }
    }
    await repetitions.flush()
    var sums: [String: Int64] = [:]
    for fields in records.of("decision").map(\.fields) {
      let what = "\(fields["verb"]?.string ?? "") \(fields["allowed"] == true)"
      sums[what, default: 0] += fields["repeated"]?.integer ?? 1
    }
    #expect(sums == ["role.manage false": 40, "infer true": 40, "infer false": 40])
    #expect(records.of("decision").count <= 8)
  }

  /// The same again is answered only when the first is on record, and not at all when that can't be written.
  @Test func theSameAgainWaitsForTheFirst() async throws {
    for isFull in [false, true] {
      let (gate, opened) = AsyncStream.makeStream(of: Void.self)
      let answered = Counter()
      let repetitions = Repetitions { [records] kind, actor, fields in
        for await _ in gate { break }
        if isFull { throw Records.Broken() }
        try await records.writer(kind, actor, fields)
      }
      let before = records.of("decision").count
      let failed = try await withThrowingTaskGroup(of: Bool.self) { group in
        for _ in 0..<20 {
          group.addTask {
            defer { _ = answered.add(1) }
            do { try await repetitions.record(.decision, "a", "x", ["allowed": false]) } catch { return true }
            return false
          }
        }
        try await Task.sleep(for: .milliseconds(50))
        #expect(answered.add(0) == 0, "an answer went out before its record")
        opened.finish()
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(failed == (isFull ? 20 : 0))
      await repetitions.flush()
      let made = records.of("decision").dropFirst(before).map { $0.fields["repeated"] }
      #expect(made == (isFull ? [] : [nil, 19]))
    }
  }

  /// What is counted while the disk is full goes on record when it is not any more, and nothing more is answered meanwhile.
  @Test func whatIsCountedOutlastsAFullDisk() async throws {
    let repetitions = Repetitions(window: .seconds(1), audit: records.writer)
    for _ in 0..<5 { try await repetitions.record(.decision, "a", "x", ["allowed": false]) }
    records.fail(true)
    // The window ends, and what is counted can't be written: from then on nothing more is counted.
    var counted: Int64 = 4
    var refusal: (any Error)?
    for _ in 0..<200 where refusal == nil {
      try await Task.sleep(for: .milliseconds(100))
      do {
        try await repetitions.record(.decision, "a", "x", ["allowed": false])
        counted += 1
      } catch { refusal = error }
    }
    #expect(refusal is Records.Broken)
    records.fail(false)
    func written() -> Int64 { records.of("decision").reduce(0) { $0 + ($1.fields["repeated"]?.integer ?? 0) } }
    for _ in 0..<500 where written() < counted { try await Task.sleep(for: .milliseconds(10)) }
    #expect(records.of("decision").map { $0.fields["repeated"] } == [nil, .integer(counted)])
    try await repetitions.record(.decision, "a", "x", ["allowed": false])
    #expect(records.of("decision").count == 3)
  }
}
