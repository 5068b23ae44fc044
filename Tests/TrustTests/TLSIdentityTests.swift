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
