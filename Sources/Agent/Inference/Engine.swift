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
  private let stopSchedule: [(signal: Int32, wait: Duration)]
  private let group: BoundedGroup?
  /// What its model was unpacked into, where it is a folder.
  private let folder: UnpackedFolder?
  /// What requests to it call the model.
  let requestName: String
  private let use: Mutex<(count: Int, last: Duration)>
  private let farewell = Mutex<Duration?>(nil)
  private let answered = Atomic<Bool>(false)

  init(
    _ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, _ address: EngineAddress, _ process: ChildProcess,
    _ files: EngineFiles, group: BoundedGroup? = nil, folder: UnpackedFolder? = nil, requestName: String? = nil,
    stopSchedule: [(signal: Int32, wait: Duration)]
  ) {
    self.folder = folder
    self.requestName = requestName ?? model.name
    self.files = files
    self.model = model
    self.kind = kind
    self.plan = plan
    self.group = group
    self.stopSchedule = stopSchedule
    self.address = address
    self.process = process
    startedAt = Clock.monotonic()
    use = Mutex((0, startedAt))
  }

  var users: Int { use.withLock(\.count) }
  /// How long nobody has asked it anything; nil while somebody does.
  var idle: Duration? { idle(at: Clock.monotonic()) }

  /// The same by one reading of the clock, so that engines can be compared.
  func idle(at now: Duration) -> Duration? { use.withLock { $0.count > 0 ? nil : now - $0.last } }

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

  /// Ends it: end-of-file first, then signals by schedule. `isUntrusted`: killed without a last word.
  func stop(isUntrusted: Bool = false) async {
    process.closeStandardInput()
    await process.stop(schedule: isUntrusted ? [] : stopSchedule)
    cleanUp()
  }

  /// Removes its socket, which it never does itself, and its control group.
  func cleanUp() {
    group?.remove()
    guard let socket = address.socketPath else { return }
    unlink(socket)
    rmdir(String(socket.prefix(upTo: socket.lastIndex(of: "/") ?? socket.startIndex)))
  }
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
