internal import CProcess
import Glibc
import Synchronization

/// How a process ended.
public enum ExitStatus: Sendable, Hashable, CustomStringConvertible {
  case exited(Int32)
  case signaled(Int32)

  public var description: String {
    switch self {
    case .exited(let code): "exit status \(code)"
    case .signaled(let number): "signal \(number)"
    }
  }
}

/// A child process with a process group of its own, a bounded tail of what it writes to stderr, and no chance to
/// outlive this process.
public final class ChildProcess: Sendable {
  public enum StandardInput: Sendable {
    case null
    /// A pipe that stays open until `closeStandardInput()` or until this process ends: end-of-file tells the child.
    case pipe
  }

  /// Limits for the child; zero leaves what this process has.
  public struct Limits: Sendable {
    public var nice: Int32
    /// RLIMIT_AS, bytes.
    public var addressSpace: UInt64
    /// RLIMIT_NOFILE.
    public var openFiles: UInt64
    /// RLIMIT_DATA, bytes: memory of its own, which does not count what it maps of files.
    public var data: UInt64
    /// RLIMIT_FSIZE, bytes.
    public var fileSize: UInt64
    /// Whether it may leave a core file, which would hold what it was asked.
    public var leavesCore: Bool

    public init(
      nice: Int32 = 0, addressSpace: UInt64 = 0, openFiles: UInt64 = 0, data: UInt64 = 0, fileSize: UInt64 = 0,
      leavesCore: Bool = true
    ) {
      self.nice = nice
      self.addressSpace = addressSpace
      self.openFiles = openFiles
      self.data = data
      self.fileSize = fileSize
      self.leavesCore = leavesCore
    }
  }

  public let pid: Int32
  private let handle: Descriptor
  private let errors: Descriptor
  private let tailLimit: Int
  private let state: Mutex<State>

  private struct State: Sendable {
    var status: ExitStatus?
    var waiters: [UInt64: CheckedContinuation<ExitStatus?, Never>] = [:]
    var nextWaiter: UInt64 = 0
    var tail: [UInt8] = []
    var input: Descriptor?
    /// Set just before the process is reaped: from then on its number may belong to another.
    var reaped = false
  }

  private init(pid: Int32, handle: Descriptor, errors: Descriptor, input: Descriptor?, tailLimit: Int) {
    self.pid = pid
    self.handle = handle
    self.errors = errors
    self.tailLimit = tailLimit
    state = Mutex(State(input: input))
  }

  /// Starts the program at this absolute path. Its stdout is dropped, its environment is exactly the one given. The
  /// descriptors of `passing` become 3, 4 and so on, at most 32 of them; the caller keeps them open until this returns.
  /// A program that can't be executed throws here, with exec's errno.
  public static func spawn(
    _ path: String, _ arguments: [String], environment: [String: String] = [:],
    standardInput: StandardInput = .null, passing: [Int32] = [], stderrTail: Int = 4096, limits: Limits = Limits(),
    group: BoundedGroup? = nil
  ) async throws -> ChildProcess {
    let errors = try Descriptor.pipe()
    let null = Descriptor(Int32(try systemCall("open", "/dev/null") { open("/dev/null", O_RDWR | O_CLOEXEC) }))
    let input = standardInput == .pipe ? try Descriptor.pipe() : nil
    let from = input?.read ?? null
    let thread = try SpawnThread.shared.get()
    let door = try group?.door()
    let started = await thread.run {
      withExtendedLifetime((null, from, errors, door)) {
        start(
          path, arguments, environment, limits, passing, input: from.number, output: null.number,
          errors: errors.write.number, group: door?.number ?? -1)
      }
    }
    let (pid, handle) = try started.get()
    let child = ChildProcess(
      pid: pid, handle: Descriptor(handle), errors: errors.read, input: input?.write, tailLimit: stderrTail)
    do {
      try WorkerThread.start("skerry-child") { child.watch() }
    } catch {
      kill(-pid, SIGKILL)
      waitpid(pid, nil, 0)
      throw error
    }
    return child
  }

  private static func start(
    _ path: String, _ arguments: [String], _ environment: [String: String], _ limits: Limits,
    _ passing: [Int32], input: Int32, output: Int32, errors: Int32, group: Int32
  ) -> Result<(Int32, Int32), HostError> {
    var words = ([path] + arguments).map { strdup($0) } + [nil]
    var variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer {
      for text in words + variables { free(text) }
    }
    var pid: pid_t = -1
    var handle: Int32 = -1
    let code = path.withCString { program in
      words.withUnsafeMutableBufferPointer { words in
        variables.withUnsafeMutableBufferPointer { variables in
          passing.withUnsafeBufferPointer { passing in
            var what = skerry_spawn(
              path: program, arguments: words.baseAddress, environment: variables.baseAddress, standard_input: input,
              standard_output: output, standard_error: errors, passed: passing.baseAddress,
              passed_count: passing.count, nice: limits.nice, address_space: UInt(limits.addressSpace),
              open_files: UInt(limits.openFiles), data: UInt(limits.data), file_size: UInt(limits.fileSize),
              no_core: limits.leavesCore ? 0 : 1, group: group)
            return skerry_spawn(&what, &pid, &handle)
          }
        }
      }
    }
    return code == 0 ? .success((pid, handle)) : .failure(HostError(operation: "start", path: path, code: code))
  }

  /// Whether it still runs.
  public var isRunning: Bool { state.withLock { $0.status == nil } }

  /// The last bytes that it wrote to stderr, as text; bounded by the limit given to `spawn`.
  public var stderrTail: String { state.withLock { String(decoding: $0.tail, as: UTF8.self) } }

  /// Waits for the end of the process and of everything that holds its stderr, so that a sandbox's inner process
  /// is gone too (for which it waits five seconds at most). Cancelling the task doesn't end the wait.
  public func wait() async -> ExitStatus {
    while true {
      if let status = await wait(timeout: nil) { return status }
    }
  }

  /// The same, or nil when the time is over first.
  public func wait(timeout: Duration?) async -> ExitStatus? {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    var timer: Task<Void, Never>?
    let status = await withCheckedContinuation { continuation in
      let known = state.withLock { state in
        if state.status == nil { state.waiters[id] = continuation }
        return state.status
      }
      if let known { return continuation.resume(returning: known) }
      // Only now that somebody can be told that the time is over.
      timer = timeout.map { timeout in
        Task.detached {
          do { try await Task.sleep(for: timeout) } catch { return }
          self.state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: nil)
        }
      }
    }
    timer?.cancel()
    return status
  }

  /// Sends a signal to the process and its group; false when it has ended.
  @discardableResult
  public func send(_ signal: Int32) -> Bool {
    state.withLock { state in
      if state.reaped { return false }
      return kill(-pid, signal) == 0
    }
  }

  /// End-of-file on its standard input.
  public func closeStandardInput() { state.withLock { $0.input = nil } }

  /// Sends each signal and gives the process that long to end, then kills it. Returns when it has ended.
  @discardableResult
  public func stop(schedule: [(signal: Int32, wait: Duration)] = [(SIGTERM, .seconds(2))]) async -> ExitStatus {
    for step in schedule {
      if !send(step.signal) { break }
      if let status = await wait(timeout: step.wait) { return status }
    }
    send(SIGKILL)
    return await wait()
  }

  /// On a thread of its own: collects stderr, and reaps.
  private func watch() {
    _ = fcntl(errors.number, F_SETFL, O_NONBLOCK)
    var polled = [
      pollfd(fd: errors.number, events: Int16(POLLIN), revents: 0),
      pollfd(fd: handle.number, events: Int16(POLLIN), revents: 0),
    ]
    while polled[1].revents == 0 {
      poll(&polled, 2, -1)
      if polled[0].revents != 0, !drain() { polled[0].fd = -1 }
    }
    // Nobody reuses the group's number before the reaping below, so this hits its own stragglers only.
    kill(-pid, SIGKILL)
    state.withLock { $0.reaped = true }
    var raw: Int32 = 0
    while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
    if polled[0].fd >= 0 { drainToEnd() }
    finish(raw & 0x7F == 0 ? .exited((raw >> 8) & 0xFF) : .signaled(raw & 0x7F))
  }

  /// Until nobody holds the other end, for five seconds at most.
  private func drainToEnd() {
    let start = Clock.monotonic()
    var polled = pollfd(fd: errors.number, events: Int16(POLLIN), revents: 0)
    while drain(), Clock.monotonic() - start < .seconds(5) { poll(&polled, 1, 100) }
  }

  /// Reads what is there; false at the end of the file.
  private func drain() -> Bool {
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let got = read(errors.number, &piece, piece.count)
      if got < 0 { return errno == EAGAIN || errno == EINTR }
      if got == 0 { return false }
      state.withLock { state in
        state.tail += piece[..<got]
        if state.tail.count > tailLimit { state.tail.removeFirst(state.tail.count - tailLimit) }
      }
    }
  }

  private func finish(_ status: ExitStatus) {
    let waiters = state.withLock { state in
      state.status = status
      state.input = nil
      defer { state.waiters = [:] }
      return state.waiters.values
    }
    for waiter in waiters { waiter.resume(returning: status) }
  }
}
