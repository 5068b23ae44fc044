import Glibc
import Host
import Models
import Storage
import Synchronization

/// What is needed to start an engine.
struct EngineLauncher: Sendable {
  private static let count = Atomic<Int>(0)
  let adapters: EngineAdapters
  let configuration: AgentConfiguration.Engine
  /// Its sockets go into folders of their own below this one.
  let socketDirectory: String
  /// Models that are folders are unpacked below this one.
  let folderDirectory: String
  let sandbox: SandboxState
  /// Whether the engine at this address answers this path with 200.
  let isReady: @Sendable (EngineAddress, String) async -> Bool

  /// Starts an engine on verified files and waits until it is ready. Throws `InferenceError`.
  func start(_ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, files: EngineFiles) async throws -> Engine {
    let header = GGUFHeader.read(files.model)
    let adapter = try adapters.adapter(plan.adapter, form: header?.folderForm)
    guard access(adapter.program, X_OK) == 0 else {
      throw InferenceError.noProgram(path: adapter.program, remedy: adapter.remedy)
    }
    if sandbox.mode == .required, !sandbox.isActive {
      throw InferenceError.noSandbox(reason: sandbox.reason ?? "no reason given")
    }
    if !sandbox.isActive, adapter.listening == .loopbackPort, !adapter.takesSecret {
      throw InferenceError.noSandbox(
        reason: "without one, everybody on this host could ask \(adapter.name) past the agent")
    }
    let unpacked = try await unpack(header, files.model, for: adapter, model)
    // Another engine for the same file may be finishing its answers: each has a folder of its own.
    let number = EngineLauncher.count.add(1, ordering: .relaxed).newValue
    let folder = "\(socketDirectory)/\(model.sha256.hex.prefix(12))-\(kind.rawValue.prefix(1))\(number)"
    let socket = folder + "/s.sock"
    try DurableFile.makeDirectory(folder)
    // An engine never unlinks its socket, and refuses to start on a stale one.
    unlink(socket)
    let start = EngineStart(
      model: model, kind: kind, plan: plan, adapter: adapter, files: files, devices: configuration.deviceNodes(),
      folder: folder, socket: socket, unpacked: unpacked)
    let engine: Engine
    do { engine = try await sandbox.isActive ? start.inside(sandbox) : start.outside() } catch {
      throw InferenceError.notStarted(model: model.label, lastWords: "\(error)")
    }
    do {
      try await waitUntilReady(engine, adapter.readinessPath)
      try demandUntouched(engine)
    } catch {
      await engine.stop(isUntrusted: true)
      throw error
    }
    return engine
  }

  /// Nil for an engine that takes a file.
  private func unpack(
    _ header: GGUFHeader?, _ file: VerifiedFile, for adapter: any EngineAdapter, _ model: EngineModel
  ) async throws -> UnpackedFolder? {
    guard adapter.form != nil || header?.folderForm != nil else { return nil }
    guard let header, adapter.form == header.folderForm else {
      let wanted = adapter.form.map { "a folder of the form \($0)" } ?? "a GGUF file"
      let got = header?.folderForm.map { "a folder of the form \($0)" } ?? "a GGUF file"
      throw InferenceError.notStarted(
        model: model.label,
        lastWords: "\(adapter.name) takes \(wanted) and the model is \(got); name another engine under models")
    }
    let parent = folderDirectory
    do {
      try DurableFile.makeDirectory(parent, mode: 0o700)
      return try await offPool { try UnpackedFolder(header.files, of: file, in: parent) }
    } catch let error as StorageError {
      if case .busy = error { throw InferenceError.tampered(model: model.label, reason: Engine.tampering(error)) }
      throw InferenceError.notStarted(model: model.label, lastWords: "its folder could not be unpacked: \(error)")
    }
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

/// One start of one engine, inside of a sandbox or without one.
struct EngineStart: Sendable {
  let model: EngineModel
  let kind: EngineKind
  let plan: EnginePlan
  let adapter: any EngineAdapter
  let files: EngineFiles
  let devices: [String]
  /// The folder of its socket.
  let folder: String
  let socket: String
  let unpacked: UnpackedFolder?

  /// The port inside of a sandbox, where nobody else listens.
  private static let insidePort: UInt16 = 8080
  /// The engine opens no name that somebody could give to another file: it gets the descriptors that were hashed, from
  /// number 3 on, and opens them as `/proc/self/fd/N`.
  func outside() async throws -> Engine {
    var paths = files.all.indices.map { "/proc/self/fd/\($0 + 3)" }
    if let unpacked { paths[0] = unpacked.path }
    let address: EngineAddress
    switch adapter.listening {
    case .unixSocket: address = .unix(path: socket)
    case .loopbackPort: address = .loopback(port: try LoopbackPort.free(), secret: EngineStart.secret())
    }
    let command = adapter.command(model, kind, plan, at: place(paths, address))
    let process = try await ChildProcess.spawn(
      adapter.program, command.arguments, environment: command.environment, standardInput: .pipe,
      passing: files.all.map(\.descriptor), limits: limits)
    return Engine(
      model, kind, plan, address, process, files, folder: unpacked, requestName: adapter.requestName(model),
      stopSchedule: adapter.stopSchedule)
  }

  /// bubblewrap binds the descriptors that were hashed to names inside. An engine that can listen on a port only does so
  /// on its sandbox's own loopback, and a relay inside carries what comes to a Unix socket outside.
  func inside(_ sandbox: SandboxState) async throws -> Engine {
    var paths = files.all.map { "/models/\($0.digest.hex).gguf" }
    if unpacked != nil { paths[0] = "/models/\(files.model.digest.hex)" }
    var contents = Sandbox.Contents(program: adapter.program)
    contents.visible += adapter.confinement.visible + [EngineProgram.surroundings(adapter.program)]
    contents.files = zip(files.all, paths).map { ($0.descriptor, $1) }
    if let unpacked { contents.files[0].descriptor = unpacked.descriptor }
    contents.devices = devices
    contents.processes = EngineStart.processes
    contents.filter = sandbox.hasFilter ? filter : nil
    let secret = adapter.takesSecret ? EngineStart.secret() : nil
    let address: EngineAddress
    let listening: ListeningSocket?
    var own: EngineAddress
    switch adapter.listening {
    case .unixSocket:
      (address, own, listening) = (.unix(path: socket), .unix(path: socket), nil)
      contents.writable = folder
    case .loopbackPort:
      address = .unix(path: socket, secret: secret)
      own = .loopback(port: EngineStart.insidePort, secret: secret ?? "")
      listening = try ListeningSocket(socket)
      contents.relay = listening.map { ($0.descriptor, EngineStart.insidePort) }
    }
    let patience = adapter.stopSchedule.reduce(Duration.zero) { $0 + $1.wait }
    if !adapter.watchesInput { contents.stopAfter = patience }
    let command = adapter.command(model, kind, plan, at: place(paths, own))
    contents.arguments = command.arguments
    contents.environment = command.environment
    let group = sandbox.makeGroup(
      folder.split(separator: "/").last.map(String.init) ?? "engine",
      processes: EngineStart.processes, memory: memory)
    let process = try await sandbox.sandbox.spawn(contents, standardInput: .pipe, limits: limits, group: group)
    withExtendedLifetime(listening) {}
    return Engine(
      model, kind, plan, address, process, files, group: group, folder: unpacked,
      requestName: adapter.requestName(model),
      // A signal would end the sandbox, not reach the engine; the helper inside sends it one at end-of-file.
      stopSchedule: adapter.watchesInput ? adapter.stopSchedule : [(Int32(0), patience + .milliseconds(500))])
  }

  private func place(_ paths: [String], _ address: EngineAddress) -> EnginePlace {
    EnginePlace(
      model: paths[0], adapters: Array(paths[1...].prefix(files.adapters.count)),
      draft: files.draft == nil ? nil : paths.last, address: address)
  }

  private var filter: SeccompFilter? {
    var freedom = adapter.confinement.freedom
    // Drivers of graphics processors make code and share memory.
    if !devices.isEmpty { freedom.formUnion([.code, .files]) }
    if adapter.listening == .loopbackPort { freedom.formUnion([.internet, .processes]) }
    if !adapter.watchesInput { freedom.insert(.processes) }
    return SeccompFilter.Architecture.current.map { SeccompFilter($0, freedom) }
  }

  /// The most memory of its own, in bytes: half more than estimated, or what the machine has.
  private var memory: UInt64 {
    plan.estimatedBytes > 0 ? plan.estimatedBytes + plan.estimatedBytes / 2 + (512 << 20) : Memory.total
  }

  private var limits: ChildProcess.Limits {
    // Drivers reserve address space far beyond what they use.
    ChildProcess.Limits(data: devices.isEmpty ? memory : 0, fileSize: 64 << 20, leavesCore: false)
  }

  /// Processes and threads: a few for each core, and for each connection.
  private static let processes = 256 + 4 * max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))

  private static func secret() -> String {
    var generator = SystemRandomNumberGenerator()
    return String(generator.next(), radix: 36) + String(generator.next(), radix: 36)
  }
}

extension AgentConfiguration.Engine {
  /// The device nodes that engines get, as they are now.
  func deviceNodes() -> [String] {
    guard devices == ["auto"] else { return devices.filter { access($0, F_OK) == 0 } }
    let numbered = (0..<16).map { "/dev/nvidia\($0)" }
    let all = ["/dev/dri", "/dev/kfd", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"] + numbered
    return all.filter { access($0, F_OK) == 0 }
  }
}
