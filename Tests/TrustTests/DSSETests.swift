import FoundationEssentials
import Testing
import Trust

@Suite struct DSSETests {
  @Test func encodingAsInTheProtocol() {
    // The test vector of DSSE's protocol.md.
    let encoded = DSSEEnvelope.preAuthenticationEncoding(
      type: "http://example.com/HelloWorld", payload: Array("hello world".utf8))
    #expect(String(decoding: encoded, as: UTF8.self) == "DSSEv1 29 http://example.com/HelloWorld 11 hello world")
    // Lengths count bytes.
    let accented = DSSEEnvelope.preAuthenticationEncoding(type: "é", payload: [])
    #expect(String(decoding: accented, as: UTF8.self) == "DSSEv1 2 é 0 ")
  }

  @Test func onlyTheSignedPayloadAndTypeVerify() throws {
    let key = SigningKey.generate()
    let payload = Array(#"{"a":1}"#.utf8)
    let envelope = DSSEEnvelope.sign(payload: payload, type: "application/x", key: key, keyID: "k")
    let read = try JSONDecoder().decode(DSSEEnvelope.self, from: JSONEncoder().encode(envelope))
    #expect(read.verifiedPayload(key: key.verifyingKey) == payload)
    #expect(read.verifiedPayload(key: SigningKey.generate().verifyingKey) == nil)
    for (field, value) in [
      ("payloadType", JSONValue.string("application/y")), ("payload", "eyJhIjoyfQ=="), ("payload", "!"),
      ("signatures", []),
    ] {
      var object = try #require(try JSONValue(encoding: envelope).object)
      object[field] = value
      let changed: DSSEEnvelope = try JSONValue.object(object).decoded()
      #expect(changed.verifiedPayload(key: key.verifyingKey) == nil, "\(field)")
    }
  }
}
