import Glibc
import Host
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

extension EngineLauncher {
  /// With llama-server's adapter for this program alone.
  init(
    program: String, configuration: AgentConfiguration.Engine, socketDirectory: String, sandbox: SandboxState,
    isReady: @escaping @Sendable (EngineAddress) async -> Bool
  ) {
    self.init(
      adapters: EngineAdapters([LlamaServerAdapter(program: program)]), configuration: configuration,
      socketDirectory: socketDirectory, folderDirectory: socketDirectory + "/folders", sandbox: sandbox,
      isReady: { address, _ in await isReady(address) })
  }
}

/// The real engine and weights, where the environment names them.
enum RealEngine {
  static let program = getenv("SKERRY_LLAMA_SERVER").map { String(cString: $0) }
  static let weights = getenv("SKERRY_TEST_WEIGHTS").map { String(cString: $0) }
  static var isThere: Bool { program != nil && weights != nil }
}

@Suite(.serialized) struct InferenceServiceTests {
  let scratch: Scratch
  let records = Records()
  let model = EngineModel(
    name: "smol", version: "1", sha256: Digest(of: [1]), length: 100, contextLength: 2048)

  init() throws { scratch = try Scratch() }

  private func service(
    program: String, path: String = "",
    sandbox: SandboxState = SandboxState(mode: .off, isActive: false, reason: nil),
    isReadyAtOnce: Bool = false,
    _ change: (inout AgentConfiguration.Engine) -> Void = { _ in }
  ) -> InferenceService {
    var configuration = AgentConfiguration.Engine()
    configuration.startSeconds = 60
    change(&configuration)
    return InferenceService(
      launcher: EngineLauncher(
        program: program, configuration: configuration, socketDirectory: scratch.path + "/engines", sandbox: sandbox,
        isReady: { isReadyAtOnce ? true : await EngineHealth.isReady($0) }),
      locate: { [scratch] _, _ in
        let file = path.isEmpty ? scratch.path + "/weights" : path
        if path.isEmpty { try DurableFile.replace(file, with: Array("weights".utf8)) }
        return EngineFiles(model: try VerifiedFile(file, is: FileDigest.of(file)))
      }, audit: records.writer)
  }

  private func script(_ text: String) throws -> String {
    let path = scratch.path + "/engine"
    try DurableFile.replace(path, with: Array("#!/bin/sh\n\(text)\n".utf8), mode: 0o700)
    return path
  }

  private func failure(_ body: () async throws -> Void) async -> InferenceError? {
    do { try await body() } catch let error as InferenceError { return error } catch { return nil }
    return nil
  }

  @Test func anEngineThatEndsLeavesItsLastWords() async throws {
    let service = service(program: try script("echo 'no such tensor: blk.0' >&2; exit 1"))
    let error = await failure { _ = try await service.acquire(model) }
    #expect(error == .notStarted(model: "smol:1", lastWords: "no such tensor: blk.0"))
    // At once again: it rests, and says for how long.
    guard case .resting(_, let seconds, let words, 1) = await failure({ _ = try await service.acquire(model) }) else {
      Issue.record("it did not rest")
      return
    }
    #expect(seconds == 1)
    #expect(words == "no such tensor: blk.0")
    #expect(await service.statuses().first?.state == "failed")
  }

  @Test func anEngineThatNeverGetsReadyIsEnded() async throws {
    let service = service(program: try script("echo loading >&2; exec sleep 60")) { $0.startSeconds = 1 }
    guard case .tooSlow(_, 1, "loading") = await failure({ _ = try await service.acquire(model) }) else {
      Issue.record("it was waited for")
      return
    }
    #expect(await service.statuses().first?.pid == nil)
  }

  @Test func withoutAProgramItSaysSo() async throws {
    let service = service(program: "/nowhere/llama-server")
    let missing = InferenceError.noProgram(
      path: "/nowhere/llama-server", remedy: "install llama-server there or set engine.path")
    #expect(await failure { _ = try await service.acquire(model) } == missing)
  }

  @Test func whereASandboxIsRequiredAndThereIsNoneNoEngineStarts() async throws {
    let service = service(
      program: "/bin/true", sandbox: SandboxState(mode: .required, isActive: false, reason: "no namespaces"))
    #expect(await failure { _ = try await service.acquire(model) } == .noSandbox(reason: "no namespaces"))
  }

  @Test func withoutARecordNoEngineStarts() async throws {
    let mark = scratch.path + "/started"
    let service = service(program: try script("touch \(mark); exec sleep 60"))
    records.fail(true)
    await #expect(throws: Records.Broken.self) { try await service.acquire(model) }
    #expect(!DurableFile.exists(mark))
  }

  @Test func theBreakerOpensLongerEachTime() {
    var breaker = EngineBreaker()
    #expect(breaker.wait(at: .zero) == nil)
    var waits: [Duration] = []
    for _ in 0..<9 {
      breaker.failed(at: .zero)
      waits.append(breaker.wait(at: .zero) ?? .zero)
    }
    #expect(waits.prefix(4) == [.milliseconds(500), .seconds(1), .seconds(2), .seconds(4)])
    #expect(waits.last == .seconds(60))
    #expect(breaker.wait(at: .seconds(60)) == nil)
    #expect(!breaker.mayRestartUnasked)
    breaker.failed(at: .zero, after: .seconds(60))
    #expect(breaker.failures == 1)
  }

  @Test(.enabled(if: RealEngine.isThere), arguments: [false, true])
  func aRealEngineComesAndGoes(isSandboxed: Bool) async throws {
    let program = try #require(RealEngine.program)
    let sandbox = await SandboxState.find(isSandboxed ? .preferred : .off)
    guard sandbox.isActive == isSandboxed else { return }
    let service = service(program: program, path: try #require(RealEngine.weights), sandbox: sandbox) {
      $0.idleSeconds = 1
    }
    // Many at once get the same engine.
    let pids = try await withThrowingTaskGroup(of: Int32.self) { group in
      for _ in 0..<8 { group.addTask { try await service.acquire(model).engine.process.pid } }
      return try await group.reduce(into: Set<Int32>()) { $0.insert($1) }
    }
    #expect(pids.count == 1)
    // It stays while somebody uses it, however long.
    var lease: EngineLease? = try await service.acquire(model)
    let socket = try #require(lease?.address)
    try await Task.sleep(for: .seconds(1.6))
    #expect(EngineHealth.status(socket) == 200)
    // It comes back when it is killed.
    let first = try #require(lease?.engine.process)
    lease = nil
    first.send(SIGKILL)
    _ = await first.wait()
    let second = try await poll { await service.statuses().first { $0.state == "ready" && $0.pid != first.pid } }
    #expect(second.pid != nil)
    #expect(records.of("model").contains { $0.fields["event"] == "engine_died" })
    // It goes when nobody has used it.
    _ = try await poll { await service.statuses().isEmpty ? true : nil }
    #expect(records.of("model").last?.fields["reason"] == "idle")
    #expect(EngineHealth.status(socket) == nil)
    // It comes again, and goes with the service.
    let last = try await service.acquire(model).engine.process
    await service.shutdown(drain: .zero)
    #expect(!last.isRunning)
    #expect(await failure { _ = try await service.acquire(model) } == .stopping)
  }

  @Test func whatAnEngineWroteWhileItServedIsNotPassedOn() async throws {
    let engine = try script(
      """
      while [ "$1" != --host ]; do shift; done
      : > "$2"; sleep 0.2; echo 'got exception: zyzzyva' >&2; exit 3
      """)
    let service = service(program: engine, isReadyAtOnce: true)
    _ = try await service.acquire(model)
    let died = try await poll { records.of("model").first { $0.fields["event"] == "engine_died" } }
    #expect(died.fields["ended"] == "exit status 3")
    let status = try #require(await service.statuses().first)
    #expect(status.lastWords?.contains("zyzzyva") != true)
    #expect(!records.of("model").contains { "\($0.fields)".contains("zyzzyva") })
    await service.shutdown(drain: .zero)
  }

  @Test(.enabled(if: RealEngine.isThere)) func unloadingWaitsForAnswers() async throws {
    let program = try #require(RealEngine.program)
    let service = service(program: program, path: try #require(RealEngine.weights))
    var lease: EngineLease? = try await service.acquire(model)
    let process = try #require(lease?.engine.process)
    let unloading = Task { await service.unload(model.sha256) }
    try await Task.sleep(for: .milliseconds(100))
    #expect(process.isRunning)
    lease = nil
    #expect(await unloading.value)
    #expect(!process.isRunning)
    await service.shutdown(drain: .zero)
  }

  @Test(.enabled(if: RealEngine.isThere)) func aFileThatIsNoModelIsToldPlainly() async throws {
    let path = scratch.path + "/bad.gguf"
    try DurableFile.replace(path, with: Array("GGUF nothing".utf8))
    let service = service(program: try #require(RealEngine.program), path: path)
    guard case .notStarted(_, let words) = await failure({ _ = try await service.acquire(model) }) else {
      Issue.record("it started")
      return
    }
    #expect(words.count > 10)
  }

  private struct NeverCame: Error {}

  private func poll<T>(_ look: () async -> T?) async throws -> T {
    for _ in 0..<200 {
      if let found = await look() { return found }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw NeverCame()
  }
}
