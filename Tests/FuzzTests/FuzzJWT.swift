import Access
import Agent
import Testing
import Trust

/// What callers on TCP show: our own tokens, JSON Web Tokens; and the keys of identity providers.
extension Fuzz {
  @Test func bearerTokens() {
    let samples = (0..<4).map { _ in Array(BearerToken().text.utf8) }
    Self.feed("skt_ token", samples) { input in
      let text = String(decoding: input, as: UTF8.self)
      guard let token = BearerToken(parsing: text) else { throw Refused() }
      #expect(token.text == text)
      // A checksum of 32 bits: nothing but a whole token is taken for one.
      #expect(samples.contains(input), "a damaged token was taken for a whole one")
    }
  }

  private struct Refused: Error {}

  @Test func jsonWebTokens() throws {
    let keys = JSONWebKeySet([JSONWebKey(ed25519: Self.key.verifyingKey, id: "k")])
    let claims: [String: JSONValue] = [
      "iss": "https://idp.example", "aud": ["box"], "sub": "alice", "iat": 10, "exp": 20, "groups": ["a", "b"],
    ]
    let samples = ["JWT", "skerry-pass+jwt"].map {
      Array(JSONWebToken.sign(claims, type: $0, keyID: "k", by: Self.key).utf8)
    }
    Self.feed("JWT", samples) { _ = try JSONWebToken(parsing: String(decoding: $0, as: UTF8.self)) }
    let expected = JWTExpectation(
      issuer: "https://idp.example", audience: "box", types: ["jwt", "skerry-pass+jwt"], keys: keys, maxAge: 100,
      leeway: 0)
    Self.feed("forged JWT", samples) { input in
      let read = try expected.check(JSONWebToken(parsing: String(decoding: input, as: UTF8.self)), at: 15)
      #expect(read == claims && samples.contains(input), "a damaged token was taken for signed")
    }
    // Signed, whatever it says: the claims are the attacker's who has a key.
    Self.feed("JWT claims", [JSONValue.object(claims).encoded()]) { input in
      let said = try JSONValue(parsing: input).object ?? [:]
      _ = try expected.check(
        JSONWebToken(parsing: JSONWebToken.sign(said, type: "jwt", keyID: "k", by: Self.key)), at: 15)
    }
  }

  @Test func jsonWebKeySets() throws {
    let samples = [
      #"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","use":"sig"}]}"#,
      #"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
      #"{"keys":[{"kty":"RSA","e":"AQAB","alg":"PS256","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}]}"#,
    ].map { Array($0.utf8) }
    let token = try JSONWebToken(
      parsing: JSONWebToken.sign(["iss": "i"], type: "JWT", keyID: "a", by: Self.key))
    Self.feed("JWKS", samples) { input in
      let keys = try JSONWebKeySet(parsing: input)
      #expect(!keys.keys.isEmpty && keys.keys.allSatisfy { !$0.algorithms.isEmpty })
      #expect(throws: JWTError.self) { try token.claims(signedBy: keys) }
    }
  }

  @Test func subjects() {
    let samples = [
      "uid:0", "user:alice", "gid:5", "group:ops", "token:app", "oidc:corp/a@b.c", "oidc-group:corp//ops",
      "operator:otto", "local",
    ].map { Array($0.utf8) }
    Self.feed("subject", samples) { input in
      guard let read = Subject.parse(String(decoding: input, as: UTF8.self)) else { throw Refused() }
      #expect(Subject.parse(read.description) == read)
    }
  }
}
