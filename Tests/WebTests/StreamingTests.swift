import Glibc
import Synchronization
import Testing
import Trust
import Web

/// Streams: bounded memory, back-pressure, hang-ups.
@Suite(.serialized) struct StreamingTests {
  static let size = 100 << 20

  private func digestOfAll(_ piece: [UInt8]) -> String {
    var digest = SHA256()
    for _ in 0..<(Self.size / piece.count) { digest.update(piece) }
    return digest.finalize().hex
  }

  @Test func aHundredMegabytesBothWaysInBoundedMemory() async throws {
    let piece = [UInt8]((0..<65536).map { UInt8(truncatingIfNeeded: $0 &* 7) })
    let sent = Counter()
    let peak = Counter()
    try await withServer(settings { $0.maxBody = 1 << 30 }) { request in
      var digest = SHA256()
      for try await part in request.body { digest.update(part) }
      let name = digest.finalize().hex
      return .streaming(200, headers: ["X-Digest": name]) { writer in
        for _ in 0..<(Self.size / piece.count) { try await writer.write(piece) }
      }
    } _: { _, port in
      let client = HTTPClient()
      let before = residentBytes()
      var request = ClientRequest(method: "POST", url: "http://127.0.0.1:\(port)/")
      request.maxResponseBytes = 1 << 30
      request.body = .stream { sent.add(piece.count) <= Self.size ? piece : nil }
      var received = 0
      var isRight = true
      let stream = try await client.stream(request)
      for try await part in stream {
        // The pieces come cut anyhow; every byte says where it belongs.
        isRight =
          isRight && part.first == piece[received % 65536] && part.last == piece[(received + part.count - 1) % 65536]
        received += part.count
        if received % (1 << 20) < part.count { peak.add(max(0, residentBytes() - before - peak.value)) }
      }
      #expect(received == Self.size)
      #expect(isRight)
      #expect(stream.headers["X-Digest"] == digestOfAll(piece))
      #expect(peak.value < 64 << 20, "grew by \(peak.value >> 20) MiB")
      await client.close()
    }
  }

  @Test func aBodyReadTooLateIsAnErrorAndNotEmpty() async throws {
    let failed = Flag()
    try await withServer { request in
      .streaming(200, headers: [:]) { writer in
        do { for try await part in request.body { try await writer.write(part) } } catch is BodyDiscarded {
          failed.set()
          throw BodyDiscarded()
        }
      }
    } _: { _, port in
      let client = HTTPClient()
      let request = ClientRequest(method: "POST", url: "http://127.0.0.1:\(port)/", body: .bytes([1, 2, 3]))
      await #expect(throws: HTTPClientError.self) { try await client.send(request) }
      #expect(failed.isSet)
      await client.close()
    }
  }

  @Test func aSlowReaderMakesTheHandlerWait() async throws {
    let written = Counter()
    try await withServer { _ in
      .streaming(200, headers: [:]) { writer in
        let piece = [UInt8](repeating: 0x61, count: 32 * 1024)
        while true {
          try await writer.write(piece)
          written.add(piece.count)
        }
      }
    } _: { _, port in
      let client = HTTPClient()
      var request = ClientRequest(url: "http://127.0.0.1:\(port)/")
      request.maxResponseBytes = .max
      let stream = try await client.stream(request)
      let iterator = stream.makeAsyncIterator()
      _ = try await iterator.next()
      // Whatever sockets and buffers hold; then it stands still.
      var last = -1
      while last != written.value {
        last = written.value
        try await Task.sleep(for: .milliseconds(200))
      }
      #expect(last < 16 << 20)
      for _ in 0..<400 { _ = try await iterator.next() }
      #expect(await eventually { written.value > last })
      stream.cancel()
      await client.close()
    }
  }

  @Test func aHandlerThatDoesNotReadMakesTheClientWait() async throws {
    let sent = Counter()
    let release = Flag()
    try await withServer(settings { $0.maxBody = 1 << 30 }) { request in
      while !release.isSet { try await Task.sleep(for: .milliseconds(5)) }
      var total = 0
      for try await piece in request.body { total += piece.count }
      return .text(200, "\(total)")
    } _: { _, port in
      let client = HTTPClient()
      var request = ClientRequest(method: "PUT", url: "http://127.0.0.1:\(port)/")
      let piece = [UInt8](repeating: 0x61, count: 32 * 1024)
      request.body = .stream { sent.add(piece.count) <= 64 << 20 ? piece : nil }
      let fixed = request
      async let answer = client.send(fixed)
      var last = -1
      while last != sent.value {
        last = sent.value
        try await Task.sleep(for: .milliseconds(200))
      }
      #expect(last < 32 << 20)
      release.set()
      #expect(String(decoding: try await answer.body, as: UTF8.self) == "\(64 << 20)")
      await client.close()
    }
  }

  @Test func fiftyStreamsAtOnce() async throws {
    try await withServer { request in
      let name = request.path
      return .streaming(200, headers: ["Content-Type": "text/event-stream"]) { writer in
        for count in 0..<40 {
          try await writer.write("\(name) \(count)\n")
          try await Task.sleep(for: .milliseconds(1))
        }
      }
    } _: { _, port in
      let client = HTTPClient()
      let whole = try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<50 {
          group.addTask {
            var text = ""
            let stream = try await client.stream(ClientRequest(url: "http://127.0.0.1:\(port)/\(number)"))
            for try await piece in stream { text += String(decoding: piece, as: UTF8.self) }
            return text == (0..<40).map { "/\(number) \($0)\n" }.joined()
          }
        }
        return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      #expect(whole == 50)
      await client.close()
    }
  }

  /// The time from a server's write to the client's read, one token after the other.
  @Test func tokensAreNotHeldBack() async throws {
    let clock = ContinuousClock()
    let (turns, next) = AsyncStream<Void>.makeStream()
    try await withServer { _ in
      .streaming(200, headers: [:]) { writer in
        for await _ in turns { try await writer.write("token") }
      }
    } _: { _, port in
      let client = HTTPClient()
      next.yield()
      let stream = try await client.stream(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      let iterator = stream.makeAsyncIterator()
      _ = try await iterator.next()
      var times: [Duration] = []
      for _ in 0..<200 {
        let start = clock.now
        next.yield()
        _ = try await iterator.next()
        times.append(clock.now - start)
      }
      next.finish()
      let median = times.sorted()[100]
      // Well below what Nagle's algorithm or a polling loop would cost, also on a busy machine.
      #expect(median < .milliseconds(10), "\(median)")
      await client.close()
    }
  }

  enum Moment: CaseIterable { case beforeTheAnswer, inTheStream, whileReadingTheBody }

  @Test(arguments: Moment.allCases)
  func aHangUpCancelsTheHandler(_ moment: Moment) async throws {
    let entered = Flag()
    let cancelled = Mutex<ContinuousClock.Instant?>(nil)
    try await withServer { request in
      @Sendable func hang() async throws {
        entered.set()
        do { try await Task.sleep(for: .seconds(60)) } catch {
          cancelled.withLock { $0 = .now }
          throw error
        }
      }
      switch moment {
      case .beforeTheAnswer: try await hang()
      case .whileReadingTheBody:
        entered.set()
        do { _ = try await request.body.collect(upTo: 1 << 20) } catch {
          cancelled.withLock { $0 = .now }
          throw error
        }
      case .inTheStream:
        return .streaming(200, headers: [:]) { writer in
          try await writer.write("first")
          try await hang()
        }
      }
      return .empty(204)
    } _: { server, port in
      let socket = try RawSocket(port: port)
      socket.send(
        moment == .whileReadingTheBody
          ? "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf" : "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(await eventually { entered.isSet })
      try await Task.sleep(for: .milliseconds(50))
      let start = ContinuousClock.now
      socket.close()
      #expect(await eventually { cancelled.withLock { $0 } != nil })
      let took = cancelled.withLock { $0 }.map { $0 - start }
      #expect(took ?? .seconds(99) < .seconds(5), "\(String(describing: took))")
      #expect(await eventually { server.inFlight == 0 })
    }
  }

  @Test func aHangUpOverTLSCancelsTheHandler() async throws {
    let identity = try TLSIdentity.selfSigned(commonName: "hub", addresses: ["127.0.0.1"])
    let entered = Flag()
    let cancelled = Flag()
    try await withServer(settings { $0.tls = (identity.keyPEM, identity.certificatePEM) }) { _ in
      entered.set()
      do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.set() }
      return .empty(204)
    } _: { _, port in
      let client = HTTPClient()
      let task = Task {
        var request = ClientRequest(url: "https://127.0.0.1:\(port)/")
        request.pin = identity.pin
        return try await client.send(request).status
      }
      #expect(await eventually { entered.isSet })
      task.cancel()
      #expect(await eventually(within: .seconds(2)) { cancelled.isSet })
      await #expect(throws: HTTPClientError.self) { try await task.value }
      await client.close()
    }
  }

  @Test func aStreamThatFailsIsCutAndNotEnded() async throws {
    struct Broken: Error {}
    try await withServer { _ in
      .streaming(200, headers: [:]) { writer in
        try await writer.write("half")
        throw Broken()
      }
    } _: { _, port in
      let client = HTTPClient()
      let stream = try await client.stream(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      var text = ""
      let error = await #expect(throws: HTTPClientError.self) {
        for try await piece in stream { text += String(decoding: piece, as: UTF8.self) }
      }
      #expect(error?.kind == .cut)
      await client.close()
    }
  }

  @Test func aDroppedStreamEndsTheHandler() async throws {
    let cancelled = Flag()
    try await withServer { _ in
      .streaming(200, headers: [:]) { writer in
        do {
          while true {
            try await writer.write("more")
            try await Task.sleep(for: .milliseconds(2))
          }
        } catch { cancelled.set() }
      }
    } _: { _, port in
      let client = HTTPClient()
      do {
        let stream = try await client.stream(ClientRequest(url: "http://127.0.0.1:\(port)/"))
        for try await _ in stream { break }
      }
      #expect(await eventually { cancelled.isSet })
      await client.close()
    }
  }

  @Test func hundredsOfHangUpsLeaveNothingBehind() async throws {
    let running = Counter()
    try await withServer { _ in
      .streaming(200, headers: [:]) { writer in
        running.add()
        defer { running.add(-1) }
        while true {
          try await writer.write("more")
          try await Task.sleep(for: .milliseconds(1))
        }
      }
    } _: { server, port in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<20 {
          group.addTask {
            for turn in 0..<15 {
              let socket = try RawSocket(port: port)
              socket.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
              if turn % 3 > 0 { _ = try await blocking { socket.receive() } }
              socket.close()
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(await eventually { server.inFlight == 0 && running.value == 0 })
      let client = HTTPClient()
      let stream = try await client.stream(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      #expect(stream.status == 200)
      stream.cancel()
      await client.close()
    }
  }
}
