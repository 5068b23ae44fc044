import Access
import Fleet
import Foundation
import Storage
import Synchronization
import Testing
import Trust
import Web

@testable import Agent
@testable import Trust

/// Callers who show signed tokens: people of an identity provider, operators of the hub; offline.
@Suite struct IdentitiesTests {
  private let key = SigningKey.generate()
  private let online = SigningKey.generate()
  private let device = DeviceID(key: SigningKey.generate().verifyingKey)
  private let now: Int64 = 1_800_000_000

  private func jwk(_ key: SigningKey, _ id: String = "k") -> JSONValue {
    [
      "kty": "OKP", "crv": "Ed25519", "kid": .string(id), "use": "sig",
      "x": .string(Base64.encodeURL(key.verifyingKey.bytes)),
    ]
  }

  private func provider(_ more: [String: JSONValue] = [:]) -> JSONValue {
    var members: [String: JSONValue] = [
      "name": "corp", "issuer": "https://idp.example", "audience": "box", "jwks": ["keys": [jwk(key)]],
      "groupsClaim": "groups",
    ]
    members.merge(more) { _, new in new }
    return .object(members.filter { $0.value != .null })
  }

  private func token(
    _ more: [String: JSONValue] = [:], without: String = "", type: String = "JWT", by signer: SigningKey? = nil
  ) -> String {
    var claims: [String: JSONValue] = [
      "iss": "https://idp.example", "aud": "box", "sub": "alice", "iat": .integer(now - 10), "exp": .integer(now + 600),
    ]
    claims.merge(more) { _, new in new }
    claims[without] = nil
    return JSONWebToken.sign(claims, type: type, keyID: "k", by: signer ?? key)
  }

  private func identities(
    _ settings: [JSONValue]? = nil, doubt: ClockDoubt? = nil, at time: Int64? = nil, threshold: Int = 1
  ) throws -> Identities {
    let judged = ClockJudgement(time: time ?? now, wall: time ?? now, floor: 0, doubt: doubt)
    let files = try root(threshold: threshold)
    return try Identities(
      try IdentityProvider.all(JSONField(.array(settings ?? [provider()]))), device: device, clock: { judged },
      passKeys: { OperatorPass.keys(of: files) })
  }

  /// A director's root in which so many of two keys must sign.
  private func root(threshold: Int) throws -> TUFRoot {
    let keys = [online, SigningKey.generate()].map { TUFKey(ed25519: $0.verifyingKey) }
    let role = (keys: keys, threshold: threshold)
    return try TUFRoot(
      parsing: TUFWriter.root(
        version: 1, expires: Date(timeIntervalSince1970: 4_000_000_000),
        roles: [.root: role, .targets: role, .snapshot: role, .timestamp: role]
      ).signed(by: [online]))
  }

  private func refusal(_ text: String, _ identities: Identities) async -> String? {
    do {
      _ = try await identities.caller(text, from: nil)
      return nil
    } catch { return error.description }
  }

  @Test func anIDTokenNamesItsBearerAndTheirGroups() async throws {
    let caller = try await identities().caller(
      token(["groups": ["/ops", "night shift", "a\"b", 7, "x,y"]]), from: NetworkAddress("10.1.2.3"))
    #expect(
      caller.subjects == [.oidc(provider: "corp", subject: "alice"), .oidcGroup(provider: "corp", group: "/ops")])
    #expect(caller.label == "oidc:corp/alice" && caller.identity.description == "oidc:corp/alice")
    #expect(Subject.parse("oidc-group:corp//ops") == caller.subjects.last)
    let mail = try await identities([provider(["subjectClaim": "email"])]).caller(
      token(["email": "alice@example.com"]), from: nil)
    #expect(mail.label == "oidc:corp/alice@example.com")
  }

  @Test func whatIsWrongIsRefused() async throws {
    let known = try identities()
    let bad = [
      token(["aud": "other"]), token(["exp": .integer(now - 61)]), token(["iat": .integer(now + 61)]),
      token(["iat": .integer(now - 86_461), "exp": .integer(now + 600)]), token(["iss": "https://evil.example"]),
      token(by: .generate()), token(type: "at+jwt"), token(type: "skerry-pass+jwt"), token(without: "sub"),
      token() + "x", "a.b.c", "..", token(["groups": .array(Array(repeating: "g", count: 257))]),
    ]
    for text in bad {
      let why = await refusal(text, known)
      #expect(why != nil, "\(text)")
    }
    #expect(await refusal(token(), known) == nil)
  }

  /// Nothing that a provider says can be mistaken for somebody else, in a policy or in the audit log.
  @Test(arguments: [
    "", " ", "root)", "a b", "a\nb", "alice\",\"actor\":\"uid:0", "uid:0(root)", "a*", "é", "a\u{202E}b", "a\\b", "a,b",
    String(repeating: "a", count: 129), "{}", "\u{0}", "'", "<b>",
  ]) func hostileNamesAreRefused(_ name: String) async throws {
    let why = try #require(await refusal(token(["sub": .string(name)]), try identities()))
    #expect(why.hasPrefix("the token's claim sub (1 to 128 of "))
    #expect(Subject.parse("oidc:corp/\(name)") == nil && Subject.parse("oidc-group:corp/\(name)") == nil)
  }

  @Test func aBoxThatDoesNotKnowTheTimeTakesNone() async throws {
    for doubt in ClockDoubt.allCases {
      let why = await refusal(token(), try identities(doubt: doubt))
      #expect(why?.contains("does not know what time it is") == true)
      let pass = OperatorPass.issue(to: "otto", for: device, from: now, seconds: 600, serial: "1", by: online)
      #expect(await refusal(pass, try identities(doubt: doubt)) == why)
    }
  }

  @Test func aPassNamesAnOperatorAtItsBoxUntilItEnds() async throws {
    let pass = OperatorPass.issue(to: "otto", for: device, from: now, seconds: 600, serial: "1", by: online)
    #expect(try await identities().caller(pass, from: nil) == .operator("otto"))
    #expect(await refusal(pass, try identities(at: now + 720)) == "the token has expired")
    #expect(await refusal(pass, try identities(at: now - 121)) == "the token is not valid yet, by this box's time")
    // A pass has one signature: where the director's word takes two, it says nothing.
    #expect(await refusal(pass, try identities(threshold: 2)) != nil)
    let elsewhere = OperatorPass.issue(
      to: "otto", for: DeviceID(key: key.verifyingKey), from: now, seconds: 600, serial: "1", by: online)
    #expect(await refusal(elsewhere, try identities()) == "the token was made for somebody else")
    let forged = OperatorPass.issue(to: "otto", for: device, from: now, seconds: 600, serial: "1", by: key)
    #expect(await refusal(forged, try identities()) != nil)
    let long = OperatorPass.issue(to: "otto", for: device, from: now, seconds: 1 << 40, serial: "1", by: online)
    #expect(await refusal(long, try identities(at: now + 86_400 + 121)) != nil)
    // A provider's key makes no operator, and the hub's no person.
    let crossed = JSONWebToken.sign(
      [
        "iss": "urn:skerry:hub", "aud": .string(device.hex), "sub": "otto", "iat": .integer(now),
        "exp": .integer(now + 9),
      ],
      type: OperatorPass.type, keyID: "k", by: key)
    #expect(await refusal(crossed, try identities()) != nil)
    for name in ["Otto", "a b", "", "x/../y"] {
      let odd = OperatorPass.issue(to: name, for: device, from: now, seconds: 600, serial: "1", by: online)
      #expect(await refusal(odd, try identities()) != nil, "\(name)")
    }
  }

  @Test func keysAreReadFromTheirFileAndAgainWithAReload() async throws {
    let scratch = try Scratch()
    let file = scratch.path + "/keys.json"
    func write(_ key: SigningKey) throws {
      try DurableFile.replace(file, with: JSONValue.object(["keys": [jwk(key)]]).encoded())
    }
    let settings = provider(["jwks": .null, "jwksFile": .string(file)])
    let parsed = try IdentityProvider.all(JSONField([settings]))
    #expect(throws: ConfigurationError.self) { try identities([settings]) }
    try write(key)
    let read = try identities([settings])
    #expect(await refusal(token(), read) == nil)
    let next = SigningKey.generate()
    try write(next)
    try read.reload(parsed)
    #expect(await refusal(token(), read) != nil)
    #expect(await refusal(token(by: next), read) == nil)
    try DurableFile.replace(file, with: Array("{".utf8))
    #expect(throws: ConfigurationError.self) { try read.reload(parsed) }
    #expect(await refusal(token(by: next), read) == nil)
  }

  @Test func theConfigurationSaysWhatIsWrong() throws {
    func problem(_ more: [String: JSONValue]) -> String {
      do {
        _ = try IdentityProvider.all(JSONField([provider(more)], path: "identityProviders"))
        return ""
      } catch { return error.description }
    }
    #expect(problem([:]) == "")
    let read = try IdentityProvider.all(JSONField([provider()]))
    #expect(try IdentityProvider.all(JSONField(.array(read.map(\.effective)))) == read)
    #expect(problem(["jwks": .null]).contains("keys are missing"))
    #expect(problem(["jwksFile": "/k"]).contains("given twice"))
    #expect(problem(["jwks": ["keys": []]]).contains("identityProviders[0].jwks: these are no keys"))
    #expect(problem(["name": "A b"]).contains("is no name"))
    #expect(problem(["issuer": .null]).contains("issuer is missing"))
    #expect(problem(["leewaySeconds": 601]).contains("out of range"))
    #expect(problem(["jwksUri": "https://x"]).contains("unknown key"))
    let same = JSONField(.array([provider(), provider()]), path: "identityProviders")
    #expect(throws: JSONFieldError.self) { try IdentityProvider.all(same) }
  }

  /// In a whole agent: the policy's word on who they are decides, and the log names them.
  @Test func thePolicyDecidesWhatTheyMayAndTheLogNamesThem() async throws {
    let time = Int64(Date().timeIntervalSince1970)
    let settings = String(decoding: JSONValue.array([provider()]).encoded(), as: UTF8.self)
    let box = try await AgentBox.start(
      policy: """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
          watch: {allow: [{verbs: ['status.read'], resources: ['box:*']}]}},
         bindings: [{role: 'admin', subjects: ['uid:\(geteuid())']}, {role: 'watch', subjects: ['oidc-group:corp/ops']}]}
        """, settings: ["identityProviders": settings])
    func token(_ more: [String: JSONValue]) -> String {
      self.token(["iat": .integer(time - 5), "exp": .integer(time + 300)].merging(more) { _, new in new })
    }
    let plain = token(["sub": "alice"])
    #expect(
      try await box.ask("GET", "/skerry/v1/status", token: plain).json["error"]?["hint"]?.string
        == "what would change it: skerry role bind watch oidc:corp/alice")
    #expect(try await box.ask("GET", "/skerry/v1/status", token: token(["groups": ["ops"]])).status == 200)
    let bind: JSONValue = ["role": "watch", "subject": "oidc:corp/alice"]
    #expect(try await box.ask("POST", "/skerry/v1/bindings", bind).status == 201)
    #expect(try await box.ask("GET", "/skerry/v1/status", token: plain).status == 200)
    #expect(try await box.ask("GET", "/skerry/v1/audit", token: plain).status == 403)
    #expect(try await box.ask("GET", "/skerry/v1/status", token: plain + "x").status == 401)
    let explained = try await box.ask(
      "GET", "/skerry/v1/explain?subject=oidc:corp/alice&verb=status.read&resource=box:x")
    #expect(explained.json["allowed"] == true && explained.json["role"] == "watch")
    let actors = Set(try await box.records("decision").compactMap { $0["actor"]?.string })
    #expect(actors.contains("oidc:corp/alice") && actors.contains("unknown"))
    await box.stop()
  }
}
