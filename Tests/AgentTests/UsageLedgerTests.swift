import Access
import Glibc
import Storage
import Testing
import Trust

@testable import Agent

@Suite struct LastingTimeTests {
  @Test func itGoesOnOverRestarts() {
    let first = LastingTime(resuming: nil, boot: "x", monotonic: 500, unix: 1_000_000)
    let start = first.at(500)
    #expect(first.at(600) == start + 100)
    let mark = first.mark(boot: "x", monotonic: 600, unix: 1_000_100)
    // The agent alone was restarted: the wall clock does not matter.
    let again = LastingTime(resuming: mark, boot: "x", monotonic: 610, unix: 5)
    #expect(again.at(610) == start + 110)
    // The machine was: the believed time tells, and never backwards.
    #expect(LastingTime(resuming: mark, boot: "y", monotonic: 3, unix: 1_003_700).at(3) == start + 100 + 3600)
    #expect(LastingTime(resuming: mark, boot: "y", monotonic: 3, unix: 7).at(3) == start + 100)
    #expect(LastingTime(resuming: mark, boot: "y", monotonic: 3, unix: .max).at(3) == start + 100 + 3 * 86_400)
  }

  @Test func nonsenseOnDiskBeginsAnew() {
    for bad in [Double.nan, .infinity, -5, 1e300] {
      let mark = LastingTime.Mark(boot: "x", monotonic: 1, unix: 1, lasting: bad)
      #expect(LastingTime(resuming: mark, boot: "x", monotonic: 2, unix: 2).at(2) == LastingTime.start)
    }
  }
}

@Suite struct UsageLedgerTests {
  let scratch: Scratch
  let time: Int64 = 1_800_000_000

  private let sha256 = Digest(of: [1]).hex

  init() throws { scratch = try Scratch() }

  private func open() async throws -> (ledger: UsageLedger, log: AuditLog, database: Database) {
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let key = try #require(SigningKey(seed: [UInt8](repeating: 7, count: 32)))
    let log = try AuditLog(
      directory: scratch.path + "/audit", key: key, origin: "box",
      milliseconds: { time * 1000 })
    let ledger = try await UsageLedger(database: database, log: log, keepDays: 400, now: { time })
    return (ledger, log, database)
  }

  private func append(_ log: AuditLog, _ caller: String, tokens: Int64, outcome: String = "completed") async throws {
    try await log.append(
      AuditEvent(
        kind: .inference, actor: caller,
        fields: [
          "role": "chat", "api": "test", "model": "m", "version": "1", "sha256": .string(sha256),
          "prompt": .string("hmac-sha256:" + sha256), "promptKey": "2026-11.00000000", "outcome": .string(outcome),
          "promptTokens": .integer(tokens),
          "cachedTokens": 1, "completionTokens": 2, "milliseconds": 10,
        ]))
  }

  private func total(_ ledger: UsageLedger, _ by: [UsageColumn] = [], caller: String? = nil) async throws -> [String] {
    let today = time / 86_400
    return try await ledger.sums(since: today, until: today, by: by, caller: caller).map {
      "\($0.group.joined(separator: "/")) \($0.sums.completed) \($0.sums.failed) \($0.sums.promptTokens) "
        + "\($0.sums.cachedTokens) \($0.sums.completionTokens)"
    }
  }

  @Test func theSumsAreThoseOfTheLog() async throws {
    let (ledger, log, database) = try await open()
    for number in 0..<1200 { try await append(log, "token:\(number % 3)", tokens: Int64(number)) }
    try await append(log, "token:0", tokens: 5, outcome: "failed")
    try await log.append(AuditEvent(kind: .decision, actor: "token:0", fields: ["allowed": true, "count": 99]))
    #expect(try await total(ledger) == [" 1200 1 719405 1201 2402"])
    #expect(try await total(ledger, [.caller], caller: "token:1") == ["token:1 400 0 239800 400 800"])
    #expect(
      try await total(ledger, [.day, .role, .model, .sha256]) == ["20833/chat/m/\(sha256) 1200 1 719405 1201 2402"])
    database.close()
    log.close()
  }

  @Test func nothingIsCountedTwiceOrLostOverACrash() async throws {
    var (ledger, log, database) = try await open()
    for _ in 0..<10 { try await append(log, "token:a", tokens: 100) }
    try await ledger.catchUp()
    // Ended without a word: the last ones are in the log alone.
    for _ in 0..<5 { try await append(log, "token:a", tokens: 100) }
    log.close()
    database.close()
    (ledger, log, database) = try await open()
    #expect(ledger.cursor == 10)
    #expect(try await total(ledger) == [" 15 0 1500 15 30"])
    let hours = try await ledger.hours()
    #expect(hours.filter { $0.scope == .caller("token:a") }.map(\.tokens).reduce(0, +) == 15 * 102)
    #expect(hours.filter { $0.scope == .role("chat") }.map(\.tokens).reduce(0, +) == 15 * 102)
    log.close()
    database.close()
    (ledger, log, database) = try await open()
    #expect(try await total(ledger) == [" 15 0 1500 15 30"])
    #expect(ledger.reading().lasting >= LastingTime.start)
    log.close()
    database.close()
  }

  /// A log that is shorter than what was read of it was cut off, even where its heads say otherwise.
  @Test func aLogThatIsShorterThanWhatWasReadIsNotServedOn() async throws {
    var (ledger, log, database) = try await open()
    for _ in 0..<3 { try await append(log, "token:a", tokens: 100) }
    log.close()
    let names = ["log.jsonl", "head", "hashes"].map { scratch.path + "/audit/" + $0 }
    let short = try names.map { try #require(try DurableFile.read($0)) }
    database.close()
    (ledger, log, database) = try await open()
    for _ in 0..<3 { try await append(log, "token:a", tokens: 100) }
    try await ledger.catchUp()
    log.close()
    database.close()
    for (name, bytes) in zip(names, short) { try DurableFile.replace(name, with: bytes) }
    let error = await #expect(throws: AuditTampered.self) { _ = try await open() }
    #expect(error?.index == 3 && error?.reason == "it has 3 entries, and 6 were read before")
    // One that was moved away is begun anew, and stays so when it ends at once.
    rename(scratch.path + "/audit", scratch.path + "/away")
    for count in [0, 1] as [UInt64] {
      (ledger, log, database) = try await open()
      #expect(ledger.cursor == 0 && log.head().size == count)
      try await append(log, "token:a", tokens: 100)
      log.close()
      database.close()
    }
  }

  @Test func theDatabaseKnowsWhatTheWitnessHasSeen() async throws {
    var (_, log, database) = try await open()
    try await SyncTables(database: database).hold(log)
    for _ in 0..<5 { try await append(log, "token:a", tokens: 100) }
    let hub = SigningKey.generate()
    let witness = NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    var note = log.signedHead()
    note.signatures.append(note.cosigned(name: "hub", key: hub, time: 1_700_000_000))
    try log.store(cosigned: note, by: witness)
    try await SyncTables(database: database).remember(log)
    log.close()
    database.close()
    let cosigned = scratch.path + "/audit/cosigned.json"
    let kept = try #require(try DurableFile.read(cosigned))
    unlink(cosigned)
    (_, log, database) = try await open()
    var error = await #expect(throws: AuditTampered.self) { try await SyncTables(database: database).hold(log) }
    #expect(error?.reason == "its file cosigned.json is missing")
    log.close()
    database.close()
    // With an older log in its place.
    try DurableFile.replace(cosigned, with: kept)
    (_, log, database) = try await open()
    try await SyncTables(database: database).hold(log)
    try await SyncTables(database: database).setValue("auditCosigned", "9")
    error = await #expect(throws: AuditTampered.self) { try await SyncTables(database: database).hold(log) }
    #expect(error?.index == 5)
    log.close()
    database.close()
    rename(scratch.path + "/audit", scratch.path + "/away")
    (_, log, database) = try await open()
    try await SyncTables(database: database).hold(log)
    try await append(log, "token:a", tokens: 100)
    try await SyncTables(database: database).hold(log)
    log.close()
    database.close()
  }

  @Test func dailyLimitsHoldOverARestart() async throws {
    let policy = """
      {version: 1, roles: {chat: {allow: [{verbs: ["infer"], resources: ["model:*"]}], limits: {tokensPerDay: 1000}}},
       bindings: [{role: "chat", subjects: ["token:a"]}]}
      """
    try DurableFile.replace(scratch.path + "/roles.json5", with: Array(policy.utf8))
    for round in 0..<2 {
      let (ledger, log, database) = try await open()
      let access = try await AccessControl(
        policyFile: scratch.path + "/roles.json5", database: database, audit: { _, _, _ in })
      let gate = FairGate(
        access: access, settings: FairGate.Settings(), denials: access.repetitions, counters: APICounters(),
        time: ledger.reading)
      await gate.restore(from: ledger)
      if round == 0 {
        try await gate.admit(.token("a"), .model("m"), tokens: 900).end(tokens: 902)
        try await append(log, "token:a", tokens: 900)
      } else {
        let failure = await #expect(throws: APIFailure.self) {
          try await gate.admit(.token("a"), .model("m"), tokens: 200)
        }
        #expect(failure?.message.contains("tokensPerDay 1000") == true)
        #expect((failure?.retryAfter ?? 0) > 23 * 3600 && (failure?.retryAfter ?? 0) <= 25 * 3600)
        #expect(gate.account(of: "token:a")["tokensToday"] == 902)
        _ = try await gate.admit(.token("a"), .model("m"), tokens: 50)
      }
      log.close()
      database.close()
    }
  }

  @Test func oldDaysAndHoursGo() async throws {
    let (ledger, log, database) = try await open()
    try await database.write { [time] connection in
      var old = UsageRow.Key(day: time / 86_400 - 401, caller: "a", role: "", model: "m", sha256: "")
      try UsageTable.add(old, UsageRow.Sums(), connection)
      old.day += 1
      try UsageTable.add(old, UsageRow.Sums(), connection)
      try UsageTable.add(UsageTable.Hour(scope: "caller", name: "a", hour: 1), tokens: 5, connection)
    }
    try await append(log, "token:a", tokens: 1)
    try await ledger.catchUp()
    let days = try await database.read {
      try $0.query("SELECT day FROM usage ORDER BY day").map { try $0.integer("day") }
    }
    #expect(days == [time / 86_400 - 400, time / 86_400])
    #expect(try await ledger.hours().allSatisfy { $0.hour > 1 })
    log.close()
    database.close()
  }

  @Test func callersAreBounded() async throws {
    let (_, log, database) = try await open()
    let names = try await database.write { connection in
      for number in 0..<1010 {
        let key = UsageRow.Key(day: 1, caller: "c\(number)", role: "", model: "m", sha256: "")
        try UsageTable.add(key, UsageRow.Sums(), connection)
      }
      return try connection.query("SELECT DISTINCT caller FROM usage").map { try $0.text("caller") }
    }
    #expect(names.count == UsageTable.mostCallers + 1 && names.contains(UsageTable.others))
    log.close()
    database.close()
  }
}
