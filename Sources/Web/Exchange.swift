internal import CMicroHTTPD
import Glibc
import Synchronization

/// One request and its response, between libmicrohttpd's thread and the handler's task.
///
/// The connection sleeps (suspended) while the handler works; whoever flips `asleep` back resumes it, so that it is
/// resumed exactly once. The pointer is used only while the connection is known to live: asleep, or on its own thread.
final class Exchange: @unchecked Sendable {
  enum Phase { case head, body, waiting, answering, done }

  private struct State {
    var response: HTTPResponse?
    var asleep = false
    var cancelled = false
    var task: Task<Void, Never>?
    var writer: ResponseWriter?
    var ticket: UInt64?
    /// The request has come to its end.
    var isWhole = false
    /// The connection is libmicrohttpd's again.
    var hasEnded = false
    /// Runs until the rest of a body that nobody wants has come.
    var lingering: UInt64?
  }

  let target: String
  let pipe: BytePipe
  /// Who sends: an address, or a local user.
  var sender = ""
  let server: ServerCore
  // Touched on the connection's thread alone.
  var phase = Phase.head
  var received: UInt64 = 0
  /// Bytes that the body may have.
  var maxBody: UInt64 = 0
  /// Answered without a handler; what still comes is thrown away.
  var isRefused = false
  var connection: OpaquePointer?
  var descriptor: Int32 = -1
  private let state = Mutex(State())

  init(target: String, server: ServerCore) {
    self.target = target
    self.server = server
    pipe = BytePipe(capacity: 256 * 1024)
  }

  func run(_ task: Task<Void, Never>) {
    let late = state.withLock { state -> Bool in
      state.task = task
      return state.cancelled
    }
    if late { task.cancel() }
  }

  /// Puts the connection to sleep unless the response is there already. On the connection's thread.
  func sleepUnlessAnswered() -> HTTPResponse? {
    state.withLock { state in
      if let response = state.response { return response }
      suspend(&state)
      return nil
    }
  }

  /// Gives a piece of the body to the handler, or sleeps until there is room for it. On the connection's thread.
  func offerOrSleep(_ bytes: [UInt8]) -> Bool {
    state.withLock { state in
      // Under the lock, so that room which appears now wakes us after we sleep and not before.
      if pipe.offer(bytes, onRoom: { [weak self] in self?.wake() }) { return true }
      suspend(&state)
      return false
    }
  }

  /// Sleeps until `wake`. On the connection's thread.
  func sleep() { state.withLock { suspend(&$0) } }

  private func suspend(_ state: inout State) {
    guard let connection else { return }
    state.asleep = true
    MHD_suspend_connection(connection)
    state.ticket = server.watcher.watch(descriptor) { [weak self] in self?.cancel() }
  }

  /// Resumes the connection when it sleeps. From any thread.
  func wake() {
    state.withLock { state in
      guard state.asleep, let connection else { return }
      state.asleep = false
      if let ticket = state.ticket { server.watcher.forget(ticket, descriptor) }
      state.ticket = nil
      MHD_resume_connection(connection)
    }
  }

  /// The handler's answer; the first one counts.
  func answer(_ response: HTTPResponse) {
    let (first, isWhole) = state.withLock { state -> (Bool, Bool) in
      guard state.response == nil else { return (false, true) }
      state.response = response
      return (true, state.isWhole)
    }
    guard first else { return }
    pipe.discard()
    if !isWhole { hurry() }
    wake()
  }

  /// Cuts the connection off when the rest of the body does not come in time.
  private func hurry() {
    let ticket = server.watcher.expect(within: server.configuration.lingering) { [weak self] in self?.cutOff() }
    let late = state.withLock { state -> Bool in
      if state.isWhole || state.hasEnded { return true }
      state.lingering = ticket
      return false
    }
    if late { server.watcher.met(ticket) }
  }

  private func cutOff() {
    state.withLock { state in
      if !state.isWhole, !state.hasEnded, descriptor >= 0 { shutdown(descriptor, Int32(SHUT_RDWR)) }
    }
    cancel()
  }

  /// Whether the whole request has come.
  var isWhole: Bool { state.withLock(\.isWhole) }

  private func stopLingering() {
    let ticket = state.withLock { state in
      defer { state.lingering = nil }
      return state.lingering
    }
    if let ticket { server.watcher.met(ticket) }
  }

  var isCancelled: Bool { state.withLock(\.cancelled) }
  var hasAnswer: Bool { state.withLock { $0.response != nil } }

  /// Who writes the answer's body, when it is streamed.
  var writer: ResponseWriter? { state.withLock(\.writer) }

  /// False when the exchange has an answer already, or is over.
  func attach(_ writer: ResponseWriter) -> Bool {
    state.withLock { state in
      guard !state.cancelled, state.response == nil else { return false }
      state.writer = writer
      return true
    }
  }

  /// The whole request is here. On the connection's thread.
  func bodyEnded() {
    state.withLock { $0.isWhole = true }
    stopLingering()
    pipe.finish()
  }

  /// The connection goes on without this exchange, or is closed. On the connection's thread.
  func end() {
    state.withLock { $0.hasEnded = true }
    stopLingering()
    cancel()
    if descriptor >= 0 { server.watcher.expectHead(descriptor, within: server.keepAlive) }
  }

  /// The handler took too long. A client that is still sending can't be answered: it is cut off.
  func expire(_ response: HTTPResponse) {
    answer(response)
    cutOff()
  }

  /// The client has gone or the server stops: ends the handler and lets the connection go.
  func cancel() {
    let (task, writer) = state.withLock { state -> (Task<Void, Never>?, ResponseWriter?) in
      state.cancelled = true
      state.response = state.response ?? HTTPResponse.empty(503)
      return (state.task, state.writer)
    }
    task?.cancel()
    pipe.finish(throwing: CancellationError())
    pipe.discard()
    writer?.cancel()
    wake()
  }
}
