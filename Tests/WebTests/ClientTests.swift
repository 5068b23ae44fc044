import Glibc
import Testing
import Trust
import Web

/// The client against peers that lie, hang, stop half-way and say too much.
@Suite struct ClientTests {
  private func error(
    _ change: (inout ClientRequest) -> Void = { _ in }, from serve: @escaping @Sendable (RawSocket) -> Void
  ) async throws -> HTTPClientError? {
    let server = try RawServer(serve)
    let client = HTTPClient()
    var request = ClientRequest(url: "http://127.0.0.1:\(server.port)/")
    change(&request)
    let fixed = request
    let error = await #expect(throws: HTTPClientError.self) { try await client.send(fixed) }
    await client.close()
    server.stop()
    return error
  }

  @Test func nobodyThereIsUnreachable() async throws {
    let server = try RawServer { _ in }
    server.stop()
    let client = HTTPClient()
    let port = server.port
    let refused = await #expect(throws: HTTPClientError.self) { try await client.status(port) }
    #expect(refused?.kind == .unreachable && refused?.retryable == true)
    var request = ClientRequest(url: "http://localhost/")
    request.unixSocket = "/tmp/skerry-nobody-here.sock"
    let fixed = request
    let absent = await #expect(throws: HTTPClientError.self) { try await client.send(fixed) }
    #expect(absent?.kind == .unreachable)
    await client.close()
  }

  @Test(arguments: ["ftp://127.0.0.1/", "file:///etc/passwd", "not a url", ""])
  func onlyHTTPIsSpoken(_ url: String) async throws {
    let client = HTTPClient()
    let error = await #expect(throws: HTTPClientError.self) { try await client.send(ClientRequest(url: url)) }
    #expect(error?.retryable == false && error?.kind == .other)
    await client.close()
  }

  @Test func aHungPeerTimesOut() async throws {
    let start = ContinuousClock.now
    let error = try await error {
      $0.totalTimeout = .milliseconds(200)
    } from: { socket in
      while socket.receive() != nil {}
    }
    #expect(error?.kind == .timeout && error?.retryable == true)
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  @Test func aPeerThatDribblesTimesOut() async throws {
    let error = try await error {
      $0.lowSpeed = (1000, 1)
    } from: { socket in
      _ = socket.receive()
      socket.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
      while socket.send("x") { usleep(50_000) }
    }
    #expect(error?.kind == .timeout)
  }

  @Test(arguments: [
    "", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nContent-",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
  ])
  func halfAnAnswerIsNoAnswer(_ text: String) async throws {
    let error = try await error { _ in
    } from: { socket in
      _ = socket.receive()
      socket.send(text)
    }
    #expect(error?.kind == .cut, "\(String(describing: error))")
    #expect(error?.retryable == true)
  }

  @Test func aResetIsCut() async throws {
    let error = try await error { _ in
    } from: { socket in
      _ = socket.receive()
      var hard = linger(l_onoff: 1, l_linger: 0)
      setsockopt(socket.descriptor, SOL_SOCKET, SO_LINGER, &hard, socklen_t(MemoryLayout<linger>.size))
    }
    #expect(error?.kind == .cut)
  }

  @Test func garbageIsNoAnswer() async throws {
    let error = try await error { _ in
    } from: { socket in
      _ = socket.receive()
      socket.send("SSH-2.0-OpenSSH_9.2\r\n")
    }
    #expect(error != nil && error?.retryable == false)
  }

  @Test(arguments: [true, false])
  func moreThanTheLimitIsTooLarge(_ named: Bool) async throws {
    let error = try await error {
      $0.maxResponseBytes = 10_000
    } from: { socket in
      _ = socket.receive()
      socket.send("HTTP/1.1 200 OK\r\n\(named ? "Content-Length: 10000000\r\n" : "")\r\n")
      while socket.send([UInt8](repeating: 0x61, count: 4096)) {}
    }
    #expect(error?.kind == .tooLarge && error?.retryable == false)
  }

  @Test func exactlyTheLimitFits() async throws {
    try await withServer { _ in
      .text(200, "0123456789")
    } _: { _, port in
      let client = HTTPClient()
      var request = ClientRequest(url: "http://127.0.0.1:\(port)/")
      request.maxResponseBytes = 10
      let fits = try await client.send(request)
      #expect(fits.body.count == 10)
      request.maxResponseBytes = 9
      let fixed = request
      let error = await #expect(throws: HTTPClientError.self) { try await client.send(fixed) }
      #expect(error?.kind == .tooLarge)
      await client.close()
    }
  }

  @Test func endlessHeadersEnd() async throws {
    let error = try await error {
      $0.totalTimeout = .seconds(20)
    } from: { socket in
      _ = socket.receive()
      socket.send("HTTP/1.1 200 OK\r\n")
      while socket.send("X-Long: \(String(repeating: "a", count: 4096))\r\n") {}
    }
    #expect(error != nil && error?.kind != .timeout)
  }

  @Test func interimAnswersAreSkipped() async throws {
    let server = try RawServer { socket in
      _ = socket.receive()
      socket.send("HTTP/1.1 100 Continue\r\nX-A: interim\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
      socket.send("HTTP/1.1 404 Not Found\r\nX-B: \t two words \r\nContent-Length: 2\r\n\r\nno")
    }
    let client = HTTPClient()
    let response = try await client.send(ClientRequest(url: "http://127.0.0.1:\(server.port)/"))
    #expect(response.status == 404 && response.headers["x-a"] == nil && response.headers["link"] == nil)
    #expect(response.headers["X-B"] == "two words" && response.body == Array("no".utf8))
    await client.close()
    server.stop()
  }

  @Test func redirectsAreNotFollowed() async throws {
    try await withServer { request in
      request.path == "/" ? HTTPResponse(status: 302, headers: ["Location": "/other"]) : .text(200, "followed")
    } _: { _, port in
      let client = HTTPClient()
      let status = try await client.status(port)
      #expect(status == 302)
      await client.close()
    }
  }

  @Test func connectionsAreUsedAgain() async throws {
    let server = try RawServer { socket in
      while socket.receive(until: "\r\n\r\n").hasSuffix("\r\n\r\n") { socket.send("HTTP/1.1 204 No Content\r\n\r\n") }
    }
    let client = HTTPClient()
    for _ in 0..<20 { #expect(try await client.status(server.port) == 204) }
    #expect(server.connections.load(ordering: .relaxed) == 1)
    await client.close()
    server.stop()
  }

  @Test(arguments: [false, true])
  func cancellingTheTaskEndsTheTransfer(_ streams: Bool) async throws {
    let gone = Flag()
    let asked = Flag()
    let server = try RawServer { socket in
      _ = socket.receive(until: "\r\n\r\n")
      if streams { socket.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") }
      asked.set()
      while socket.receive() != nil {}
      gone.set()
    }
    let client = HTTPClient()
    let task = Task {
      let request = ClientRequest(url: "http://127.0.0.1:\(server.port)/")
      if streams {
        for try await _ in try await client.stream(request) {}
      } else {
        _ = try await client.send(request)
      }
    }
    #expect(await eventually { asked.isSet })
    try await Task.sleep(for: .milliseconds(20))
    let start = ContinuousClock.now
    task.cancel()
    let error = await #expect(throws: HTTPClientError.self) { try await task.value }
    #expect(error?.kind == .cancelled)
    #expect(await eventually { gone.isSet })
    #expect(ContinuousClock.now - start < .seconds(5))
    await client.close()
    server.stop()
  }

  @Test func aCancelledTaskSendsNothing() async throws {
    try await withServer { _ in
      .empty(204)
    } _: { _, port in
      let client = HTTPClient()
      let task = Task {
        while !Task.isCancelled { await Task.yield() }
        return try await client.status(port)
      }
      task.cancel()
      let error = await #expect(throws: HTTPClientError.self) { try await task.value }
      #expect(error?.kind == .cancelled)
      await client.close()
    }
  }

  @Test func aBodyThatCannotBeMadeFailsTheRequest() async throws {
    struct NoMore: Error {}
    let (arrived, ended) = (Flag(), Flag())
    try await withServer { request in
      arrived.set()
      do { _ = try await request.body.collect(upTo: 1 << 20) } catch { ended.set() }
      return .empty(204)
    } _: { _, port in
      let client = HTTPClient()
      let count = Counter()
      let request = ClientRequest(
        method: "POST", url: "http://127.0.0.1:\(port)/",
        body: .stream {
          guard count.add() > 3 else { return [1, 2, 3] }
          // Not before the request is on its way: one that was never sent can't be cut.
          _ = await eventually { arrived.isSet }
          throw NoMore()
        })
      await #expect(throws: HTTPClientError.self) { try await client.send(request) }
      #expect(await eventually { ended.isSet })
      await client.close()
    }
  }

  @Test func aBodyOfKnownLengthIsNotChunked() async throws {
    try await withServer { request in
      let size = try await request.body.collect(upTo: 100).count
      return .text(
        200, "\(request.headers["Content-Length"] ?? "none") \(request.headers["Transfer-Encoding"] ?? "none") \(size)")
    } _: { _, port in
      let client = HTTPClient()
      let count = Counter()
      var request = ClientRequest(
        method: "PUT", url: "http://127.0.0.1:\(port)/", body: .stream { count.add() <= 2 ? [1, 2, 3] : nil })
      request.headers["Content-Length"] = "6"
      let response = try await client.send(request)
      #expect(String(decoding: response.body, as: UTF8.self) == "6 none 6")
      await client.close()
    }
  }

  @Test func closeEndsWhatIsUnderWay() async throws {
    let asked = Flag()
    let server = try RawServer { socket in
      _ = socket.receive()
      asked.set()
      while socket.receive() != nil {}
    }
    let client = HTTPClient()
    let task = Task { try await client.status(server.port) }
    #expect(await eventually { asked.isSet })
    await client.close()
    let error = await #expect(throws: HTTPClientError.self) { try await task.value }
    #expect(error?.kind == .cancelled)
    await #expect(throws: HTTPClientError.self) { try await client.status(server.port) }
    // Closing twice is harmless.
    await client.close()
    server.stop()
  }

  @Test func aPinIsNotAskedOfPlainHTTPButATLSPortNeedsTLS() async throws {
    let identity = try TLSIdentity.selfSigned(commonName: "hub", addresses: ["127.0.0.1"])
    try await withServer(settings { $0.tls = (identity.keyPEM, identity.certificatePEM) }) { request in
      .text(200, "\(try await request.body.collect(upTo: 1 << 20).count)")
    } _: { _, port in
      let client = HTTPClient()
      // Plain text to a TLS port gets no answer.
      await #expect(throws: HTTPClientError.self) { try await client.status(port) }
      var request = ClientRequest(
        method: "POST", url: "https://127.0.0.1:\(port)/", body: .bytes([UInt8](repeating: 7, count: 500_000)))
      request.pin = identity.pin
      for _ in 0..<3 {
        let response = try await client.send(request)
        #expect(String(decoding: response.body, as: UTF8.self) == "500000")
      }
      // A kept connection does not help a request that pins another key.
      request.pin = try TLSIdentity.selfSigned(commonName: "hub", addresses: ["127.0.0.1"]).pin
      let fixed = request
      let error = await #expect(throws: HTTPClientError.self) { try await client.send(fixed) }
      #expect(error?.kind == .pinMismatch && error?.retryable == false)
      // Nonsense for a pin is refused, not taken for "no pin".
      var odd = request
      odd.pin = "sha256//AAAA"
      let nonsense = odd
      await #expect(throws: HTTPClientError.self) { try await client.send(nonsense) }
      await client.close()
    }
  }
}
