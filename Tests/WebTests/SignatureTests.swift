import Testing
import Trust
import Web

@Suite struct SignatureTests {
  // RFC 9421, appendix B.1.4: the testing-only Ed25519 key.
  static let seed = Base64.decodeURL("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU") ?? []
  static let publicKey = Base64.decodeURL("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs") ?? []

  private func key() throws -> SigningKey { try #require(SigningKey(seed: Self.seed)) }

  // RFC 9421, appendix B.2: the test request, signed as B.2.6 says.
  private var vector: HTTPHeaders {
    [
      "Host": "example.com", "Date": "Tue, 20 Apr 2021 02:07:55 GMT", "Content-Type": "application/json",
      "Content-Length": "18",
      "Signature-Input":
        #"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
      "Signature":
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
    ]
  }

  @Test func theRFCsOwnSignatureHolds() throws {
    let key = try key()
    #expect(key.verifyingKey.bytes == Self.publicKey)
    let said = try HTTPMessageSignature.verify(
      method: "POST", authority: "example.com", target: "/foo?param=Value&Pet=dog", headers: vector,
      body: Array(#"{"hello": "world"}"#.utf8), key: key.verifyingKey, required: ["@method", "date"], label: "sig-b26")
    #expect(said.keyID == "test-key-ed25519" && said.created == 1_618_884_473)
    #expect(said.components == ["date", "@method", "@path", "@authority", "content-type", "content-length"])
  }

  @Test(arguments: ["method", "authority", "path", "date", "length", "created"])
  func theRFCsSignatureOverSomethingElseDoesNot(_ changed: String) throws {
    var headers = vector
    if changed == "date" { headers["Date"] = "Tue, 20 Apr 2021 02:07:56 GMT" }
    if changed == "length" { headers["Content-Length"] = "19" }
    if changed == "created", let input = headers["Signature-Input"] {
      headers["Signature-Input"] = input.replacing("1618884473", with: "1618884474")
    }
    #expect(throws: SignatureError.invalid) {
      try HTTPMessageSignature.verify(
        method: changed == "method" ? "PUT" : "POST", authority: changed == "authority" ? "example.org" : "example.com",
        target: changed == "path" ? "/bar" : "/foo", headers: headers, body: [], key: try key().verifyingKey,
        required: [],
        label: "sig-b26")
    }
  }

  private func signed(_ url: String = "https://Hub.example:443/v1/sync?a=1&b=%20", body: String = "{}") throws
    -> HTTPHeaders
  {
    var headers: HTTPHeaders = ["Content-Type": "application/json"]
    HTTPMessageSignature.sign(
      method: "POST", url: url, headers: &headers, body: Array(body.utf8), keyID: "box", key: try key(),
      created: 1_700_000_000, nonce: #"a"b\c"#, sequence: 42)
    return headers
  }

  private func verify(
    _ headers: HTTPHeaders, method: String = "POST", authority: String = "hub.example",
    target: String = "/v1/sync?a=1&b=%20", body: String = "{}", key: VerifyingKey? = nil
  ) throws(SignatureError) -> HTTPMessageSignature.Parameters {
    guard let known = VerifyingKey(bytes: Self.publicKey) else { throw .invalid }
    return try HTTPMessageSignature.verify(
      method: method, authority: authority, target: target, headers: headers, body: Array(body.utf8), key: key ?? known)
  }

  @Test func whatIsSignedVerifies() throws {
    let headers = try signed()
    #expect(HTTPMessageSignature.keyID(headers) == "box")
    #expect(HTTPMessageSignature.sequence(headers) == 42)
    let said = try verify(headers)
    #expect(said.components == HTTPMessageSignature.covered)
    #expect(said.nonce == #"a"b\c"#)
    // The port that the scheme implies may be spelt out.
    #expect(throws: Never.self) { try verify(headers, authority: "hub.example:443") }
  }

  @Test func theDigestIsTheRFCs() {
    // RFC 9530, appendix D: sha-256 of {"hello": "world"} and a newline.
    #expect(
      HTTPMessageSignature.contentDigest(Array("{\"hello\": \"world\"}\n".utf8))
        == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:")
  }

  @Test func anyChangeBreaksIt() throws {
    let headers = try signed()
    #expect(throws: SignatureError.invalid) { try verify(headers, method: "PUT") }
    #expect(throws: SignatureError.invalid) { try verify(headers, authority: "other.example") }
    #expect(throws: SignatureError.invalid) { try verify(headers, target: "/v1/sync?a=2&b=%20") }
    #expect(throws: SignatureError.invalid) { try verify(headers, target: "/v1/synC?a=1&b=%20") }
    #expect(throws: SignatureError.digestMismatch) { try verify(headers, body: "{ }") }
    #expect(throws: SignatureError.invalid) { try verify(headers, key: SigningKey.generate().verifyingKey) }
    var other = headers
    other["Skerry-Sequence"] = "43"
    #expect(throws: SignatureError.invalid) { try verify(other) }
    // A second value of a covered field changes what is signed.
    other = headers
    other.add("Skerry-Sequence", "43")
    #expect(throws: SignatureError.invalid) { try verify(other) }
  }

  @Test func whatIsMissingIsNamed() throws {
    for name in ["Signature", "Signature-Input", "Content-Digest"] {
      var headers = try signed()
      headers[name] = nil
      #expect(throws: SignatureError.missing(name)) { try verify(headers) }
    }
    var headers = try signed()
    headers["Signature-Input"] = headers["Signature-Input"]?.replacing(#" "skerry-sequence""#, with: "")
    #expect(throws: SignatureError.uncovered("skerry-sequence")) { try verify(headers) }
  }

  @Test(arguments: [
    "", "sig1", "sig1=", "sig1=()", "sig1=(\"@method\"", "sig1=(\"@method\");keyid=box", "sig1=(@method);keyid=\"box\"",
    "sig1=(\"@method\" \"@method\");keyid=\"box\"", "sig1=(\"@method\"\"@path\");keyid=\"box\"",
    "sig1=(\"@method\";req);keyid=\"box\"", "sig1=(\"@method\");keyid=\"box\";alg=\"rsa-pss-sha512\"",
    "sig1=(\"@method\");keyid=\"box\", sig1=(\"@path\");keyid=\"box\"", "sig2=(\"@method\");keyid=\"box\"",
    "sig1=(\"@method\");keyid=\"box\";created=\"now\"", "sig1=(\"@method\");keyid=\"box\";created=12345678901234567890",
    "sig1=(\"@method\");keyid=\"box\" trailing", "sig1=(\"@status\");keyid=\"box\"", "SIG1=(\"@method\");keyid=\"box\"",
  ])
  func malformedInputIsRefused(_ input: String) throws {
    var headers = try signed()
    headers["Signature-Input"] = input
    let key = try key()
    let error = #expect(throws: SignatureError.self) {
      try HTTPMessageSignature.verify(
        method: "POST", authority: "hub.example", target: "/", headers: headers, body: [], key: key.verifyingKey,
        required: [])
    }
    #expect(error != .invalid && error != .digestMismatch, "\(String(describing: error))")
  }
}
