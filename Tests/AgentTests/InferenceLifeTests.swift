import Glibc
import Host
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// Engines that are scripts, or the real one: what comes, stays and goes, and in which order.
@Suite(.serialized) struct InferenceLifeTests {
  let scratch: Scratch
  let records = Records()

  init() throws { scratch = try Scratch() }

  private static func model(_ number: UInt8, name: String? = nil, length: UInt64 = 100) -> EngineModel {
    EngineModel(
      name: name ?? "model-\(number)", version: "\(number).0.0", sha256: Digest(of: [number]), length: length,
      contextLength: 2048)
  }

  /// Makes its socket, and then sleeps as long as its standard input is open.
  private static let patient = """
    while [ "$1" != --host ]; do shift; done
    : > "$2"; exec cat
    """

  /// What an engine without a readable header is set aside for: its length and a quarter, and 256 MiB.
  private static func share(_ length: UInt64) -> UInt64 { length + length / 4 + (256 << 20) }

  private func service(
    _ script: String = InferenceLifeTests.patient, budget: UInt64 = 100 << 30, free: UInt64 = .max,
    models: ModelSettingsTable = ModelSettingsTable(), _ change: (inout AgentConfiguration.Engine) -> Void = { _ in }
  ) throws -> InferenceService {
    let path = scratch.path + "/engine"
    try DurableFile.replace(path, with: Array("#!/bin/sh\n\(script)\n".utf8), mode: 0o700)
    try DurableFile.replace(scratch.path + "/weights", with: Array("weights".utf8))
    var configuration = AgentConfiguration.Engine()
    configuration.startSeconds = 60
    change(&configuration)
    return InferenceService(
      launcher: EngineLauncher(
        program: path, configuration: configuration, socketDirectory: scratch.path + "/engines",
        sandbox: SandboxState(mode: .off, isActive: false, reason: nil), isReady: { _ in true }),
      planner: EnginePlanner(
        configuration: configuration, models: models, box: EngineBox(cores: 2, budget: budget)),
      freeMemory: { free },
      locate: { [scratch] _, _ in
        EngineFiles(model: try VerifiedFile(scratch.path + "/weights", is: Digest(of: Array("weights".utf8))))
      }, audit: records.writer)
  }

  private func failure(_ body: () async throws -> Void) async -> InferenceError? {
    do { try await body() } catch let error as InferenceError { return error } catch { return nil }
    return nil
  }

  private struct NeverCame: Error {}

  private func poll<T>(_ look: () async -> T?) async throws -> T {
    for _ in 0..<400 {
      if let found = await look() { return found }
      try await Task.sleep(for: .milliseconds(25))
    }
    throw NeverCame()
  }

  private func running(_ service: InferenceService) async -> [String] {
    await service.statuses().filter { $0.state == "ready" }.map(\.model.name)
  }

  // MARK: memory

  @Test func theBudgetDecides() {
    let budget = EngineBudget(total: 100)
    let keys = (0..<3).map { InferenceService.Key(sha256: Digest(of: [$0]), kind: .generate) }
    func share(_ number: Int, _ bytes: UInt64, _ state: EngineShare.State) -> EngineShare {
      EngineShare(key: keys[number], label: "\(number)", bytes: bytes, state: state)
    }
    func decide(_ needed: UInt64, free: UInt64 = 1000, _ others: [EngineShare]) -> EngineBudget.Decision {
      budget.decide(needed: needed, atOnce: needed, free: free, others: others)
    }
    #expect(decide(100, []) == .admit)
    #expect(decide(101, []) == .refuse)
    #expect(decide(50, [share(0, 50, .answering)]) == .admit)
    #expect(decide(51, [share(0, 50, .answering)]) == .refuse)
    #expect(decide(51, [share(0, 50, .starting)]) == .refuse)
    let idle = [share(0, 30, .idle(.seconds(1))), share(1, 30, .idle(.seconds(9))), share(2, 30, .answering)]
    #expect(decide(20, idle) == .evict(keys[1]))
    #expect(decide(20, idle + [share(0, 30, .leaving)]) == .wait)
    // The host itself is short of memory.
    #expect(decide(10, free: 9, [share(0, 30, .idle(.seconds(1)))]) == .evict(keys[0]))
    #expect(decide(10, free: 9, [share(0, 30, .answering)]) == .refuse)
    #expect(decide(10, [share(0, .max, .answering), share(1, .max, .answering)]) == .refuse)
  }

  @Test func theLeastRecentlyUsedGoesFirstAndWhoAnswersNever() async throws {
    // Room for two of three.
    let service = try service(budget: InferenceLifeTests.share(100) * 2 + 1000)
    let models = (1...4).map { InferenceLifeTests.model($0) }
    _ = try await service.acquire(models[0])
    _ = try await service.acquire(models[1])
    _ = try await service.acquire(models[0])
    _ = try await service.acquire(models[2])
    #expect(await running(service) == ["model-1", "model-3"])
    #expect(records.of("model").last { $0.fields["event"] == "unload" }?.fields["reason"] == "memory")
    // Both that are left answer: nobody goes, and who asks is told why.
    let first = try await service.acquire(models[0])
    let third = try await service.acquire(models[2])
    let refused = await failure { _ = try await service.acquire(models[3]) }
    guard case .noMemory(_, let needed, let budget, let used, _, let by) = refused else {
      Issue.record("\(String(describing: refused))")
      return
    }
    #expect(needed == InferenceLifeTests.share(100) && used == 2 * needed && budget == 2 * needed + 1000)
    #expect(by == ["model-1:1.0.0", "model-3:3.0.0"])
    #expect(first.engine.process.isRunning && third.engine.process.isRunning)
    let told = APIFailure(try #require(refused))
    #expect(told.status == 503 && told.code == "insufficient_memory" && told.retryAfter == 10)
    #expect(told.message.contains("MiB") && told.message.contains("engine.memoryMiB"))
    // It is not held against the model.
    first.end()
    _ = try await service.acquire(models[3])
    #expect(await running(service) == ["model-3", "model-4"])
    await service.shutdown(drain: .zero)
  }

  @Test func whatCanNeverFitIsToldItsSize() async throws {
    let service = try service(budget: 100 << 20)
    let refused = await failure { _ = try await service.acquire(InferenceLifeTests.model(1)) }
    guard case .noMemory(_, let needed, 104_857_600, 0, _, []) = refused else {
      Issue.record("\(String(describing: refused))")
      return
    }
    let text = try #require(refused).description
    #expect(text.contains("\((needed + (1 << 20) - 1) >> 20) MiB") && text.contains("100 MiB"))
    #expect(refused?.retryAfter == 300)
    #expect(await service.statuses().isEmpty)
    // Nor does it start where the host has nothing left, whatever the budget says.
    let poor = try self.service(free: 10 << 20)
    guard
      case .noMemory(_, _, _, _, 10_485_760, _) = await failure({
        _ = try await poor.acquire(InferenceLifeTests.model(1))
      })
    else {
      Issue.record("it started")
      return
    }
  }

  // MARK: staying

  @Test func zeroLetsItGoOnceItHasAnsweredAndNilKeepsIt() async throws {
    let service = try service { $0.idleSeconds = 1 }
    let (kept, brief) = (InferenceLifeTests.model(1), InferenceLifeTests.model(2))
    var lease: EngineLease? = try await service.acquire(brief)
    _ = try await service.acquire(kept)
    await service.keep(kept.sha256, for: nil)
    await service.keep(brief.sha256, for: .zero)
    try await Task.sleep(for: .milliseconds(300))
    #expect(await running(service) == ["model-1", "model-2"])
    #expect(await service.statuses().first?.expiresInSeconds == nil)
    #expect(lease != nil)
    lease = nil
    _ = try await poll { await running(service) == ["model-1"] ? true : nil }
    try await Task.sleep(for: .milliseconds(1300))
    #expect(await running(service) == ["model-1"])
    // What was said is over with the unloading: then the configuration counts again.
    await service.unload(kept.sha256)
    _ = try await service.acquire(kept)
    _ = try await poll { await running(service).isEmpty ? true : nil }
    await service.shutdown(drain: .zero)
  }

  @Test func aModelsOwnKeepAliveCounts() async throws {
    let table = try ModelSettingsTable(
      JSONField(try JSONValue(parsing: "{'model-1': {keepAliveSeconds: 1}}".utf8, json5: true)))
    let service = try service(models: table) { $0.idleSeconds = 600 }
    _ = try await service.acquire(InferenceLifeTests.model(1))
    _ = try await service.acquire(InferenceLifeTests.model(2))
    _ = try await poll { await running(service) == ["model-2"] ? true : nil }
    await service.shutdown(drain: .zero)
  }

  // MARK: going

  @Test func anUnloadedEngineFinishesBesideItsSuccessor() async throws {
    let service = try service()
    let model = InferenceLifeTests.model(1)
    let old = try await service.acquire(model)
    let unloading = Task { await service.unload(model.sha256) }
    _ = try await poll { await service.statuses().contains { $0.state == "stopping" } ? true : nil }
    // Who comes now does not wait for the stream that still goes on.
    let new = try await service.acquire(model)
    #expect(new.engine !== old.engine && new.address != old.address)
    #expect(old.engine.process.isRunning)
    #expect(await service.isInUse(model.sha256))
    old.end()
    #expect(await unloading.value)
    #expect(!old.engine.process.isRunning)
    let socket = try #require(new.address.socketPath)
    #expect(new.engine.process.isRunning && DurableFile.exists(socket))
    await service.shutdown(drain: .zero)
  }

  @Test func theDeadlineOfADrainHolds() async throws {
    let service = try service()
    let model = InferenceLifeTests.model(1)
    let lease = try await service.acquire(model)
    let begun = Clock.monotonic()
    #expect(await service.unload(model.sha256, drain: .milliseconds(400)))
    let took = Clock.monotonic() - begun
    #expect(took >= .milliseconds(400) && took < .seconds(10))
    #expect(!lease.engine.process.isRunning)
    // A shutdown hurries one that had more time.
    let other = try await service.acquire(model)
    let unloading = Task { await service.unload(model.sha256, drain: .seconds(600)) }
    _ = try await poll { await service.statuses().contains { $0.state == "stopping" } ? true : nil }
    await service.shutdown(drain: .milliseconds(100))
    #expect(await unloading.value)
    #expect(!other.engine.process.isRunning)
  }

  @Test func theNewVersionRunsBesideTheOldBeforeItTakesItsPlace() async throws {
    let share = InferenceLifeTests.share(100)
    let (old, new) = (InferenceLifeTests.model(1, name: "m"), InferenceLifeTests.model(2, name: "m"))
    let file = scratch.path + "/weights"
    let files: @Sendable () async throws -> EngineFiles = {
      EngineFiles(model: try VerifiedFile(file, is: Digest(of: Array("weights".utf8))))
    }
    let roomy = try service(budget: share * 2)
    // Nobody used the old version: nothing is started.
    await roomy.warmUp(new, files: files)
    #expect(await roomy.statuses().isEmpty)
    let stream = try await roomy.acquire(old)
    await roomy.warmUp(new, files: files)
    #expect(await roomy.statuses().map(\.state) == ["ready", "ready"])
    let started = Clock.monotonic()
    let lease = try await roomy.acquire(new)
    #expect(Clock.monotonic() - started < .seconds(1))
    await roomy.keepOnly([new.sha256, Digest(of: Array("weights".utf8))])
    #expect(stream.engine.process.isRunning)
    stream.end()
    _ = try await poll { stream.engine.process.isRunning ? nil : true }
    #expect(lease.engine.process.isRunning)
    await roomy.shutdown(drain: .zero)

    // Where there is no room beside, the old one goes on, and leaves for the first who asks for the new one.
    let tight = try service(budget: share + 1000)
    let last = try await tight.acquire(old)
    await tight.warmUp(new, files: files)
    #expect(await running(tight) == ["m"])
    let asking = Task { try await tight.acquire(new) }
    _ = try await poll { await tight.statuses().contains { $0.state == "stopping" } ? true : nil }
    #expect(last.engine.process.isRunning)
    last.end()
    #expect(try await asking.value.engine.model == new)
    await tight.shutdown(drain: .zero)
  }

  @Test func aReloadStartsItAnew() async throws {
    let service = try service()
    let model = InferenceLifeTests.model(1)
    let first = try await service.acquire(model).engine
    #expect(await service.reload(model.sha256))
    let second = try await service.acquire(model).engine
    #expect(first !== second)
    _ = try await poll { first.process.isRunning ? nil : true }
    #expect(await !service.reload(Digest(of: [9])))
    await service.shutdown(drain: .zero)
  }

  // MARK: crashes

  @Test func killedAHundredTimesItComesBackAndHarmsNobody() async throws {
    let service = try service()
    let (model, other) = (InferenceLifeTests.model(1), InferenceLifeTests.model(2))
    let neighbour = try await service.acquire(other)
    for _ in 0..<100 {
      let lease = try await service.acquire(model)
      lease.engine.noteAnswer()
      lease.engine.process.send(SIGKILL)
      _ = await lease.engine.process.wait()
    }
    let lease = try await service.acquire(model)
    #expect(lease.engine.process.isRunning && neighbour.engine.process.isRunning)
    #expect(records.of("model").filter { $0.fields["event"] == "engine_died" }.count == 100)
    #expect(await service.statuses().allSatisfy { $0.failures == 0 })
    await service.shutdown(drain: .zero)
  }

  @Test func aCrashLoopIsBrokenToldAndItsLastWordsAreKeptFromOthers() async throws {
    let engine = """
      while [ "$1" != --host ]; do shift; done
      : > "$2"; sleep 0.05; head -c 9000 /dev/zero | tr '\\0' x >&2; echo 'zyzzyva' >&2; exit 3
      """
    let service = try service(engine)
    let model = InferenceLifeTests.model(1)
    _ = try? await service.acquire(model)
    let status = try await poll { await service.statuses().first { $0.state == "crash-loop" } }
    #expect(status.failures == EngineBreaker.loop && status.pid == nil)
    _ = try await poll { records.of("model").first { $0.fields["event"] == "crash_loop" } }
    let refused = await failure { _ = try await service.acquire(model) }
    let told = APIFailure(try #require(refused))
    #expect(told.code == "engine_crash_loop" && told.status == 503 && (told.retryAfter ?? 0) > 0)
    #expect(!told.message.contains("zyzzyva"))
    #expect(!records.all.contains { "\($0.fields)".contains("zyzzyva") })
    // The last 4 KB lie where only the agent's account may look.
    let file = try #require(status.lastWordsFile)
    let words = try #require(try DurableFile.read(file))
    #expect(words.count == 4096 && String(decoding: words, as: UTF8.self).hasSuffix("zyzzyva\n"))
    var found = stat()
    #expect(stat(file, &found) == 0 && found.st_mode & 0o777 == 0o600)
    await service.shutdown(drain: .zero)
  }

  @Test func aKillFromOutsideIsNoCrashLoopForAWhile() {
    var breaker = EngineBreaker()
    for _ in 0..<EngineBreaker.patience {
      breaker.failed(at: .zero, wasKilled: true)
      #expect(breaker.wait(at: .zero) == EngineBreaker.first && !breaker.isCrashLoop)
    }
    for _ in 0..<EngineBreaker.loop { breaker.failed(at: .zero, wasKilled: true) }
    #expect(breaker.isCrashLoop)
    breaker.failed(at: .zero, hadAnswered: true)
    #expect(breaker.wait(at: .zero) == nil && !breaker.isCrashLoop)
  }

  // MARK: settings

  @Test(arguments: [
    ("*", "anything", true), ("qwen3-*", "qwen3-0.6b", true), ("qwen3-*", "qwen2-0.6b", false), ("a", "a", true),
    ("a", "ab", false), ("*-it", "gemma-it", true), ("*-it", "gemma-it-2", false), ("a*b*c", "a--b-b--c", true),
    ("a*b*c", "a--c--b", false), ("**", "", true), ("", "", true),
  ])
  func patterns(pattern: String, name: String, fits: Bool) {
    #expect(ModelSettingsTable.fits(pattern, name) == fits)
  }

  private func table(_ text: String) throws -> ModelSettingsTable {
    try ModelSettingsTable(JSONField(try JSONValue(parsing: text.utf8, json5: true), path: "models"))
  }

  @Test func theMoreExactPatternCounts() throws {
    let table = try table(
      "{'*': {slots: 1, threads: 1}, 'qwen*': {slots: 2, contextTokens: 512}, 'qwen3': {slots: 3, speculative: 'ngram'}}"
    )
    let exact = table.settings(for: "qwen3")
    #expect(exact.slots == 3 && exact.threads == 1 && exact.contextTokens == 512 && exact.speculative == .ngram)
    #expect(table.settings(for: "qwen2").slots == 2)
    #expect(table.settings(for: "phi").slots == 1)
  }

  @Test(arguments: [
    ("{x: {slot: 1}}", "models.x.slot"), ("{x: {slots: 0}}", "models.x.slots"),
    ("{x: {speculative: 'yes'}}", "models.x.speculative"), ("{x: {speculative: {}}}", "models.x.speculative"),
    ("{x: {reloadAt: '24:00'}}", "models.x.reloadAt"), ("{x: {load: 'never'}}", "models.x.load"), ("[]", "models"),
    ("{'a b': {}}", "models.a b"), ("{x: {engine: 'a/b'}}", "models.x.engine"),
  ])
  func whatIsWrongIsNamed(text: String, path: String) throws {
    do {
      _ = try table(text)
      Issue.record("it was taken")
    } catch let error as JSONFieldError {
      #expect(error.path == path)
    }
  }

  @Test(arguments: [
    (240, 239, 240, true), (240, 240, 241, false), (240, 230, 239, false), (0, 1439, 0, true), (0, 1439, 1, true),
    (240, 241, 239, false), (240, 240, 240, false), (300, 299, 420, true),
  ])
  func aTimeOfTheDayPassesOnce(due: Int, last: Int, now: Int, passes: Bool) {
    #expect(EngineSchedule.passed(due, from: last, to: now) == passes)
  }

  @Test func schedulesLoadAtTheStartAndReloadAtTheirTime() async throws {
    let planner = EnginePlanner(
      configuration: AgentConfiguration.Engine(), models: try table("{'model-1': {load: 'start', reloadAt: '00:01'}}"),
      box: EngineBox(cores: 2, budget: 1 << 30))
    let seen = Mutex<[String]>([])
    // An hour passes with each look.
    let clock = Atomic<Int64>(0)
    let schedule = EngineSchedule(
      planner: planner, models: { [InferenceLifeTests.model(1), InferenceLifeTests.model(2)] },
      load: { model in seen.withLock { $0.append("load \(model.name)") } },
      reload: { model in seen.withLock { $0.append("reload \(model.name)") } },
      now: { clock.add(3600, ordering: .relaxed).newValue }, pause: .milliseconds(5))
    let running = Task { await schedule.run() }
    _ = try await poll { seen.withLock { $0.count >= 3 } ? true : nil }
    running.cancel()
    await running.value
    let all = seen.withLock { $0 }
    #expect(all.first == "load model-1")
    #expect(all.dropFirst().allSatisfy { $0 == "reload model-1" })
  }

  // MARK: plans

  @Test func argumentsOfTheCachesAreRead() {
    #expect(EnginePlanner.cacheTypes([]) == (2, 2))
    #expect(EnginePlanner.cacheTypes(["-ctk", "q8_0", "--cache-type-v", "f32"]) == (34.0 / 32, 4))
    #expect(EnginePlanner.cacheTypes(["-ctk"]) == (2, 2))
  }

  @Test(
    arguments: [
      (["avx2"], [2, 12, 20]), (["avx2", "avx512f"], [2, 10, 12, 20]), (["sse4_2"], []),
      (["asimddp", "i8mm"], [2, 12, 13, 14, 20]),
    ] as [([String], [UInt32])])
  func typesThatAreReordered(features: [String], types: [UInt32]) {
    #expect(EngineBox.repackedTypes(Set(features)) == Set(types))
  }

  @Test func aDraftThatIsNotHereIsSaidInThePlan() throws {
    let planner = EnginePlanner(
      configuration: AgentConfiguration.Engine(), models: try table("{'*': {speculative: {draft: 'tiny'}}}"),
      box: EngineBox(cores: 2, budget: 1 << 30))
    var beside = EnginePlanner.Beside()
    beside.draftProblem = "there is no such model"
    let plan = planner.plan(InferenceLifeTests.model(1), .generate, header: nil, beside: beside)
    #expect(plan.speculation == .none)
    #expect(plan.reasons.last?.contains("there is no such model") == true)
    #expect(planner.plan(InferenceLifeTests.model(1), .embed, header: nil, beside: beside).reasons.count == 1)
  }
}
