import Fleet
import FoundationEssentials
import Hub
import Testing
import Trust
import Web

@Suite struct EnrollmentTests {
  @Test func aTokenBringsOneBoxIn() async throws {
    try await TestHub.with { hub in
      let token = try await hub.token()
      #expect(token.pin == hub.created.pin)
      #expect(token.hub == "https://127.0.0.1:8443")
      let device = ScriptedDevice(hub)
      let answer = try await device.enroll(token)
      #expect(answer.status == 200)
      let response: EnrollResponse = try answer.json.decoded()
      #expect(response.deviceID == device.id)
      let root = try #require(Base64.decode(response.root))
      #expect(Digest(of: root) == token.root)
      #expect(try NoteVerifier(vkey: response.witness).algorithm == NoteVerifier.cosignatureV1)
      #expect(try await device.post("/v1/sync", device.syncRequest()).status == 200)
    }
  }

  @Test func aTokenIsGoodForOneBoxOnly() async throws {
    try await TestHub.with { hub in
      let token = try await hub.token()
      let first = ScriptedDevice(hub)
      #expect(try await first.enroll(token).status == 200)
      let second = ScriptedDevice(hub)
      let refused = try await second.enroll(token)
      #expect(refused.status == 409)
      #expect(refused.code == "token_used")
      #expect(try await second.post("/v1/sync", second.syncRequest()).code == "unknown_device")
      // The first answer may have been lost: the same box may ask again, with the next number.
      #expect(try await first.enroll(token).status == 200)
    }
  }

  @Test func anUnknownOrExpiredTokenIsRefused() async throws {
    try await TestHub.with { hub in
      let device = ScriptedDevice(hub)
      let real = try await hub.token()
      let unknown = EnrollmentToken(
        hub: real.hub, pin: real.pin, root: real.root, secret: "guessed", expires: real.expires)
      let refused = try await device.enroll(unknown)
      #expect(refused.status == 403)
      #expect(refused.code == "token_unknown")

      let short = try await hub.token(seconds: 1)
      try await Task.sleep(for: .milliseconds(2100))
      let late = try await device.enroll(short)
      #expect(late.status == 410)
      #expect(late.code == "token_expired")
    }
  }

  @Test func anEnrolmentMustBeSignedWithTheKeyThatItBrings() async throws {
    try await TestHub.with { hub in
      let token = try await hub.token()
      let victim = SigningKey.generate()
      let attacker = ScriptedDevice(hub)
      let body = try JSONValue(
        encoding: EnrollRequest(
          secret: token.secret, publicKey: victim.verifyingKey.hex, name: "x", agentVersion: "1")
      ).encoded()
      #expect(try await attacker.post("/v1/enroll", body).code == "bad_signature")
      let headers = attacker.signed("/v1/enroll", body, sequence: 1, as: DeviceID(key: victim.verifyingKey))
      let answer = try await hub.send("POST", "/v1/enroll", headers: headers, body: body)
      #expect(answer.code == "bad_signature")
      // Nothing of it used the token up.
      #expect(try await ScriptedDevice(hub).enroll(token).status == 200)
    }
  }

  @Test(arguments: ["", "a\u{1B}[2Jb", String(repeating: "x", count: 65), "line\nbreak", "turn\u{202E}ed"])
  func aNameThatIsNoneIsRefused(name: String) async throws {
    try await TestHub.with { hub in
      let token = try await hub.token()
      let answer = try await ScriptedDevice(hub).enroll(token, name: name)
      #expect(answer.code == "malformed")
    }
  }

  @Test func withoutARepositoryThereIsNothingToTrust() async throws {
    try await TestHub.with(published: false) { hub in
      let answer = try await hub.admin("POST", "/enrollment-tokens", body: [])
      #expect(answer.status == 409)
      #expect(answer.code == "not_published")
    }
  }

  @Test func aRevokedBoxStaysOutUntilItGetsANewToken() async throws {
    try await TestHub.with { hub in
      let token = try await hub.token()
      let device = ScriptedDevice(hub)
      #expect(try await device.enroll(token).status == 200)
      #expect(try await hub.admin("DELETE", "/devices/\(device.id)").status == 204)
      let refused = try await device.post("/v1/sync", device.syncRequest())
      #expect(refused.status == 403)
      #expect(refused.code == "device_revoked")
      #expect(try await device.enroll(token).code == "device_revoked")
      let fresh = try await hub.token()
      #expect(try await device.enroll(fresh).status == 200)
      #expect(try await device.post("/v1/sync", device.syncRequest()).status == 200)
    }
  }
}
