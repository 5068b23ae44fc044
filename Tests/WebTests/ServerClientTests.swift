import Synchronization
import Testing
import Trust
import Web

/// Our server and our client, over loopback.
@Suite(.serialized) struct ServerClientTests {
  /// A server on a free port of loopback.
  func serve(
    _ configure: (inout HTTPServer.Configuration) -> Void = { _ in }, handler: @escaping HTTPServer.Handler
  ) throws -> (server: HTTPServer, address: String) {
    var configuration = HTTPServer.Configuration(listeners: [.tcp(host: "127.0.0.1", port: 0)])
    configure(&configuration)
    let server = HTTPServer(configuration, handler: handler)
    try server.start()
    return (server, "\(configuration.tls == nil ? "http" : "https")://127.0.0.1:\(server.boundPorts[0])")
  }

  @Test func echoesABody() async throws {
    let client = HTTPClient()
    let (server, address) = try serve { request in
      .json(
        200, ["path": .string(request.path), "body": .string(Hex.encode(try await request.body.collect(upTo: 99)))])
    }
    let said = try await client.send(ClientRequest(method: "POST", url: address + "/a%20b?x=1", body: [1, 2, 3]))
    #expect(said.status == 200)
    #expect(said.body == Array(#"{"body":"010203","path":"/a b"}"#.utf8))
    await server.stop()
    await client.close()
  }

  @Test func largeBodiesStreamBothWays() async throws {
    let client = HTTPClient()
    let piece = [UInt8](repeating: 7, count: 64 * 1024)
    let count = 800
    let left = Mutex(count)
    let bound: (inout HTTPServer.Configuration) -> Void = { $0.maxBody = 1 << 30 }
    let (server, address) = try serve(bound) { request in
      var size = 0
      for try await piece in request.body { size += piece.count }
      let taken = size
      return .streaming(200, headers: [:]) { writer in
        for _ in 0..<(taken / piece.count) { try await writer.write(piece) }
      }
    }
    var request = ClientRequest(method: "POST", url: address)
    request.maxResponseBytes = 1 << 30
    request.body = .stream {
      left.withLock { left in
        guard left > 0 else { return nil }
        left -= 1
        return piece
      }
    }
    var got = 0
    for try await part in try await client.stream(request) { got += part.count }
    #expect(got == count * piece.count)
    await server.stop()
    await client.close()
  }

  @Test func anOversizedBodyIs413() async throws {
    let client = HTTPClient()
    let bound: (inout HTTPServer.Configuration) -> Void = { $0.maxBody = 1000 }
    let (server, address) = try serve(bound) { request in
      _ = try await request.body.collect(upTo: 1000)
      return .empty(200)
    }
    let said = try await client.send(
      ClientRequest(method: "POST", url: address, body: [UInt8](repeating: 1, count: 5000)))
    #expect(said.status == 413)
    await server.stop()
    await client.close()
  }

  @Test func aClientThatHangsUpCancelsTheHandler() async throws {
    let client = HTTPClient()
    let cancelled = Mutex(false)
    let (server, address) = try serve { _ in
      do {
        try await Task.sleep(for: .seconds(30))
      } catch {
        cancelled.withLock { $0 = true }
        throw error
      }
      return .empty(200)
    }
    let asking = Task { try await client.send(ClientRequest(url: address)) }
    try await Task.sleep(for: .milliseconds(200))
    asking.cancel()
    await #expect(throws: (any Error).self) { try await asking.value }
    for _ in 0..<100 where !cancelled.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(10)) }
    #expect(cancelled.withLock { $0 })
    await server.stop()
    await client.close()
  }

  @Test func thePinDecidesWhoIsSpokenTo() async throws {
    let identity = try TLSIdentity.selfSigned(commonName: "hub", addresses: ["127.0.0.1"])
    let other = try TLSIdentity.selfSigned(commonName: "hub", addresses: ["127.0.0.1"])
    let client = HTTPClient()
    let secret: (inout HTTPServer.Configuration) -> Void = { $0.tls = (identity.keyPEM, identity.certificatePEM) }
    let (server, address) = try serve(secret) { _ in .text(200, "hello") }
    var request = ClientRequest(url: address)
    request.pin = identity.pin
    #expect(try await client.send(request).body == Array("hello".utf8))
    request.pin = other.pin
    let error = await #expect(throws: HTTPClientError.self) { try await client.send(request) }
    #expect(error?.kind == .pinMismatch)
    request.pin = nil
    let untrusted = await #expect(throws: HTTPClientError.self) { try await client.send(request) }
    #expect(untrusted?.kind == .tls)
    await server.stop()
    await client.close()
  }
}
