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

  var inFlight: Int { exchanges.withLock(\.count) }

  func beginStopping() { stopping.store(true, ordering: .releasing) }

  func cancelAll() { for exchange in exchanges.withLock({ Array($0.values) }) { exchange.cancel() } }

  /// Counts the exchange in; false when too many are in flight or the server is stopping.
  private func admit(_ exchange: Exchange) -> Bool {
    guard !stopping.load(ordering: .acquiring) else { return false }
    return exchanges.withLock { table in
      guard table.count < configuration.maxInFlight else { return false }
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
    exchange.phase = .body
    let headers = fields(of: connection)
    if let length = headers["Content-Length"].flatMap(UInt64.init), length > UInt64(configuration.maxBody) {
      refuseBody(exchange)
      return
    }
    guard admit(exchange) else {
      var failure = HTTPFailure(503, "busy", "Too many requests at the same time.", hint: "Try again in a second.")
      failure.headers["Retry-After"] = "1"
      exchange.answer(failure.response)
      return
    }
    exchange.counted = true
    let request = HTTPRequest(
      method: method, target: exchange.target, headers: headers, peer: peer(of: exchange.descriptor),
      body: HTTPBody(pipe: exchange.pipe))
    exchange.run(Task { await self.handle(request, exchange) })
  }

  /// Takes a piece of the body; returns how many bytes of it remain.
  func take(_ exchange: Exchange, _ bytes: UnsafeRawBufferPointer) -> Int? {
    exchange.received += UInt64(bytes.count)
    if exchange.received > UInt64(configuration.maxBody), !exchange.tooLarge { refuseBody(exchange) }
    // A client that goes on sending for ever is cut off.
    if exchange.tooLarge { return exchange.received > UInt64(configuration.maxBody) * 8 ? nil : 0 }
    if exchange.hasAnswer { return 0 }
    if exchange.offerOrSleep(Array(bytes)) { return 0 }
    exchange.received -= UInt64(bytes.count)
    return bytes.count
  }

  private func refuseBody(_ exchange: Exchange) {
    exchange.tooLarge = true
    let failure = HTTPFailure.bodyTooLarge(configuration.maxBody)
    exchange.pipe.finish(throwing: failure)
    exchange.answer(failure.response)
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

  private func handle(_ request: HTTPRequest, _ exchange: Exchange) async {
    let deadline = Task {
      try await Task.sleep(for: configuration.requestDeadline)
      exchange.answer(HTTPFailure(504, "deadline", "The answer was not ready in time.").response)
      exchange.cancel()
    }
    defer { deadline.cancel() }
    do {
      exchange.answer(try await handler(request))
    } catch let failure as HTTPFailure {
      exchange.answer(failure.response)
    } catch is CancellationError {
      exchange.answer(HTTPFailure(503, "cancelled", "The request was cancelled.").response)
    } catch {
      exchange.answer(HTTPFailure(500, "internal", "Something went wrong inside: \(error)").response)
    }
  }
}
