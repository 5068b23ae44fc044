import Testing
import Trust

@Suite struct TLSIdentityTests {
  @Test func thePinIsTheCertificates() throws {
    let identity = try TLSIdentity.selfSigned(
      commonName: "skerry-hub", addresses: ["127.0.0.1", "::1", "localhost", "hub.example.org"])
    #expect(TLSIdentity.pin(ofCertificatePEM: identity.certificatePEM) == identity.pin)
    #expect(identity.pin.hasPrefix("sha256//") && identity.pin.utf8.count == 8 + 44)
    #expect(identity.keyPEM.hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
    let other = try TLSIdentity.selfSigned(commonName: "skerry-hub", addresses: [])
    #expect(other.pin != identity.pin)
  }

  @Test func aDeviceKeysPinFollowsFromThePublicKeyAlone() throws {
    let key = SigningKey.generate()
    let identity = try TLSIdentity.selfSigned(key: key, commonName: "box")
    #expect(identity.pin == TLSIdentity.pin(of: key.verifyingKey))
    #expect(TLSIdentity.pin(ofCertificatePEM: identity.certificatePEM) == identity.pin)
    // RFC 8410, section 10.1: the public key's SubjectPublicKeyInfo, digested with `openssl dgst -sha256`.
    let bytes = try #require(Hex.decode("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"))
    let published = try #require(VerifyingKey(bytes: bytes))
    #expect(TLSIdentity.pin(of: published) == "sha256//oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8=")
  }

  @Test(arguments: ["", "a b", "a,DNS:b", "https://hub", "hub:8443", "300.1.1.1", "-hub", "ho\u{FC}st", "127.0.0.1\n"])
  func refusesWhatIsNoAddress(_ address: String) {
    #expect(throws: TLSIdentityError.self) {
      try TLSIdentity.selfSigned(commonName: "x", addresses: [address])
    }
  }

  @Test func refusesBadNamesAndCertificates() {
    #expect(throws: TLSIdentityError.invalidCommonName) { try TLSIdentity.selfSigned(commonName: "", addresses: []) }
    #expect(TLSIdentity.pin(ofCertificatePEM: "nothing") == nil)
  }
}
