import Access
import Fleet
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// Keys that are destroyed in time: those of prompts' digests, and those of what is kept of prompts and answers.
@Suite final class KeptSecretsTests: Sendable {
  private let scratch: Scratch
  private let time = Mutex<Int64>(1_795_654_800)  // 2026-11-26
  private let day: Int64 = 86_400

  init() throws { scratch = try Scratch() }

  private var now: Int64 {
    get { time.withLock { $0 } }
    set { time.withLock { $0 = newValue } }
  }

  private func digester() throws -> PromptDigester {
    try PromptDigester(keysDirectory: scratch.path + "/keys") { self.now }
  }

  private func keeper(limit: UInt64 = 16 << 20) throws -> ContentKeeper {
    try ContentKeeper(stateDirectory: scratch.path, limit: limit) { self.now }
  }

  private let text = Array("hello".utf8)

  // MARK: digests

  @Test func aPromptIsKnownAgainWithinItsMonthAlone() throws {
    let first = try digester().digest(text)
    #expect(first.digest.hasPrefix("hmac-sha256:") && first.key.hasPrefix("2026-11."))
    #expect(try digester().digest(text) == first, "through a restart")
    #expect(try digester().digest(Array("hello ".utf8)).digest != first.digest)
    #expect(first.digest != "hmac-sha256:" + Digest(of: text).hex)
    let running = try digester()
    #expect(try running.digest(text) == first)
    now += 10 * day
    let next = try running.digest(text)
    #expect(next.key.hasPrefix("2026-12.") && next.digest != first.digest)
    now -= 10 * day
    #expect(try running.digest(text) == first, "the clock was set back, and the month's key is there")
    let other = try Scratch()
    let theirs = try PromptDigester(keysDirectory: other.path) { [now] in now }.digest(text)
    #expect(theirs.digest != first.digest)
  }

  @Test func aDestroyedKeyNeverComesBack() throws {
    let digester = try digester()
    let old = try digester.digest(text)
    let file = "\(scratch.path)/keys/prompt/\(old.key).key"
    let bytes = try #require(try DurableFile.read(file))
    now += 35 * day
    let young = try digester.digest(text)
    #expect(try digester.over(days: 180, at: now).isEmpty)
    now += 180 * day
    #expect(try digester.over(days: 180, at: now) == [old.key])
    try digester.destroy([old.key])
    try digester.destroy([old.key])
    #expect(!DurableFile.exists(file) && DurableFile.exists("\(scratch.path)/keys/prompt/\(young.key).key"))
    // Neither a clock that is set back nor a restart brings it back: the month has another key then, with another name.
    now -= 215 * day
    for digester in [digester, try self.digester()] {
      let again = try digester.digest(text)
      #expect(again.key.hasPrefix("2026-11.") && again.key != old.key && again.digest != old.digest)
      #expect(try DurableFile.read("\(scratch.path)/keys/prompt/\(again.key).key") != bytes)
    }
  }

  @Test func whatACrashLeftOfAKeyIsNoKey() throws {
    let first = try digester().digest(text)
    try DurableFile.replace("\(scratch.path)/keys/prompt/2026-12.00000000.key.77-1.tmp", with: [1, 2])
    #expect(try digester().digest(text) == first)
    #expect(try DurableFile.names(in: scratch.path + "/keys/prompt") == [first.key + ".key"])
    try DurableFile.replace("\(scratch.path)/keys/prompt/\(first.key).key", with: [1])
    #expect(throws: StorageError.self) { try digester().digest(text) }
    // The one key of earlier versions becomes this month's.
    let old = try Scratch()
    try DurableFile.replace(old.path + "/prompt-digest.key", with: [UInt8](repeating: 7, count: 32))
    let kept = try PromptDigester(keysDirectory: old.path) { [now] in now }.digest(text)
    #expect(kept.key == "2026-11.once" && !DurableFile.exists(old.path + "/prompt-digest.key"))
  }

  // MARK: content

  private func answer(_ kept: KeptContent, _ text: String) {
    let chunk: JSONValue = ["choices": [["index": 0, "delta": ["content": .string(text)]]]]
    kept.add(chunk, bytes: text.utf8.count, .chat, AnswerShape())
  }

  private func bytes(below folder: String) throws -> [UInt8] {
    try DurableFile.names(in: folder).flatMap { name -> [UInt8] in
      let path = folder + "/" + name
      if let inner = try? DurableFile.names(in: path), !inner.isEmpty { return try bytes(below: path) }
      return (try? DurableFile.read(path)) ?? nil ?? []
    }
  }

  @Test func whatIsKeptIsReadAgainAndOnlyByItsKey() throws {
    let keeper = try keeper()
    let prompt = Array(#"[{"content":"a secret prompt","role":"user"}]"#.utf8)
    let kept = try keeper.keep(prompt, days: 30)
    // On disk before any engine sees it, and not in the clear.
    #expect(try self.keeper().read(kept.place, .prompt, digest: kept.prompt) == prompt)
    answer(kept, "a secret ")
    answer(kept, "answer")
    let fields = try kept.finish()
    #expect(fields["content"] == .string("\(kept.place)") && fields["contentCut"] == nil)
    let digest = try #require(fields["contentAnswer"]?.string.flatMap { Digest(hex: $0) })
    let said = try #require(try keeper.read(kept.place, .answer, digest: digest))
    #expect(String(decoding: said, as: UTF8.self).contains("a secret answer"))
    let onDisk = try bytes(below: scratch.path + "/content")
    #expect(onDisk.count > 100 && !String(decoding: onDisk, as: UTF8.self).contains("secret"))
    #expect(keeper.bytes == UInt64(onDisk.count))
    #expect(try self.keeper().bytes == keeper.bytes)
    // Another's file in its place, and one that was changed, are not what the record says.
    let other = try keeper.keep(prompt, days: 30)
    _ = try other.finish()
    let path = "\(scratch.path)/content/\(kept.place).prompt"
    let swapped = try #require(try DurableFile.read("\(scratch.path)/content/\(other.place).prompt"))
    try DurableFile.replace(path, with: swapped)
    #expect(throws: StorageError.self) { try keeper.read(kept.place, .prompt, digest: kept.prompt) }
    #expect(throws: StorageError.self) { try keeper.read(kept.place, .prompt, digest: Digest(of: swapped)) }
  }

  @Test func aDayThatCameTakesItsKeyAndAllUnderIt() throws {
    let keeper = try keeper()
    let short = try keeper.keep(text, days: 1)
    let long = try keeper.keep(text, days: 30)
    _ = try (short.finish(), long.finish())
    let copy = try #require(try DurableFile.read("\(scratch.path)/content/\(short.place).prompt"))
    now += day
    #expect(try keeper.over(at: now).isEmpty)
    now += day
    let over = try keeper.over(at: now)
    #expect(over == [short.place.key])
    try keeper.destroy(over)
    #expect(try keeper.read(short.place, .prompt, digest: short.prompt) == nil)
    #expect(try keeper.read(long.place, .prompt, digest: long.prompt) == text)
    #expect(keeper.bytes == UInt64(try bytes(below: scratch.path + "/content").count))
    // Who put a copy aside has nothing.
    try DurableFile.makeDirectory("\(scratch.path)/content/\(short.place.key)")
    try DurableFile.replace("\(scratch.path)/content/\(short.place).prompt", with: copy)
    #expect(try keeper.read(short.place, .prompt, digest: short.prompt) == nil)
    // The key went, and then the power: the start clears up.
    #expect(try !self.keeper().isThere(short.place))
  }

  @Test func thereIsABudgetAndBeyondItNothingIsAnswered() throws {
    let keeper = try keeper(limit: 3 << 20)
    let first = try keeper.keep(text, days: 30)
    let second = try keeper.keep(text, days: 30)
    #expect(throws: ContentKeeper.Full.self) { try keeper.keep(text, days: 30) }
    // Room that was set aside for an answer comes back.
    _ = try (first.finish(), second.finish())
    let third = try keeper.keep(text, days: 30)
    for _ in 0..<3 { answer(third, String(repeating: "long ", count: 200_000)) }
    let fields = try third.finish()
    #expect(fields["contentCut"] == true)
    #expect(keeper.bytes < 2 << 20)
    try keeper.erase([first.place, second.place, third.place])
    #expect(keeper.bytes == 0)
    #expect(try bytes(below: scratch.path + "/content").isEmpty)
  }

  /// Erasing is on record before it happens, and the log's proofs hold afterwards.
  @Test func erasingIsOnRecordAndTheLogHolds() async throws {
    let key = SigningKey.generate()
    let log = try AuditLog(directory: scratch.path + "/audit", key: key, origin: "skerry/audit/box")
    let fails = Mutex(false)
    struct Full: Error {}
    let audit: AuditWriter = { kind, actor, fields in
      if fails.withLock({ $0 }) { throw Full() }
      try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
    }
    let keeper = try keeper()
    let desk = ContentDesk(keeper: keeper, log: log, audit: audit)
    let model = EngineModel(name: "m", version: "1", sha256: Digest(of: []), length: 1, contextLength: 1)
    var kept: [KeptContent] = []
    for number in 0..<6 {
      kept.append(
        try await keeper.keep(
          Array("\"\(number)\"".utf8), days: 30, of: number < 3 ? "token:app" : "uid:1000(ann)", model: model,
          audit: audit))
      now += 100
    }
    #expect(try await desk.find(0)?.prompt == "0")
    #expect(try await desk.find(0)?.answer == nil)
    #expect(try await desk.find(99) == nil)
    fails.withLock { $0 = true }
    await #expect(throws: Full.self) { try await desk.erase(.subject("token:app"), by: "uid:0") }
    await #expect(throws: AccessFailure.self) {
      try await keeper.keep(text, days: 30, of: "token:app", model: model, audit: audit)
    }
    #expect(kept.allSatisfy { keeper.isThere($0.place) }, "what can't go on record does not happen")
    #expect(try keeper.places().count == 6)
    fails.withLock { $0 = false }
    #expect(try await desk.erase(.record(0), by: "uid:0") == 1)
    #expect(try await desk.erase(.record(0), by: "uid:0") == 0)
    #expect(try await desk.find(0)?.prompt == nil)
    #expect(try await desk.erase(.subject("token:app"), by: "uid:0") == 2)
    #expect(try await desk.erase(.before(now - 200), by: "uid:0") == 1)
    #expect(kept.map { keeper.isThere($0.place) } == [false, false, false, false, true, true])
    now += 32 * day
    try await desk.expire(at: now)
    #expect(try keeper.places().isEmpty)
    #expect(try await desk.find(5)?.prompt == nil)
    let told = try log.entries(from: 6, limit: 100)
    #expect(told.map { $0["event"] } == ["erased", "erased", "erased", "expired"])
    #expect(told.map { $0["count"] } == [1, 2, 1, nil] && told[1]["subject"] == "token:app")
    var verifier = AuditVerifier(deviceKey: log.deviceKey)
    let whole = Mutex(verifier)
    try await log.export { piece in whole.withLock { $0.push(piece) } }
    verifier = whole.withLock { $0 }
    let verdict = verifier.finish()
    #expect(verdict.isValid, "\(verdict)")
  }

  @Test func retentionDestroysTheKeysOfItsTime() async throws {
    let log = try AuditLog(directory: scratch.path + "/audit", key: .generate(), origin: "skerry/audit/box")
    let digester = try digester()
    let old = try digester.digest(text)
    var retention = AuditRetention()
    retention.days = 180
    try await log.expire(retention, at: now + 150 * day, digester: digester)
    #expect(log.head().size == 0)
    try await log.expire(retention, at: now + 300 * day, digester: digester)
    try await log.expire(retention, at: now + 300 * day, digester: digester)
    let told = try log.entries(from: 0, limit: 10)
    #expect(told.count == 1 && told[0]["event"] == "keysDestroyed" && told[0]["keys"] == [.string(old.key)])
    #expect(try DurableFile.names(in: scratch.path + "/keys/prompt").isEmpty)
  }

  @Test func placesOfARecordAreOurs() {
    for text in ["", "a", "a/b/c", "../x", "a/..", "a/.b", "A/b", "a/b\n", "a//b", "/b", "a/", "a/b\u{0}"] {
      #expect(ContentKeeper.Place(text) == nil, "\(text)")
    }
    #expect(ContentKeeper.Place("20820.ab12cd34/1795651200-00ff")?.time == 1_795_651_200)
  }
}
