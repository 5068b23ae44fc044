internal import CMicroHTTPD
import Dispatch
import Glibc
import Synchronization

/// An HTTP/1.1 server over libmicrohttpd: one of its daemons, with a thread of its own, for each listener.
public final class HTTPServer: Sendable {
  public typealias Handler = @Sendable (HTTPRequest) async throws -> HTTPResponse

  public struct Configuration: Sendable {
    public var listeners: [Listener]
    /// Key and certificate in PEM; nil serves plain HTTP.
    public var tls: (keyPEM: String, certificatePEM: String)?
    /// Bytes of request line and headers; more is answered 431 or 414.
    public var maxHeader = 32 * 1024
    /// Bytes that each connection reads a body into and writes an answer from. Together with `maxHeader` this is what a
    /// connection takes for as long as it is open.
    public var connectionBuffer = 32 * 1024
    /// Bytes of a request's body; more is answered 413.
    public var maxBody = 8 << 20
    public var maxConnections = 256
    /// Connections from one address at the same time; 0: as many as there are.
    public var maxConnectionsPerAddress = 0
    /// Refuses handshakes older than TLS 1.3. There a server signs only what begins with TLS's own words (RFC 8446
    /// §4.4.3), so that its key may sign other things too.
    public var isTLS13Only = false
    /// Requests being handled; more are answered 503 with Retry-After. Of those whose body has not come whole, one sender (an
    /// address, a local user) has at most a quarter: nobody holds all places by sending slowly.
    public var maxInFlight = 128
    /// From the head's arrival to the response's first byte; past it the answer is 504, and a client that has not sent its
    /// whole body by then is cut off.
    public var requestDeadline: Duration = .seconds(600)
    /// How long the rest of a body that nobody reads may take once the answer is known: until it has come the answer can't
    /// go out, and the request keeps its place among those in flight. As nginx's `lingering_time`.
    public var lingering: Duration = .seconds(30)
    /// From a connection's start to the end of its first head, however slowly the bytes trickle in.
    public var headDeadline: Duration = .seconds(30)
    /// A connection that neither sends nor takes for so long is closed.
    public var idleTimeout: Duration = .seconds(60)

    /// What a request may have beyond the others, by its method and target; nil: the bounds above hold. The handler must
    /// take the body as it comes, and answer early when it does not want it.
    public var allowance: @Sendable (_ method: String, _ target: String) -> Allowance? = { _, _ in nil }

    public struct Allowance: Sendable {
      public var maxBody: UInt64
      public var requestDeadline: Duration

      public init(maxBody: UInt64, requestDeadline: Duration) {
        self.maxBody = maxBody
        self.requestDeadline = requestDeadline
      }
    }

    /// Told of errors that no handler turned into an answer; the client learns only that there was one (500).
    public var onError: (@Sendable (any Error, HTTPRequest) -> Void)?

    /// The form in which clients of a target (path and query) expect an error, also one that no handler saw.
    public var errorResponse: @Sendable (HTTPFailure, _ target: String) -> HTTPResponse = { failure, _ in
      failure.response
    }

    public init(listeners: [Listener]) { self.listeners = listeners }
  }

  private struct Running {
    var daemons: [OpaquePointer] = []
    var ports: [Int] = []
    var secrets: [UnsafeMutablePointer<CChar>] = []
    var sockets: [String] = []
  }

  private struct Box: @unchecked Sendable { var running = Running() }

  private let core: ServerCore
  private let state = Mutex(Box())

  public init(_ configuration: Configuration, handler: @escaping Handler) {
    core = ServerCore(configuration: configuration, handler: handler)
  }

  public convenience init(configuration: Configuration, handler: @escaping Handler) {
    self.init(configuration, handler: handler)
  }

  /// The TCP port of each listener, 0 for those without one.
  public var boundPorts: [Int] { state.withLock { $0.running.ports } }

  public var inFlight: Int { core.inFlight }

  /// Listens. Throws `ListenError`; then nothing listens.
  public func start() throws {
    do {
      for listener in core.configuration.listeners { try start(listener) }
    } catch {
      stopDaemons()
      throw error
    }
  }

  private func start(_ listener: Listener) throws(ListenError) {
    let descriptor = try listener.open()
    let settings = core.configuration
    var flags = MHD_USE_EPOLL_INTERNAL_THREAD.rawValue | MHD_ALLOW_SUSPEND_RESUME.rawValue | MHD_USE_ITC.rawValue
    let context = Unmanaged.passUnretained(core).toOpaque()
    let logger:
      @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?, OpaquePointer?) -> UnsafeMutableRawPointer? = {
        context, uri, _ in
        guard let context else { return nil }
        let core = Unmanaged<ServerCore>.fromOpaque(context).takeUnretainedValue()
        return Unmanaged.passRetained(Exchange(target: uri.map { String(cString: $0) } ?? "/", server: core)).toOpaque()
      }
    let completed: MHD_RequestCompletedCallback = { _, _, slot, _ in
      guard let pointer = slot?.pointee else { return }
      slot?.pointee = nil
      finished(Unmanaged<Exchange>.fromOpaque(pointer).takeRetainedValue())
    }
    let connected: MHD_NotifyConnectionCallback = { context, connection, _, what in
      guard let context, let connection else { return }
      let core = Unmanaged<ServerCore>.fromOpaque(context).takeUnretainedValue()
      let descriptor = skerry_mhd_socket(connection)
      if what == .CONNECTION_NOTIFY_STARTED {
        core.watcher.expectHead(descriptor, within: core.configuration.headDeadline)
      } else {
        core.watcher.headCame(descriptor)
      }
    }
    var options = [
      MHD_OptionItem(option: .LISTEN_SOCKET, value: Int(descriptor), ptr_value: nil),
      MHD_OptionItem(option: .URI_LOG_CALLBACK, value: unsafeBitCast(logger, to: Int.self), ptr_value: context),
      MHD_OptionItem(option: .NOTIFY_COMPLETED, value: unsafeBitCast(completed, to: Int.self), ptr_value: nil),
      MHD_OptionItem(option: .NOTIFY_CONNECTION, value: unsafeBitCast(connected, to: Int.self), ptr_value: context),
      // Refuses what is not HTTP/1.1 to the letter, like a request without Host.
      MHD_OptionItem(option: .STRICT_FOR_CLIENT, value: 1, ptr_value: nil),
      MHD_OptionItem(option: .CONNECTION_LIMIT, value: settings.maxConnections, ptr_value: nil),
      MHD_OptionItem(
        option: .CONNECTION_TIMEOUT, value: max(1, Int(settings.idleTimeout.components.seconds)), ptr_value: nil),
      // The pool holds the head and the buffer that the body is read into.
      MHD_OptionItem(
        option: .CONNECTION_MEMORY_LIMIT, value: settings.maxHeader + settings.connectionBuffer, ptr_value: nil),
    ]
    var secrets: [UnsafeMutablePointer<CChar>] = []
    if let tls = settings.tls, let key = strdup(tls.keyPEM), let certificate = strdup(tls.certificatePEM) {
      flags |= MHD_USE_TLS.rawValue
      secrets = [key, certificate]
      options.append(MHD_OptionItem(option: .HTTPS_MEM_KEY, value: 0, ptr_value: key))
      options.append(MHD_OptionItem(option: .HTTPS_MEM_CERT, value: 0, ptr_value: certificate))
      if settings.isTLS13Only, let priorities = strdup("NORMAL:-VERS-ALL:+VERS-TLS1.3") {
        secrets.append(priorities)
        options.append(MHD_OptionItem(option: .HTTPS_PRIORITIES, value: 0, ptr_value: priorities))
      }
    }
    if settings.maxConnectionsPerAddress > 0 {
      options.append(
        MHD_OptionItem(option: .PER_IP_CONNECTION_LIMIT, value: settings.maxConnectionsPerAddress, ptr_value: nil))
    }
    options.append(MHD_OptionItem(option: .END, value: 0, ptr_value: nil))
    let port = boundPort(descriptor)
    guard let daemon = skerry_mhd_start(flags, 0, serve, context, &options) else {
      let code = errno == 0 ? EINVAL : errno
      close(descriptor)
      for secret in secrets { free(secret) }
      throw ListenError(listener: "\(listener)", code: code)
    }
    let started = UInt(bitPattern: UnsafeRawPointer(daemon))
    let kept = secrets.map { UInt(bitPattern: $0) }
    state.withLock { box in
      if let daemon = OpaquePointer(bitPattern: started) { box.running.daemons.append(daemon) }
      box.running.ports.append(port)
      if case .unix(let path, _) = listener { box.running.sockets.append(path) }
      box.running.secrets += kept.compactMap { UnsafeMutablePointer<CChar>(bitPattern: $0) }
    }
  }

  /// Takes no new connection, lets what is in flight finish for up to `drain`, cancels the rest, stops.
  public func stop(drain: Duration = .seconds(0)) async {
    core.beginStopping()
    state.withLock { box in
      for daemon in box.running.daemons {
        let descriptor = MHD_quiesce_daemon(daemon)
        if descriptor >= 0 { close(descriptor) }
      }
    }
    let deadline = ContinuousClock.now + drain
    while core.inFlight > 0, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(20)) }
    core.cancelAll()
    let last = ContinuousClock.now + .seconds(5)
    while core.inFlight > 0, ContinuousClock.now < last {
      core.cancelAll()
      try? await Task.sleep(for: .milliseconds(10))
    }
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      DispatchQueue.global().async {
        self.stopDaemons()
        continuation.resume()
      }
    }
  }

  private func stopDaemons() {
    let box = state.withLock { box in
      defer { box = Box() }
      return box
    }
    for daemon in box.running.daemons { MHD_stop_daemon(daemon) }
    for secret in box.running.secrets { free(secret) }
    for path in box.running.sockets { unlink(path) }
  }
}

/// The exchange is over, however it ended.
private func finished(_ exchange: Exchange) {
  exchange.end()
  exchange.server.leave(exchange)
}

/// libmicrohttpd's access handler: called for the head, for each piece of the body, and when woken.
private let serve: MHD_AccessHandlerCallback = { _, connection, _, method, _, upload, size, slot in
  guard let connection, let pointer = slot?.pointee, let size else { return .NO }
  let exchange = Unmanaged<Exchange>.fromOpaque(pointer).takeUnretainedValue()
  let core = exchange.server
  switch exchange.phase {
  case .head:
    core.begin(exchange, connection, method: method.map { String(cString: $0) } ?? "GET")
    return .YES
  case .body where size.pointee > 0:
    guard let rest = core.take(exchange, UnsafeRawBufferPointer(start: upload, count: size.pointee)) else { return .NO }
    size.pointee = rest
    return .YES
  case .body, .waiting:
    if exchange.phase == .body { exchange.bodyEnded() }
    exchange.phase = .waiting
    guard let response = exchange.sleepUnlessAnswered() else { return .YES }
    exchange.phase = .answering
    return send(response, exchange, connection)
  case .answering, .done:
    return .NO
  }
}

private func send(_ response: HTTPResponse, _ exchange: Exchange, _ connection: OpaquePointer) -> MHD_Result {
  guard !exchange.isCancelled || response.status == 504 else { return .NO }
  var response = response
  var made = make(response, exchange)
  if made == nil {
    response = HTTPFailure(500, "gone", "What was asked for could not be read.").response
    made = make(response, exchange)
  }
  guard let made else { return .NO }
  defer { MHD_destroy_response(made) }
  for field in response.headers.all { MHD_add_response_header(made, field.name, field.value) }
  return MHD_queue_response(connection, UInt32(response.status), made)
}

private func make(_ response: HTTPResponse, _ exchange: Exchange) -> OpaquePointer? {
  switch response.body {
  case .bytes(let bytes):
    var copied = bytes
    return MHD_create_response_from_buffer(copied.count, &copied, .RESPMEM_MUST_COPY)
  case .file(let path, let offset, let length):
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    return MHD_create_response_from_fd_at_offset64(length, descriptor, offset)
  case .stream:
    guard let writer = exchange.writer else { return nil }
    let context = Unmanaged.passRetained(Streaming(writer: writer, exchange: exchange))
    return MHD_create_response_from_callback(
      UInt64.max, 32 * 1024,
      { context, _, target, capacity in
        guard let context, let target else { return -2 }
        let streaming = Unmanaged<Streaming>.fromOpaque(context).takeUnretainedValue()
        let space = UnsafeMutableRawBufferPointer(start: target, count: capacity)
        return switch streaming.writer.read(into: space, sleep: { streaming.exchange.sleep() }) {
        case .bytes(let count): count
        case .asleep: 0
        case .end: -1
        case .failed: -2
        }
      },
      context.toOpaque(),
      { context in
        guard let context else { return }
        Unmanaged<Streaming>.fromOpaque(context).release()
      })
  }
}

/// What the content reader needs.
private final class Streaming: Sendable {
  let writer: ResponseWriter
  let exchange: Exchange
  init(writer: ResponseWriter, exchange: Exchange) {
    self.writer = writer
    self.exchange = exchange
  }
}
