import Glibc
import Host
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// An adapter whose engine tries one way out and says whether it got through.
private struct ProbeAdapter: EngineAdapter {
  let name = LlamaServerAdapter.name
  let program: String
  let arguments: @Sendable (EnginePlace) -> [String]
  let listening: EngineListening
  let abilities: EngineAbilities = []
  let readinessPath = "/health"
  var watchesInput: Bool { listening == .unixSocket }
  let takesSecret = true
  var confinement: EngineConfinement {
    EngineConfinement(freedom: listening == .unixSocket ? [] : [.processes, .files, .internet, .code])
  }
  let stopSchedule: [(signal: Int32, wait: Duration)] = [(SIGTERM, .seconds(1))]
  let remedy = "build it"

  func command(_ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, at place: EnginePlace) -> EngineCommand {
    EngineCommand(arguments: arguments(place), environment: ["PATH": "/usr/bin:/bin"])
  }
}

/// Ways out of an engine's sandbox, tried by a program that is started exactly as an engine is: by `EngineLauncher`. Each
/// is first shown to lead somewhere without a sandbox, so that a denial says something.
@Suite(.serialized) struct SandboxProbeTests {
  let scratch: Scratch
  let probe = Sandbox.helperPath.replacing("skerry-confine", with: "skerry-probe")

  init() throws { scratch = try Scratch() }

  /// A way out: the probe's name, and what it is told.
  struct WayOut: Sendable, CustomTestStringConvertible {
    let name: String
    let target: Target
    /// Whether an engine that may start processes and make code, as those described by configuration, is free to do it.
    var isFreeForOthers = false
    var testDescription: String { target == .nothing ? name : "\(name) \(target)" }

    init(_ name: String, _ target: Target = .nothing, isFreeForOthers: Bool = false) {
      self.name = name
      self.target = target
      self.isFreeForOthers = isFreeForOthers
    }
  }

  enum Target: Sendable, Hashable {
    case nothing, keys, otherModel, ownModel, outside, socketFolder, hostPort, abstractName, agentSocket, hostProcess
    case text(String)
  }

  static let waysOut = [
    // The network, and what listens on this host.
    WayOut("connect-out"), WayOut("host-loopback", .hostPort), WayOut("abstract-socket", .abstractName),
    WayOut("host-socket", .agentSocket), WayOut("netlink"),
    // Files.
    WayOut("read-file", .keys), WayOut("read-file", .otherModel), WayOut("read-file", .text("/etc/passwd")),
    WayOut("write-file", .ownModel), WayOut("create-file", .outside), WayOut("create-file", .socketFolder),
    WayOut("write-file", .text("/proc/sys/kernel/hostname")), WayOut("shell"),
    // Devices and terminals.
    WayOut("make-device", .outside), WayOut("open-device", .text("/dev/kmsg")), WayOut("terminal"),
    // Other processes.
    WayOut("trace", .hostProcess), WayOut("read-memory", .hostProcess), WayOut("signal", .hostProcess),
    WayOut("see-process", .hostProcess), WayOut("other-namespace", .hostProcess),
    // More than its share.
    WayOut("fork-bomb", .text("700")), WayOut("memory-bomb"), WayOut("shared-memory-bomb", isFreeForOthers: true),
    WayOut("memory-file", isFreeForOthers: true),
    // The kernel's wide surface.
    WayOut("make-code", isFreeForOthers: true), WayOut("mount"), WayOut("user-namespace"), WayOut("clone-namespace"),
    WayOut("keyring"), WayOut("bpf"), WayOut("perf"), WayOut("io-uring"), WayOut("page-faults"),
    // Privileges, and what the agent has open or in its environment.
    WayOut("become-other"), WayOut("change-root"), WayOut("new-privileges"), WayOut("descriptors"),
    WayOut("environment", .text("SKERRY_PROBE_SECRET")),
  ]

  @Test func thereAreEnough() { #expect(Self.waysOut.count >= 20) }

  @Test(arguments: waysOut) func noWayOutForLlamaServer(_ way: WayOut) async throws {
    try await check(way, .unixSocket)
  }

  @Test(arguments: waysOut.filter { !$0.isFreeForOthers }) func noWayOutForOtherEngines(_ way: WayOut) async throws {
    try await check(way, .loopbackPort)
  }

  /// Threads are no processes to the filter: they are bounded by number where the agent is not root or has control groups.
  @Test func threadsAreBounded() async throws {
    let sandbox = await SandboxState.find(.preferred)
    guard sandbox.place != nil || getuid() != 0 else { return }
    try await check(WayOut("thread-bomb", .text("6000")), .unixSocket)
  }

  private func check(_ way: WayOut, _ listening: EngineListening) async throws {
    let sandbox = await SandboxState.find(.required)
    try #require(sandbox.isActive, "there is no sandbox to try: \(sandbox.reason ?? "")")
    // Forking is bounded by number for those who may; as root that needs control groups.
    if way.name == "fork-bomb", listening == .loopbackPort, sandbox.place == nil, getuid() == 0 { return }
    let host = try await ProbedHost(scratch)
    defer { withExtendedLifetime(host) {} }

    try DurableFile.makeDirectory(host.argument(.socketFolder))
    let outside = try await ChildProcess.spawn(
      probe, [way.name, host.argument(way.target)], environment: ["SKERRY_PROBE_SECRET": "x"],
      passing: [STDIN_FILENO])
    let ended = await outside.wait()
    // Not everybody may do everything even without a sandbox; what nobody lets this account do shows nothing here.
    if getuid() == 0 { #expect(ended == .exited(0), "it leads nowhere without a sandbox: \(outside.stderrTail)") }

    let model = EngineModel(name: "probe", version: "1", sha256: host.file.digest, length: 7, contextLength: 0)
    let argument = host.argument(way.target)
    let adapter = ProbeAdapter(
      program: probe,
      arguments: { place in
        switch way.target {
        case .ownModel: [way.name, place.model]
        case .socketFolder:
          [way.name, place.address.socketPath.map { String($0.dropLast("/s.sock".count)) } ?? argument]
        default: [way.name, argument]
        }
      }, listening: listening)
    var configuration = AgentConfiguration.Engine()
    configuration.startSeconds = 20
    let launcher = EngineLauncher(
      adapters: EngineAdapters([adapter]), configuration: configuration,
      socketDirectory: scratch.path + "/engines", folderDirectory: scratch.path + "/folders", sandbox: sandbox,
      isReady: { _, _ in false })
    var plan = EnginePlan(contextTokens: 512, slots: 1, threads: 1, promptCacheMiB: 0)
    plan.memory.weights = 64 << 20
    do {
      let engine = try await launcher.start(model, .generate, plan, files: EngineFiles(model: host.file))
      await engine.stop()
      Issue.record("it became ready")
    } catch let error as InferenceError {
      guard case .notStarted(_, let words) = error else { throw error }  // a way that hangs is no denial
      #expect(words.contains("denied"), "\(words)")
      #expect(!words.contains("ESCAPED"), "\(words)")
    }
  }

  @Test func aDeviceThatIsConfiguredIsThereAndNoOther() async throws {
    let sandbox = await SandboxState.find(.required)
    let nodes: [String] = ["/dev/fuse", "/dev/kmsg", "/dev/loop-control"].filter { access($0, R_OK) == 0 }
    guard nodes.count > 1 else { return }
    let host = try await ProbedHost(scratch)
    for (index, node) in nodes.enumerated() {
      var configuration = AgentConfiguration.Engine()
      configuration.startSeconds = 20
      configuration.devices = [nodes[0]]
      let adapter = ProbeAdapter(program: probe, arguments: { _ in ["open-device", node] }, listening: .unixSocket)
      let launcher = EngineLauncher(
        adapters: EngineAdapters([adapter]), configuration: configuration, socketDirectory: scratch.path + "/engines",
        folderDirectory: scratch.path + "/folders", sandbox: sandbox, isReady: { _, _ in false })
      let model = EngineModel(name: "probe", version: "1", sha256: host.file.digest, length: 7, contextLength: 0)
      await #expect {
        _ = try await launcher.start(
          model, EngineKind.generate, EnginePlan(contextTokens: 512, slots: 1, threads: 1, promptCacheMiB: 0),
          files: EngineFiles(model: host.file))
      } throws: { error in "\(error)".contains(index == 0 ? "ESCAPED" : "denied") }
    }
  }
}

/// What there is to find on a host: keys, another model, somebody's process and sockets.
private final class ProbedHost: Sendable {
  let file: VerifiedFile
  private let scratch: Scratch
  private let process: ChildProcess
  private let agent: ListeningSocket
  private let port: (socket: Int32, number: UInt16)
  private let abstract: (socket: Int32, name: String)
  private static let counter = Atomic<Int>(0)

  init(_ scratch: Scratch) async throws {
    self.scratch = scratch
    for name in ["keys", "other"] { try DurableFile.replace(scratch.path + "/" + name, with: Array("secret".utf8)) }
    try DurableFile.replace(scratch.path + "/own", with: Array("weights".utf8))
    try DurableFile.replace(scratch.path + "/copy", with: Array("weights".utf8))
    try DurableFile.makeDirectory(scratch.path + "/outside")
    file = try VerifiedFile(scratch.path + "/own", is: FileDigest.of(scratch.path + "/own"))
    process = try await ChildProcess.spawn("/bin/sleep", ["60"])
    let number = ProbedHost.counter.add(1, ordering: .relaxed).newValue
    agent = try ListeningSocket(scratch.path + "/agent\(number).sock")
    port = try ProbedHost.listenOnLoopback()
    abstract = try ProbedHost.listenAbstract("skerry-probe-\(getpid())-\(number)")
    agentPath = scratch.path + "/agent\(number).sock"
  }

  private let agentPath: String

  deinit {
    close(port.socket)
    close(abstract.socket)
    process.send(SIGKILL)
  }

  func argument(_ target: SandboxProbeTests.Target) -> String {
    switch target {
    case .nothing: ""
    case .keys: scratch.path + "/keys"
    case .otherModel: scratch.path + "/other"
    case .ownModel: scratch.path + "/copy"
    case .outside: scratch.path + "/outside"
    case .socketFolder: scratch.path + "/engines"
    case .hostPort: String(port.number)
    case .abstractName: abstract.name
    case .agentSocket: agentPath
    case .hostProcess: String(process.pid)
    case .text(let text): text
    }
  }

  private struct Refused: Error {}

  private static func listenOnLoopback() throws -> (Int32, UInt16) {
    let number = try LoopbackPort.free()
    let made = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = number.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(made, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard code == 0, listen(made, 8) == 0 else { throw Refused() }
    return (made, number)
  }

  private static func listenAbstract(_ name: String) throws -> (Int32, String) {
    let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: [0] + Array(name.utf8)) }
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(made, $0, socklen_t(3 + name.utf8.count))
      }
    }
    guard code == 0, listen(made, 8) == 0 else { throw Refused() }
    return (made, name)
  }
}
