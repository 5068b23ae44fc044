import Glibc
import Testing
import Trust

private let python = getenv("SKERRY_PEERS_PYTHON").map { String(cString: $0) }

/// HPKE against PyPI's pyhpke (sealed streams) and cryptography (single messages), both ways.
@Suite(.enabled(if: python != nil)) struct HPKEPeerTests {
  private func ask(_ question: [String: JSONValue]) async throws -> [UInt8] {
    let python = try #require(python)
    let script = #filePath.replacing("WebTests/HPKEPeerTests.swift", with: "Peers/hpke_peer.py")
    let bytes = JSONValue.object(question).encoded()
    let said = try await blocking { try JSONValue(parsing: run(python, [script], input: bytes)) }
    return try #require((said["plaintext"] ?? said["sealed"])?.string.flatMap { Hex.decode($0) })
  }

  @Test(arguments: [0, 1, 65_536, 65_537, 200_000])
  func streamsBothWays(_ length: Int) async throws {
    let secret = SecureRandom.bytes(32)
    let key = try #require(OpeningKey(bytes: secret))
    let body = SecureRandom.bytes(length)
    let info = Array("skerry/test".utf8)
    func question(_ what: String, _ name: String, _ bytes: [UInt8]) -> [String: JSONValue] {
      [
        "do": .string(what), "key": .string(Hex.encode(secret)), "info": .string(Hex.encode(info)),
        name: .string(Hex.encode(bytes)),
      ]
    }
    let ours = try SealedStream.seal(body, to: key.sealingKey, info: info)
    #expect(try await ask(question("open", "sealed", ours)) == body)
    let theirs = try await ask(question("seal", "plaintext", body))
    #expect(try SealedStream.open(theirs, key: key, info: info) == body)
  }

  @Test func singleMessagesBothWays() async throws {
    let secret = SecureRandom.bytes(32)
    let key = try #require(OpeningKey(bytes: secret))
    let info = Array("one".utf8)
    var sender = try HPKE.Sender(to: key.sealingKey, info: info)
    let sealed = try sender.encapsulatedKey + sender.seal(Array("hello".utf8))
    let common: [String: JSONValue] = ["key": .string(Hex.encode(secret)), "info": .string(Hex.encode(info))]
    let opened = try await ask(common.merging(["do": "open one", "sealed": .string(Hex.encode(sealed))]) { $1 })
    #expect(opened == Array("hello".utf8))
    let theirs = try await ask(common.merging(["do": "seal one", "plaintext": "68656c6c6f"]) { $1 })
    var receiver = try HPKE.Receiver(encapsulatedKey: Array(theirs.prefix(32)), key: key, info: info)
    #expect(try receiver.open(Array(theirs.dropFirst(32))) == Array("hello".utf8))
  }
}
