import Glibc
import Testing
import Trust
import Web

private let python = getenv("SKERRY_PEERS_PYTHON").map { String(cString: $0) }

/// Signatures against PyPI's http-message-signatures, both ways.
@Suite(.enabled(if: python != nil)) struct PeerInteropTests {
  private let url = "https://hub.example/v1/sync?wave=2&x=%2F"

  /// Runs the peer on one question.
  private func ask(_ question: [String: JSONValue]) async throws -> JSONValue {
    let python = try #require(python)
    let script = #filePath.replacing("WebTests/PeerInteropTests.swift", with: "Peers/http_signatures_peer.py")
    let bytes = JSONValue.object(question).encoded()
    return try await blocking { try JSONValue(parsing: run(python, [script], input: bytes)) }
  }

  private func pairs(_ headers: HTTPHeaders) -> JSONValue {
    .array(headers.all.map { .array([.string($0.name), .string($0.value)]) })
  }

  @Test(arguments: [0, 1, 70_000])
  func thePeerVerifiesOurs(_ size: Int) async throws {
    let key = SigningKey.generate()
    let body = SecureRandom.bytes(size)
    var headers: HTTPHeaders = ["Host": "hub.example"]
    HTTPMessageSignature.sign(
      method: "POST", url: url, headers: &headers, body: body, keyID: "box-1", key: key, created: Int64(time(nil)),
      nonce: "n", sequence: 7)
    var question: [String: JSONValue] = [
      "do": "verify", "method": "POST", "url": .string(url), "headers": pairs(headers),
      "body": .string(Hex.encode(body)),
      "publicKey": .string(key.verifyingKey.hex),
    ]
    let said = try await ask(question)
    #expect(said["ok"]?.bool == true, "\(said)")
    #expect(said["keyid"]?.string == "box-1")
    #expect(said["covered"]?.array?.compactMap(\.string) == HTTPMessageSignature.covered)
    question["method"] = "PUT"
    #expect(try await ask(question)["ok"]?.bool == false)
  }

  @Test func weVerifyThePeers() async throws {
    let seed = SecureRandom.bytes(32)
    let key = try #require(SigningKey(seed: seed))
    let body = Array("hello".utf8)
    let said = try await ask([
      "do": "sign", "method": "POST", "url": .string(url),
      "headers": [["Host", "hub.example"], ["Skerry-Sequence", "9"]],
      "body": .string(Hex.encode(body)), "seed": .string(Hex.encode(seed)), "keyid": "box-2",
      "covered": .array(HTTPMessageSignature.covered.filter { $0 != "content-digest" }.map { .string($0) }),
    ])
    var headers = HTTPHeaders()
    for pair in said["headers"]?.array ?? [] {
      if let name = pair.array?.first?.string, let value = pair.array?.last?.string { headers.add(name, value) }
    }
    let verified = try HTTPMessageSignature.verify(
      method: "POST", authority: "hub.example", target: "/v1/sync?wave=2&x=%2F", headers: headers, body: body,
      key: key.verifyingKey)
    #expect(verified.keyID == "box-2")
    #expect(HTTPMessageSignature.sequence(headers) == 9)
    #expect(throws: SignatureError.digestMismatch) {
      try HTTPMessageSignature.verify(
        method: "POST", authority: "hub.example", target: "/v1/sync?wave=2&x=%2F", headers: headers, body: [],
        key: key.verifyingKey)
    }
  }
}

struct ProgramFailed: Error { let status: Int32 }

/// Runs a program with `input` on its standard input and returns what it wrote. Blocks.
func run(_ path: String, _ arguments: [String], input: [UInt8]) throws -> [UInt8] {
  var ends: [Int32] = [0, 0]
  guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
    throw ProgramFailed(status: errno)
  }
  let socket = RawSocket(descriptor: ends[0])
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_adddup2(&actions, ends[1], 0)
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
  var argv = ([path] + arguments).map { strdup($0) } + [nil]
  defer { for pointer in argv { free(pointer) } }
  var child = pid_t()
  let spawned = posix_spawn(&child, path, &actions, nil, &argv, environ)
  close(ends[1])
  guard spawned == 0 else { throw ProgramFailed(status: spawned) }
  // The peer reads all of its input before it writes.
  socket.send(input)
  shutdown(socket.descriptor, Int32(SHUT_WR))
  var output: [UInt8] = []
  while let piece = socket.receive() { output += piece }
  var status: Int32 = 0
  waitpid(child, &status, 0)
  guard status == 0 else { throw ProgramFailed(status: status) }
  return output
}
