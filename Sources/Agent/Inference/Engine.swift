import Glibc
import Host
import Storage
import Synchronization

/// One running engine and how many requests it answers.
final class Engine: Sendable {
  let model: EngineModel
  let kind: EngineKind
  let plan: EnginePlan
  let address: EngineAddress
  let process: ChildProcess
  /// Held for as long as it lives, so that what it reads stays what was verified.
  let files: EngineFiles
  let startedAt: Duration
  private let adapter: any EngineAdapter
  private let use: Mutex<(count: Int, last: Duration)>
  private let farewell = Mutex<Duration?>(nil)
  private let answered = Atomic<Bool>(false)

  init(
    _ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, _ adapter: any EngineAdapter,
    _ address: EngineAddress,
    _ process: ChildProcess, _ files: EngineFiles
  ) {
    self.files = files
    self.model = model
    self.kind = kind
    self.plan = plan
    self.adapter = adapter
    self.address = address
    self.process = process
    startedAt = Clock.monotonic()
    use = Mutex((0, startedAt))
  }

  var users: Int { use.withLock(\.count) }
  /// How long nobody has asked it anything; nil while somebody does.
  var idle: Duration? { use.withLock { $0.count > 0 ? nil : Clock.monotonic() - $0.last } }

  func begin() { use.withLock { $0.count += 1 } }

  func end() {
    use.withLock { use in
      use.count -= 1
      use.last = Clock.monotonic()
    }
  }

  /// Whether it gave any part of an answer since it was started.
  var hasAnswered: Bool { answered.load(ordering: .relaxed) }

  func noteAnswer() { answered.store(true, ordering: .relaxed) }

  /// It has to go by then at the latest (`Clock.monotonic()`); an earlier moment that was said stays.
  func hurry(by deadline: Duration) { farewell.withLock { $0 = min($0 ?? deadline, deadline) } }

  /// Waits until nobody uses it, or the time is over.
  func drain() async {
    while users > 0, process.isRunning, Clock.monotonic() < farewell.withLock({ $0 ?? .zero }) {
      try? await Task.sleep(for: .milliseconds(20))
    }
  }

  /// The last line or two that it wrote, for people. Only until it is ready: later they may quote what it was asked.
  var lastWords: String { Engine.lastWords(of: process) }

  static func lastWords(of process: ChildProcess) -> String {
    let lines = process.stderrTail.split(separator: "\n").suffix(3)
    return lines.isEmpty ? "none" : lines.joined(separator: " | ")
  }

  /// Ends it: end-of-file first, then its adapter's signals. `isUntrusted`: killed without a last word.
  func stop(isUntrusted: Bool = false) async {
    process.closeStandardInput()
    await process.stop(schedule: isUntrusted ? [] : adapter.stopSchedule)
    cleanUp()
  }

  /// Removes its socket, which it never does itself.
  func cleanUp() {
    guard let socket = address.socketPath else { return }
    unlink(socket)
    rmdir(String(socket.prefix(upTo: socket.lastIndex(of: "/") ?? socket.startIndex)))
  }
}

/// What is needed to start one.
struct EngineLauncher: Sendable {
  private static let count = Atomic<Int>(0)
  let adapters: EngineAdapters
  let configuration: AgentConfiguration.Engine
  /// Its sockets go into folders of their own below this one.
  let socketDirectory: String
  let sandbox: SandboxState
  /// Whether the engine at this address answers this path with 200.
  let isReady: @Sendable (EngineAddress, String) async -> Bool

  /// Starts an engine on verified files and waits until it is ready. Throws `InferenceError`.
  func start(_ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, files: EngineFiles) async throws -> Engine {
    let adapter = try adapters.named(plan.adapter)
    guard access(adapter.program, X_OK) == 0 else {
      throw InferenceError.noProgram(path: adapter.program, remedy: adapter.remedy)
    }
    if sandbox.mode == .required, !sandbox.isActive {
      throw InferenceError.noSandbox(reason: sandbox.reason ?? "no reason given")
    }
    // Another engine for the same file may be finishing its answers: each has a folder of its own.
    let number = EngineLauncher.count.add(1, ordering: .relaxed).newValue
    let folder = "\(socketDirectory)/\(model.sha256.hex.prefix(12))-\(kind.rawValue.prefix(1))\(number)"
    let socket = folder + "/s.sock"
    try DurableFile.makeDirectory(folder)
    // The engine never unlinks its socket, and refuses to start on a stale one.
    unlink(socket)
    let address = EngineAddress.unix(path: socket)
    let process: ChildProcess
    do { process = try await spawn(model, kind, plan, adapter, files, address, folder: folder) } catch {
      throw InferenceError.notStarted(model: model.label, lastWords: "\(error)")
    }
    let engine = Engine(model, kind, plan, adapter, address, process, files)
    do {
      try await waitUntilReady(engine, adapter.readinessPath)
      try demandUntouched(engine)
    } catch {
      await engine.stop(isUntrusted: true)
      throw error
    }
    return engine
  }

  /// The engine opens no name that somebody could give to another file: it gets the descriptors that were hashed, from
  /// number 3 on. Without a sandbox it opens them as `/proc/self/fd/N`; bubblewrap binds them to names in the sandbox.
  private func spawn(
    _ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, _ adapter: any EngineAdapter, _ files: EngineFiles,
    _ address: EngineAddress, folder: String
  ) async throws -> ChildProcess {
    let numbered = zip(Int32(3)..., files.all).map { (descriptor: $0, file: $1) }
    let paths = numbered.map { number, file in
      sandbox.isActive ? "/models/\(file.digest.hex).gguf" : "/proc/self/fd/\(number)"
    }
    let place = EnginePlace(
      model: paths[0], adapters: Array(paths[1...].prefix(files.adapters.count)),
      draft: files.draft == nil ? nil : paths.last, address: address)
    let command = adapter.command(model, kind, plan, at: place)
    let passed = files.all.map(\.descriptor)
    guard sandbox.isActive else {
      return try await ChildProcess.spawn(
        adapter.program, command.arguments, environment: command.environment, standardInput: .pipe, passing: passed)
    }
    let program = adapter.program
    let inside = Sandbox().arguments(
      engine: program, engineDirectory: String(program[..<(program.lastIndex(of: "/") ?? program.startIndex)]),
      files: zip(numbered, paths).map { (descriptor: $0.descriptor, path: $1) }, writable: folder,
      environment: command.environment, engineArguments: command.arguments)
    return try await ChildProcess.spawn(inside.path, inside.arguments, standardInput: .pipe, passing: passed)
  }

  private func demandUntouched(_ engine: Engine) throws(InferenceError) {
    do { try engine.files.demandUntouched() } catch {
      throw .tampered(model: engine.model.label, reason: Engine.tampering(error))
    }
  }

  private func waitUntilReady(_ engine: Engine, _ path: String) async throws {
    let deadline = Clock.monotonic() + .seconds(configuration.startSeconds)
    var pause = Duration.milliseconds(10)
    while true {
      try demandUntouched(engine)
      guard engine.process.isRunning else {
        let status = await engine.process.wait()
        let said = engine.process.stderrTail.isEmpty ? "it ended with \(status) and said nothing" : engine.lastWords
        throw InferenceError.notStarted(model: engine.model.label, lastWords: said)
      }
      if engine.address.mayAnswer, await isReady(engine.address, path) { return }
      guard Clock.monotonic() < deadline else {
        throw InferenceError.tooSlow(
          model: engine.model.label, seconds: configuration.startSeconds, lastWords: engine.lastWords)
      }
      if await engine.process.wait(timeout: pause) == nil { pause = min(pause * 1.5, .milliseconds(100)) }
    }
  }
}

extension EngineAddress {
  /// False while there is not even a socket to connect to.
  fileprivate var mayAnswer: Bool { socketPath.map { access($0, F_OK) == 0 } ?? true }
}

extension Engine {
  /// What happened to a file that was verified, in our words.
  static func tampering(_ error: StorageError) -> String {
    switch error {
    case .busy: "somebody opened the file for writing while an engine had it"
    case .damaged: "the file changed while an engine had it"
    default: "the file can't be looked at while an engine has it"
    }
  }
}

/// The right to ask an engine, for as long as the lease is kept: an engine that answers is never unloaded as idle.
final class EngineLease: Sendable {
  let engine: Engine
  var address: EngineAddress { engine.address }

  private let isOver = Atomic<Bool>(false)

  init(_ engine: Engine) {
    engine.begin()
    self.engine = engine
  }

  /// Gives the engine back at once, without waiting for the last reference to go.
  func end() {
    if !isOver.exchange(true, ordering: .acquiringAndReleasing) { engine.end() }
  }

  deinit { end() }
}
