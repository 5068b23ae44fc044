import Fleet
import Testing
import Trust

@Suite struct EnrollmentTokenTests {
  private let token = EnrollmentToken(
    hub: "https://127.0.0.1:8443", pin: "sha256//" + Base64.encode(SecureRandom.bytes(32)),
    root: Digest(of: [1, 2, 3]), secret: "s3cret", expires: 1_900_000_000)

  @Test func survivesBeingWrittenAndRead() throws {
    #expect(try EnrollmentToken(parsing: token.encoded) == token)
    #expect(try EnrollmentToken(parsing: " \(token.encoded)\n") == token)
    #expect(token.encoded.hasPrefix("skerry1."))
    #expect(token.encoded.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
  }

  @Test func everyCutIsNoticed() {
    let text = token.encoded
    for length in 1..<text.count {
      #expect(throws: EnrollmentTokenError.cut, "cut to \(length)") {
        try EnrollmentToken(parsing: text.prefix(length))
      }
    }
  }

  @Test func everyMistypedCharacterIsNoticed() {
    let text = Array(token.encoded)
    for at in 8..<text.count {
      var changed = text
      changed[at] = changed[at] == "A" ? "B" : "A"
      #expect(throws: EnrollmentTokenError.self, "changed at \(at)") { try EnrollmentToken(parsing: String(changed)) }
    }
  }

  @Test func saysWhatIsWrong() {
    #expect(throws: EnrollmentTokenError.unknownVersion("2")) { try EnrollmentToken(parsing: "skerry2.abc.12345678") }
    #expect(throws: EnrollmentTokenError.malformed("it is empty")) { try EnrollmentToken(parsing: " \n") }
    #expect(throws: EnrollmentTokenError.malformed("it does not begin with skerry1.")) {
      try EnrollmentToken(parsing: "hello")
    }
    #expect(throws: EnrollmentTokenError.malformed("it is too long")) {
      try EnrollmentToken(parsing: token.encoded + String(repeating: "A", count: 5000))
    }
  }

  @Test(arguments: ["http://hub", "https://", "https://a b", "ftp://x"])
  func refusesAnAddressThatIsNoHTTPS(hub: String) {
    let bad = EnrollmentToken(hub: hub, pin: token.pin, root: token.root, secret: "s", expires: 1)
    #expect(throws: EnrollmentTokenError.self) { try EnrollmentToken(parsing: bad.encoded) }
  }

  @Test(arguments: ["", "sha256//", "sha256//AAAA", "md5//AAAA"])
  func refusesAPinThatPinsNothing(pin: String) {
    let bad = EnrollmentToken(hub: token.hub, pin: pin, root: token.root, secret: "s", expires: 1)
    #expect(throws: EnrollmentTokenError.self) { try EnrollmentToken(parsing: bad.encoded) }
  }
}

@Suite struct DeviceIDTests {
  @Test func isTheBeginningOfTheKeysDigest() throws {
    let key = try #require(VerifyingKey(bytes: [UInt8](repeating: 0, count: 32)))
    // printf '\0%.0s' {1..32} | sha256sum
    #expect(DeviceID(key: key).hex == "66687aadf862bd776c8fc18b8e9f8e20")
    #expect(DeviceID(key: key).auditOrigin == "skerry/audit/66687aadf862bd776c8fc18b8e9f8e20")
  }

  @Test(arguments: [
    "", "66687aadf862bd776c8fc18b8e9f8e2", "66687AADF862BD776C8FC18B8E9F8E20", "../../etc/passwd/////////////////",
  ])
  func refusesOtherText(text: String) {
    #expect(DeviceID(text) == nil)
  }
}
