internal import CMicroHTTPD
import Glibc
import Synchronization
import Trust

/// What all listeners of one server share: the handler, the limits, who is in flight.
final class ServerCore: Sendable {
  let configuration: HTTPServer.Configuration
  let handler: HTTPServer.Handler
  let watcher = HangUpWatcher()
  private let exchanges = Mutex<[ObjectIdentifier: Exchange]>([:])
  private let stopping = Atomic<Bool>(false)

  init(configuration: HTTPServer.Configuration, handler: @escaping HTTPServer.Handler) {
    self.configuration = configuration
    self.handler = handler
  }

  deinit { watcher.stop() }

  /// How long a connection may stay without a further whole head.
  var keepAlive: Duration { configuration.idleTimeout + configuration.headDeadline }

  var inFlight: Int { exchanges.withLock(\.count) }

  func beginStopping() { stopping.store(true, ordering: .releasing) }

  func cancelAll() { for exchange in exchanges.withLock({ Array($0.values) }) { exchange.cancel() } }

  /// Counts the exchange in; false when too many are in flight or the server is stopping.
  private func admit(_ exchange: Exchange) -> Bool {
    guard !stopping.load(ordering: .acquiring) else { return false }
    return exchanges.withLock { table in
      guard table.count < configuration.maxInFlight else { return false }
      let share = max(1, configuration.maxInFlight / 4)
      if table.count >= share {
        let sending = table.values.count { $0.sender == exchange.sender && !$0.isWhole }
        guard sending < share else { return false }
      }
      table[ObjectIdentifier(exchange)] = exchange
      return true
    }
  }

  func leave(_ exchange: Exchange) { _ = exchanges.withLock { $0.removeValue(forKey: ObjectIdentifier(exchange)) } }

  // MARK: On the connection's thread

  /// The head has arrived: bounds are checked, and the handler starts.
  func begin(_ exchange: Exchange, _ connection: OpaquePointer, method: String) {
    exchange.connection = connection
    exchange.descriptor = skerry_mhd_socket(connection)
    watcher.headCame(exchange.descriptor)
    exchange.phase = .body
    let headers = fields(of: connection)
    let allowance = configuration.allowance(method, exchange.target)
    exchange.maxBody = allowance?.maxBody ?? UInt64(configuration.maxBody)
    let peer = peer(of: exchange.descriptor)
    exchange.sender =
      switch peer {
      case .tcp(let address): address
      case .unix(let uid, _, _): "uid:\(uid)"
      }
    let request = HTTPRequest(
      method: method, target: exchange.target, headers: headers, peer: peer,
      body: HTTPBody(pipe: exchange.pipe))
    if let failure = refusal(
      of: request, maxBody: exchange.maxBody, headSize: skerry_mhd_header_size(connection))
    {
      refuse(exchange, failure)
      return
    }
    guard admit(exchange) else {
      var failure = HTTPFailure(503, "busy", "Too many requests at the same time.", hint: "Try again in a second.")
      failure.headers["Retry-After"] = "1"
      refuse(exchange, failure)
      return
    }
    let deadline = allowance?.requestDeadline ?? configuration.requestDeadline
    exchange.run(Task { await self.handle(request, exchange, within: deadline) })
  }

  /// Takes a piece of the body; returns how many bytes of it remain.
  func take(_ exchange: Exchange, _ bytes: UnsafeRawBufferPointer) -> Int? {
    exchange.received += UInt64(bytes.count)
    if exchange.received > exchange.maxBody, !exchange.isRefused {
      refuse(exchange, .bodyTooLarge(Int(clamping: exchange.maxBody)))
    }
    // A client that goes on sending for ever is cut off.
    if exchange.isRefused { return exchange.received > UInt64(configuration.maxBody) * 8 ? nil : 0 }
    if exchange.isCancelled { return nil }
    if exchange.hasAnswer { return 0 }
    if exchange.offerOrSleep(Array(bytes)) { return 0 }
    exchange.received -= UInt64(bytes.count)
    return bytes.count
  }

  /// Answers without the handler, or over its head.
  private func refuse(_ exchange: Exchange, _ failure: HTTPFailure) {
    exchange.isRefused = true
    exchange.pipe.finish(throwing: failure)
    answer(exchange, failure)
  }

  private func answer(_ exchange: Exchange, _ failure: HTTPFailure) {
    exchange.answer(configuration.errorResponse(failure, exchange.target))
  }

  /// What a head is refused for before any handler sees it.
  private func refusal(of request: HTTPRequest, maxBody: UInt64, headSize: Int) -> HTTPFailure? {
    if headSize > configuration.maxHeader {
      return HTTPFailure(431, "head_too_large", "The request's head is larger than \(configuration.maxHeader) bytes.")
    }
    // Two readings of where a request ends are how one is smuggled past a proxy (RFC 9112 §6.3).
    let lengths = request.headers.values("Content-Length")
    let encodings = request.headers.values("Transfer-Encoding")
    if lengths.count > 1 || encodings.count > 1 || (!lengths.isEmpty && !encodings.isEmpty)
      || lengths.contains(where: { $0.isEmpty || !$0.utf8.allSatisfy { (0x30...0x39).contains($0) } })
      || encodings.contains(where: { !HTTPHeaders.same($0, "chunked") })
    {
      return malformed("The request does not say clearly how long its body is.")
    }
    if request.headers.values("Host").count > 1 { return malformed("The request names two hosts.") }
    if request.path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
      return malformed("The request's path holds a control character.")
    }
    if let length = lengths.first, UInt64(length).map({ $0 > maxBody }) ?? true {
      return .bodyTooLarge(Int(clamping: maxBody))
    }
    return nil
  }

  private func malformed(_ message: String) -> HTTPFailure {
    var failure = HTTPFailure(400, "malformed", message)
    failure.headers["Connection"] = "close"
    return failure
  }

  private func fields(of connection: OpaquePointer) -> HTTPHeaders {
    var headers = HTTPHeaders()
    withUnsafeMutablePointer(to: &headers) { pointer in
      _ = MHD_get_connection_values(
        connection, .HEADER_KIND,
        { context, _, name, value in
          if let name, let headers = context?.assumingMemoryBound(to: HTTPHeaders.self) {
            headers.pointee.add(String(cString: name), value.map { String(cString: $0) } ?? "")
          }
          return .YES
        }, pointer)
    }
    return headers
  }

  // MARK: In the handler's task

  private func handle(_ request: HTTPRequest, _ exchange: Exchange, within limit: Duration) async {
    let deadline = watcher.expect(within: limit) { [configuration, weak exchange] in
      guard let exchange else { return }
      let failure = HTTPFailure(504, "deadline", "The answer was not ready in time.")
      exchange.expire(configuration.errorResponse(failure, exchange.target))
    }
    defer { watcher.met(deadline) }
    do {
      let response = try await handler(request)
      if case .stream(let produce) = response.body {
        await stream(response, exchange, deadline, produce)
      } else {
        exchange.answer(response)
      }
    } catch let failure as HTTPFailure {
      answer(exchange, failure)
    } catch is CancellationError {
      answer(exchange, HTTPFailure(503, "cancelled", "The request was cancelled."))
    } catch {
      configuration.onError?(error, request)
      let failure = HTTPFailure(500, "internal", "Something went wrong inside.", hint: "The server's log says what.")
      answer(exchange, failure)
    }
  }

  /// Writes the body from the handler's own task, and lets the head go out with the first of it: each change of threads
  /// costs a caller who waits.
  private func stream(
    _ response: HTTPResponse, _ exchange: Exchange, _ deadline: UInt64,
    _ produce: @Sendable (ResponseWriter) async throws -> Void
  ) async {
    // Weak: the exchange holds the writer.
    let writer = ResponseWriter(
      begin: { [weak exchange, watcher] in
        watcher.met(deadline)
        exchange?.answer(response)
      }, wake: { [weak exchange] in exchange?.wake() })
    // An answer that is there already is a deadline's, or the server's farewell.
    guard exchange.attach(writer) else { return }
    // Whoever answers has read what it wants to read.
    exchange.pipe.discard()
    do {
      try await produce(writer)
      writer.finish(failed: false)
    } catch {
      writer.finish(failed: true)
    }
  }
}
