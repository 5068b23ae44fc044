import Glibc
import Testing
import Trust
import Web

@Suite struct ServerTests {
  @Test func aRequestArrivesWhole() async throws {
    try await withServer { request in
      let body = try await request.body.collect(upTo: 1000)
      return .json(
        201,
        [
          "method": .string(request.method), "target": .string(request.target), "path": .string(request.path),
          "query": .string(request.query("q") ?? "none"), "header": .string(request.headers["X-TEST"] ?? "none"),
          "body": .string(String(decoding: body, as: UTF8.self)), "peer": .string("\(request.peer)"),
        ])
    } _: { _, port in
      let client = HTTPClient()
      var request = ClientRequest(method: "PATCH", url: "http://127.0.0.1:\(port)/a%20b/c%2Fd?q=1%2B1+2&r")
      request.headers["x-test"] = "yes"
      request.body = .bytes(Array("hello".utf8))
      let response = try await client.send(request)
      #expect(response.status == 201)
      #expect(response.headers["content-type"] == "application/json")
      let said = try JSONValue(parsing: response.body)
      #expect(said["method"]?.string == "PATCH")
      #expect(said["target"]?.string == "/a%20b/c%2Fd?q=1%2B1+2&r")
      #expect(said["path"]?.string == "/a b/c/d")
      #expect(said["query"]?.string == "1+1 2")
      #expect(said["header"]?.string == "yes")
      #expect(said["body"]?.string == "hello")
      #expect(said["peer"]?.string?.contains("127.0.0.1") == true)
      await client.close()
    }
  }

  @Test(arguments: ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
  func everyMethodWithoutABody(_ method: String) async throws {
    try await withServer { request in
      .text(200, "\(request.method) \(try await request.body.collect(upTo: 9).count)")
    } _: {
      _, port in
      let client = HTTPClient()
      let response = try await client.send(ClientRequest(method: method, url: "http://127.0.0.1:\(port)/"))
      #expect(String(decoding: response.body, as: UTF8.self) == "\(method) 0")
      await client.close()
    }
  }

  @Test func headHasNoBodyAndTheConnectionGoesOn() async throws {
    try await withServer { _ in
      .text(200, "twelve bytes")
    } _: { _, port in
      let socket = try RawSocket(port: port)
      socket.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
      let head = try await blocking { socket.receive(until: "\r\n\r\n") }
      #expect(head.contains("Content-Length: 12") && head.hasSuffix("\r\n\r\n"))
      socket.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      let next = try await blocking { socket.receiveAll() }
      #expect(next.hasSuffix("twelve bytes"))
    }
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
    try await withServer { request in
      // The first is the slowest.
      if request.path == "/1" { try await Task.sleep(for: .milliseconds(30)) }
      return .text(200, "answer to \(request.path).")
    } _: { _, port in
      let socket = try RawSocket(port: port)
      socket.send(
        (1...3).map { "GET /\($0) HTTP/1.1\r\nHost: x\r\n\(($0 == 3) ? "Connection: close\r\n" : "")\r\n" }.joined())
      let all = try await blocking { socket.receiveAll() }
      let order = all.split(separator: "answer to /").dropFirst().compactMap(\.first)
      #expect(order == ["1", "2", "3"])
    }
  }

  @Test func aUnixSocketHasItsModeAndKnowsItsPeer() async throws {
    let scratch = try Scratch()
    let path = scratch.path + "/s"
    try await withServer(settings { $0.listeners = [.unix(path: path, mode: 0o640)] }) { request in
      guard case .unix(let uid, let gid, let pid) = request.peer else { return .text(500, "\(request.peer)") }
      return .text(200, "\(uid) \(gid) \(pid)")
    } _: { _, _ in
      var status = stat()
      #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
      let client = HTTPClient()
      var request = ClientRequest(url: "http://skerry/")
      request.unixSocket = path
      let response = try await client.send(request)
      #expect(String(decoding: response.body, as: UTF8.self) == "\(getuid()) \(getgid()) \(getpid())")
      await client.close()
    }
    #expect(access(path, F_OK) != 0, "the socket's file goes with the server")
  }

  @Test func aFileInTheSocketsPlaceIsNotRemoved() async throws {
    let scratch = try Scratch()
    let path = scratch.path + "/keep"
    close(open(path, O_CREAT | O_WRONLY, 0o600))
    let server = HTTPServer(.init(listeners: [.unix(path: path, mode: 0o600)])) { _ in .empty(200) }
    #expect(throws: ListenError.self) { try server.start() }
    #expect(access(path, F_OK) == 0)
  }

  @Test func aTakenPortIsAnErrorThatNamesIt() async throws {
    try await withServer { _ in
      .empty(204)
    } _: { _, port in
      let second = HTTPServer(.init(listeners: [.tcp(host: "127.0.0.1", port: port)])) { _ in .empty(204) }
      let error = #expect(throws: ListenError.self) { try second.start() }
      #expect(error?.code == EADDRINUSE && error?.description.contains("\(port)") == true)
    }
  }

  @Test func aListeningSocketIsInherited() async throws {
    let listening = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = loopback(port: 0)
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listening, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    #expect(bound == 0 && listen(listening, 8) == 0)
    try await withServer(settings { $0.listeners = [.inherited(listening), .tcp(host: "127.0.0.1", port: 0)] }) { _ in
      .text(200, "in")
    } _: { server, port in
      #expect(server.boundPorts.count == 2 && port > 0)
      let client = HTTPClient()
      for port in server.boundPorts {
        let status200 = try await client.status(port, "/")
        #expect(status200 == 200)
      }
      await client.close()
    }
  }

  @Test func partOfAFile() async throws {
    let scratch = try Scratch()
    let path = scratch.path + "/f"
    let descriptor = open(path, O_CREAT | O_WRONLY, 0o600)
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    #expect(write(descriptor, bytes, bytes.count) == bytes.count)
    close(descriptor)
    try await withServer { request in
      request.path == "/missing"
        ? HTTPResponse(status: 200, body: .file(path: path + "x", offset: 0, length: 10))
        : HTTPResponse(status: 206, body: .file(path: path, offset: 1000, length: 200_000))
    } _: { _, port in
      let client = HTTPClient()
      let response = try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      #expect(response.status == 206 && response.body == Array(bytes[1000..<201_000]))
      // The file went away between the decision and the answer.
      let status500 = try await client.status(port, "/missing")
      #expect(status500 == 500)
      await client.close()
    }
  }

  @Test func failuresBecomeAnswers() async throws {
    struct Odd: Error {}
    try await withServer { request in
      if request.path == "/odd" { throw Odd() }
      var failure = HTTPFailure(429, "slow_down", "Too fast.", hint: "Wait.")
      failure.headers["Retry-After"] = "7"
      throw failure
    } _: { _, port in
      let client = HTTPClient()
      let known = try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      #expect(known.status == 429 && known.headers["retry-after"] == "7")
      #expect(
        try JSONValue(parsing: known.body)["error"] == ["code": "slow_down", "message": "Too fast.", "hint": "Wait."])
      let odd = try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/odd"))
      #expect(odd.status == 500)
      await client.close()
    }
  }

  @Test func aClientThatAsksFirstIsToldToGoOn() async throws {
    try await withServer { request in
      .text(200, "\(try await request.body.collect(upTo: 100).count)")
    } _: { _, port in
      let socket = try RawSocket(port: port)
      socket.send(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
      let interim = try await blocking { socket.receive(until: "\r\n\r\n") }
      #expect(interim == "HTTP/1.1 100 Continue\r\n\r\n")
      socket.send("hello")
      let answer = try await blocking { socket.receiveAll() }
      #expect(answer.hasPrefix("HTTP/1.1 200") && answer.hasSuffix("\r\n\r\n5"))
    }
  }

  @Test func anErrorsWordsStayInside() async throws {
    struct Secret: Error { let word = "hunter2" }
    let told = Flag()
    try await withServer(settings { $0.onError = { error, _ in if error is Secret { told.set() } } }) { _ in
      throw Secret()
    } _: { _, port in
      let client = HTTPClient()
      let response = try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      #expect(response.status == 500 && told.isSet)
      #expect(!String(decoding: response.body, as: UTF8.self).contains("hunter2"))
      await client.close()
    }
  }

  @Test func aHeaderValueCannotAddAnother() async throws {
    try await withServer { _ in
      HTTPResponse(status: 200, headers: ["X-Name": "a\r\nX-Evil: b"])
    } _: { _, port in
      let client = HTTPClient()
      let response = try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
      #expect(response.headers["x-evil"] == nil)
      await client.close()
    }
  }

  @Test func stopWaitsForWhatIsInFlight() async throws {
    let started = Flag()
    let server = HTTPServer(.init(listeners: [.tcp(host: "127.0.0.1", port: 0)])) { _ in
      started.set()
      try await Task.sleep(for: .milliseconds(200))
      return .text(200, "finished")
    }
    try server.start()
    let port = server.boundPorts[0]
    let client = HTTPClient()
    async let answer = client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
    #expect(await eventually { started.isSet })
    await server.stop(drain: .seconds(5))
    #expect(String(decoding: try await answer.body, as: UTF8.self) == "finished")
    await #expect(throws: HTTPClientError.self) {
      try await client.send(ClientRequest(url: "http://127.0.0.1:\(port)/"))
    }
    await client.close()
  }

  @Test func stopCancelsWhatDoesNotFinish() async throws {
    let started = Flag()
    let cancelled = Flag()
    let server = HTTPServer(.init(listeners: [.tcp(host: "127.0.0.1", port: 0)])) { _ in
      started.set()
      do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.set() }
      return .empty(204)
    }
    try server.start()
    let socket = try RawSocket(port: server.boundPorts[0])
    socket.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(await eventually { started.isSet })
    let took = await ContinuousClock().measure { await server.stop(drain: .milliseconds(50)) }
    #expect(took < .seconds(20))
    #expect(await eventually { cancelled.isSet })
  }
}
