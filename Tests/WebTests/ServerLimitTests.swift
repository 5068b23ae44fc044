import Glibc
import Testing
import Web

/// What a server answers to clients that send too much, too little, too slowly or nonsense.
@Suite struct ServerLimitTests {
  private func echo(_ request: HTTPRequest) async throws -> HTTPResponse {
    .text(200, "\(try await request.body.collect(upTo: 1 << 30).count)")
  }

  @Test(arguments: [true, false])
  func aBodyAboveTheLimitIs413(_ named: Bool) async throws {
    try await withServer(settings { $0.maxBody = 100_000 }, handler: echo) { _, port in
      let client = HTTPClient()
      var request = ClientRequest(method: "POST", url: "http://127.0.0.1:\(port)/")
      let sent = Counter()
      request.body =
        named
        ? .bytes([UInt8](repeating: 1, count: 100_001))
        : .stream { sent.add() <= 11 ? [UInt8](repeating: 1, count: 10_000) : nil }
      #expect(try await client.send(request).status == 413)
      // One that fits still goes through, on the same connection or another.
      request.body = .bytes([UInt8](repeating: 1, count: 100_000))
      let fits = try await client.send(request)
      #expect(fits.status == 200 && fits.body == Array("100000".utf8))
      await client.close()
    }
  }

  @Test func aHandlersOwnLimitIs413() async throws {
    try await withServer {
      .text(200, "\(try await $0.body.collect(upTo: 10).count)")
    } _: { _, port in
      let client = HTTPClient()
      let url = "http://127.0.0.1:\(port)/"
      let large = try await client.send(ClientRequest(method: "POST", url: url, body: [UInt8](repeating: 0, count: 11)))
      #expect(large.status == 413)
      let fits = try await client.send(ClientRequest(method: "POST", url: url, body: [UInt8](repeating: 0, count: 10)))
      #expect(fits.status == 200)
      await client.close()
    }
  }

  @Test func anEndlessUploadIsCutOff() async throws {
    try await withServer(settings { $0.maxBody = 50_000 }, handler: echo) { _, port in
      let socket = try RawSocket(port: port)
      let sent = try await blocking {
        socket.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        let chunk = Array("2710\r\n".utf8) + [UInt8](repeating: 0x61, count: 10_000) + Array("\r\n".utf8)
        var count = 0
        while count < 100_000_000, socket.send(chunk) { count += 10_000 }
        return count
      }
      #expect(sent < 20_000_000)
    }
  }

  @Test func headersAboveTheLimitAre431() async throws {
    try await withServer(settings { $0.maxHeader = 8 * 1024 }) { _ in
      .empty(204)
    } _: { _, port in
      for size in [9_000, 200_000] {
        let socket = try RawSocket(port: port)
        socket.send("GET / HTTP/1.1\r\nHost: x\r\nX-Long: \(String(repeating: "a", count: size))\r\n\r\n")
        let line = try await blocking { socket.receive(until: "\r\n") }
        #expect(line.hasPrefix("HTTP/1.1 431"), "\(line)")
      }
      let socket = try RawSocket(port: port)
      socket.send("GET / HTTP/1.1\r\nHost: x\r\nX-Long: \(String(repeating: "a", count: 7_000))\r\n\r\n")
      let line = try await blocking { socket.receive(until: "\r\n") }
      #expect(line.hasPrefix("HTTP/1.1 204"), "\(line)")
    }
  }

  @Test(arguments: [
    "GET\r\n\r\n", "GET / HTTP/1.1\r\nHost x\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n", "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
  ])
  func nonsenseIsRefused(_ text: String) async throws {
    let handled = Counter()
    try await withServer { request in
      _ = try await request.body.collect(upTo: 1000)
      handled.add()
      return .empty(204)
    } _: { _, port in
      let socket = try RawSocket(port: port)
      socket.send(text)
      shutdown(socket.descriptor, Int32(SHUT_WR))
      let answer = try await blocking { socket.receiveAll() }
      // A refusal, or the connection closed without a word; never an answer as if all were well.
      #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 4") || answer.hasPrefix("HTTP/1.0 4"), "\(answer)")
      #expect(handled.value == 0)
      // And the server goes on.
      let client = HTTPClient()
      let status204 = try await client.status(port, "/")
      #expect(status204 == 204)
      await client.close()
    }
  }

  @Test func tooManyAtOnceAreToldToComeBack() async throws {
    let release = Flag()
    let entered = Counter()
    try await withServer(settings { $0.maxInFlight = 2 }) { _ in
      entered.add()
      while !release.isSet { try await Task.sleep(for: .milliseconds(2)) }
      return .empty(204)
    } _: { _, port in
      let client = HTTPClient()
      let url = "http://127.0.0.1:\(port)/"
      async let one = client.send(ClientRequest(url: url))
      async let two = client.send(ClientRequest(url: url))
      #expect(await eventually { entered.value == 2 })
      let third = try await client.send(ClientRequest(url: url))
      #expect(third.status == 503 && third.headers["retry-after"] == "1")
      release.set()
      #expect(try await one.status == 204)
      #expect(try await two.status == 204)
      #expect(try await client.send(ClientRequest(url: url)).status == 204)
      await client.close()
    }
  }

  @Test func aHandlerPastTheDeadlineIs504() async throws {
    let cancelled = Flag()
    try await withServer(settings { $0.requestDeadline = .milliseconds(100) }) { _ in
      do { try await Task.sleep(for: .seconds(60)) } catch {
        cancelled.set()
        throw error
      }
      return .empty(204)
    } _: { _, port in
      let client = HTTPClient()
      let start = ContinuousClock.now
      let response = try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      #expect(response.status == 504)
      #expect(ContinuousClock.now - start < .seconds(20))
      #expect(await eventually { cancelled.isSet })
      await client.close()
    }
  }

  @Test func aHeadThatNeverEndsIsCutOff() async throws {
    try await withServer(settings { $0.headDeadline = .milliseconds(300) }) { _ in
      .empty(204)
    } _: { _, port in
      let socket = try RawSocket(port: port)
      let took = try await blocking {
        ContinuousClock().measure {
          // A byte now and then keeps an idle limit from striking.
          let text = Array("GET / HTTP/1.1\r\nHost: x\r\nX: ".utf8) + [UInt8](repeating: 0x61, count: 2000)
          for byte in text {
            guard socket.send([byte]) else { return }
            usleep(20_000)
          }
          _ = socket.receiveAll()
        }
      }
      #expect(took < .seconds(20))
    }
  }

  @Test func aBodyThatNeverEndsIsCutOff() async throws {
    let ended = Flag()
    try await withServer(settings { $0.requestDeadline = .milliseconds(300) }) { request in
      defer { ended.set() }
      return .text(200, "\(try await request.body.collect(upTo: 1000).count)")
    } _: { server, port in
      let socket = try RawSocket(port: port)
      socket.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
      let took = try await blocking { ContinuousClock().measure { _ = socket.receiveAll() } }
      #expect(took < .seconds(20))
      #expect(await eventually { ended.isSet && server.inFlight == 0 })
    }
  }

  /// An answer that is known early waits for the rest of the body; whoever never sends it keeps no place for it.
  @Test(arguments: [true, false])
  func aBodyThatNobodyWantsHoldsNoPlace(_ streamed: Bool) async throws {
    try await withServer(
      settings {
        $0.lingering = .milliseconds(300)
        $0.idleTimeout = .seconds(60)
      }
    ) { _ in
      guard streamed else { return .text(401, "no") }
      return HTTPResponse(status: 200, body: .stream { try await $0.write("no") })
    } _: { server, port in
      let socket = try RawSocket(port: port)
      socket.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
      let took = try await blocking { ContinuousClock().measure { _ = socket.receiveAll() } }
      #expect(took < .seconds(20))
      #expect(await eventually { server.inFlight == 0 })
      // One that comes whole in time is answered as ever.
      let other = try RawSocket(port: port)
      other.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
      other.send("half")
      let answer = try await blocking { other.receive(until: "no") }
      #expect(answer.contains(streamed ? "200" : "401"))
    }
  }

  @Test func nobodyHoldsAllPlacesBySendingSlowly() async throws {
    try await withServer(settings { $0.maxInFlight = 16 }) {
      .text(200, "\(try await $0.body.collect(upTo: 1000).count)")
    } _: { server, port in
      let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
      var slow: [RawSocket] = []
      for _ in 0..<4 {
        let socket = try RawSocket(port: port)
        socket.send(head)
        slow.append(socket)
      }
      #expect(await eventually { server.inFlight == 4 })
      let late = try RawSocket(port: port)
      late.send(head + "four")
      #expect(try await blocking { late.receive(until: "\r\n\r\n") }.contains(" 503 "))
      // Requests without a body, and those of before when they are whole, go through.
      for socket in slow { socket.send("four") }
      for socket in slow { #expect(try await blocking { socket.receive(until: "\r\n\r\n") }.contains(" 200 ")) }
      let next = try RawSocket(port: port)
      next.send(head + "four")
      #expect(try await blocking { next.receive(until: "\r\n\r\n") }.contains(" 200 "))
    }
  }

  @Test func anIdleConnectionIsClosed() async throws {
    try await withServer(settings { $0.idleTimeout = .seconds(1) }) { _ in
      .empty(204)
    } _: { _, port in
      let socket = try RawSocket(port: port)
      socket.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      _ = try await blocking { socket.receive(until: "\r\n\r\n") }
      let took = try await blocking { ContinuousClock().measure { _ = socket.receiveAll() } }
      #expect(took < .seconds(20))
    }
  }
}
