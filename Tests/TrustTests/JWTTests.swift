import Foundation
import Testing

@testable import Trust

/// JSON Web Tokens: the RFCs' own examples, PyPI's `pyjwt` and `joserfc`, and what is refused.
@Suite struct JWTTests {
  private static let rsa = """
    {"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}
    """
  private static let ec = """
    {"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
    """
  private static let okp = """
    {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    """
  private static let claims =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

  private static func set(_ keys: String...) throws -> JSONWebKeySet {
    try JSONWebKeySet(parsing: Array("{\"keys\":[\(keys.joined(separator: ","))]}".utf8))
  }

  /// RFC 7515, appendix A.2.
  private static let rs256 =
    "eyJhbGciOiJSUzI1NiJ9.\(claims).cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
  /// Appendix A.3.
  private static let es256 =
    "eyJhbGciOiJFUzI1NiJ9.\(claims).DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

  @Test func theExamplesOfRFC7515() throws {
    for (text, key) in [(Self.rs256, Self.rsa), (Self.es256, Self.ec)] {
      let read = try JSONWebToken(parsing: text).claims(signedBy: Self.set(key))
      #expect(read["iss"] == "joe" && read["exp"] == 1_300_819_380)
      #expect(throws: JWTError.badAlgorithm) { try JSONWebToken(parsing: text).claims(signedBy: Self.set(Self.okp)) }
    }
    // A.1 has a shared secret, A.5 no signature at all.
    for text in [
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\(Self.claims).dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
      "eyJhbGciOiJub25lIn0.\(Self.claims).",
    ] { #expect(throws: JWTError.badAlgorithm) { try JSONWebToken(parsing: text) } }
  }

  /// Appendix A.4; its content is no claims, so the signature alone.
  @Test func theExampleOfRFC8037() throws {
    let key = try #require(Self.set(Self.okp).keys.first)
    let input = Array("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".utf8)
    var signature = try #require(
      Base64.decodeExactURL(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"))
    #expect(key.isValid(signature, for: input, by: .edDSA))
    #expect(!key.isValid(signature, for: input, by: .es256))
    signature[3] ^= 1
    #expect(!key.isValid(signature, for: input, by: .edDSA))
  }

  @Test(arguments: [
    #"{"kty":"oct","k":"AAAA"}"#, #"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    #"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}"#,
    #"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp"}"#,
    okp.replacing("}", with: #","use":"enc"}"#), okp.replacing("}", with: #","alg":"RS256"}"#),
    okp.replacing("}", with: #","key_ops":["sign"]}"#), okp.replacing("HURo", with: "HURp"),
    rsa.replacing("AQAB", with: "AQ"), rsa.replacing("AQAB", with: "Ag"),
  ]) func keysOfNoUseArePassedOver(_ key: String) throws {
    #expect(try Self.set(key, Self.okp).keys.count == 1)
    #expect(throws: JWTError.self) { try Self.set(key) }
  }

  @Test func setsThatMeanMischiefAreRefused() {
    #expect(throws: JWTError.self) { try Self.set(Self.okp.replacing("}", with: #","d":"nWGx"}"#)) }
    let named = Self.okp.replacing("}", with: #","kid":"a"}"#)
    #expect(throws: JWTError.self) { try Self.set(named, named) }
    #expect(throws: JWTError.self) { try JSONWebKeySet(parsing: Array(#"{"keys":[],"keys":[]}"#.utf8)) }
    #expect(throws: JWTError.self) { try JSONWebKeySet(parsing: [UInt8](repeating: 0x20, count: 1 << 19)) }
  }

  private let key = SigningKey.generate()
  private var expectation: JWTExpectation {
    JWTExpectation(
      issuer: "i", audience: "a", types: ["jwt"], keys: JSONWebKeySet([JSONWebKey(ed25519: key.verifyingKey, id: "k")]),
      maxAge: 1000, leeway: 10)
  }

  private func check(
    _ change: [String: JSONValue], without: String = "", type: String = "JWT", keyID: String = "k"
  ) -> JWTError? {
    var claims: [String: JSONValue] = ["iss": "i", "aud": "a", "sub": "s", "iat": 10_000, "exp": 10_500]
    claims.merge(change) { _, new in new }
    claims[without] = nil
    do {
      _ = try expectation.check(
        JSONWebToken(parsing: JSONWebToken.sign(claims, type: type, keyID: keyID, by: key)), at: 10_100)
      return nil
    } catch { return error }
  }

  @Test func claimsAreHeldAgainstWhatIsExpected() {
    #expect(check([:]) == nil)
    #expect(check([:], type: "application/JWT") == nil)
    #expect(check([:], type: "skerry-pass+jwt") == .notForUs("its typ is another"))
    #expect(check([:], keyID: "other") == .unknownKey)
    #expect(check(["iss": "I"]) == .wrongIssuer)
    #expect(check([:], without: "aud") == .wrongAudience)
    for audience: JSONValue in ["b", [], ["b"], ["a", "b"], ["a", 1], 7, .null] {
      #expect(check(["aud": audience]) == .wrongAudience, "\(audience)")
    }
    #expect(check(["aud": ["a"]]) == nil)
    #expect(check(["aud": ["a", "b"], "azp": "a"]) == nil)
    #expect(check(["azp": "b"]) == .wrongAudience)
    #expect(
      check(["exp": 10_090]) == .expired && check(["exp": 10_091]) == nil && check(["exp": .double(10_091.9)]) == nil)
    for time: JSONValue in ["10500", -1, .null, .double(1e300)] { #expect(check(["exp": time]) == .badClaim("exp")) }
    #expect(check([:], without: "iat") == .badClaim("iat") && check([:], without: "exp") == .badClaim("exp"))
    #expect(check(["iat": 10_111]) == .notYet && check(["iat": 10_110]) == nil)
    #expect(check(["nbf": 10_111]) == .notYet && check(["nbf": "x"]) == .badClaim("nbf"))
    #expect(check(["iat": 9_089, "exp": .integer(1 << 39)]) == .tooOld && check(["iat": 9_090]) == nil)
  }

  // MARK: - Other people's

  /// 2,000 tokens and mutants (`COUNT` for more): what ours takes, both others take; what pyjwt refuses, ours does; and of
  /// what both take ours refuses only what stands in a class that it is stricter on.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["SKERRY_PEERS_PYTHON"] != nil))
  func weAgreeWithPyjwtAndJoserfc() throws {
    let python = try #require(ProcessInfo.processInfo.environment["SKERRY_PEERS_PYTHON"])
    let process = Process()
    process.executableURL = URL(filePath: python)
    let count = ProcessInfo.processInfo.environment["COUNT"] ?? "2000"
    process.arguments = [#filePath.replacing("TrustTests/JWTTests.swift", with: "Peers/jwt_peer.py"), count]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let bytes = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    var tally: [String: (taken: Int, refused: Int)] = [:]
    for line in bytes.split(separator: 0x0A) {
      let one = try JSONValue(parsing: line)
      let (kind, text) = (try #require(one["kind"]?.string), try #require(one["token"]?.string))
      var ours: JWTError?
      do {
        _ = try JWTExpectation(
          issuer: "https://idp.example", audience: "box", types: [nil, "jwt"],
          keys: try JSONWebKeySet(try #require(one["jwks"])), maxAge: 86_400, leeway: 30
        ).check(JSONWebToken(parsing: text), at: try #require(one["now"]?.integer))
      } catch { ours = error as? JWTError ?? .badKeys("\(error)") }
      let (pyjwt, joserfc) = (one["pyjwt"]?.bool, one["joserfc"]?.bool)
      if ours == nil {
        #expect(pyjwt == true && joserfc == true, "\(kind) is taken: \(text)")
      } else if one["strict"] == false {
        #expect(pyjwt == false || joserfc == false, "\(kind) is refused, \(ours?.description ?? ""): \(text)")
      }
      let before = tally[kind] ?? (0, 0)
      tally[kind] = ours == nil ? (before.taken + 1, before.refused) : (before.taken, before.refused + 1)
    }
    let total = tally.values.reduce(0) { $0 + $1.taken + $1.refused }
    #expect(total >= 2000 || count != "2000")
    print(
      "jwt: "
        + tally.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.taken)/\($0.value.refused)" }.joined(
          separator: ", "))
    for (kind, sums) in tally {
      #expect(kind.hasPrefix("good") ? sums.refused == 0 : sums.taken == 0, "\(kind): \(sums)")
    }
  }
}
