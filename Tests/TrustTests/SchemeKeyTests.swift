import Testing

@testable import Trust

/// Signatures that OpenSSL's command line made over "skerry"; the private keys were thrown away.
@Suite struct SchemeKeyTests {
  static let message = Array("skerry".utf8)
  static let p256 = """
    -----BEGIN PUBLIC KEY-----
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECR0MenM0AFOSryHPIYcCZEpo5Btu
    AFmnsa32omQdJc6WsiYLvShuOFLjS66WN+OSwcMrncv0we5zu23fVVe0Rw==
    -----END PUBLIC KEY-----
    """
  /// The same key, its point compressed.
  static let p256Compressed = """
    -----BEGIN PUBLIC KEY-----
    MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADCR0MenM0AFOSryHPIYcCZEpo5Btu
    AFmnsa32omQdJc4=
    -----END PUBLIC KEY-----
    """
  static let p256Signature =
    "304502205af40d6361af74f8d4db6475b95e3367c58e4211e2ee6804d797621756add5f4022100b75fe236533c2aeae1cf4b"
    + "fdc279a87e4823c3910211b6ad20eb5db7b703593c"
  static let rsa = """
    -----BEGIN PUBLIC KEY-----
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnp7xSdvEzb8iogArgIRC
    aPBa7brldZGdZqcQQPTDfCAQ8AmYrLw7pIXvZlc7Nk7G9pBQUpxoFmhoFXX0Z1qM
    mdh/QCI+4CpdxJjAq9ORNejewb5t1bSu+3pqKLAqDybXyTUdKH2ypiuOuyGW5VAL
    r19QT4RvNWqNRRVJUgWl9g/XnB57JYEWyfi43iN7uDDrWt6SSd7PMo4qDuK4pv0a
    nXuXKoBXqRqlJkc04ztJPXLRDTyu4gDqLA6+YoPkfAASOCGKRThO4B8SjRCEsfHR
    yHxo2o1EuDDfpU0eiGN+ZRICClREVG+Hk/VdBlR+XCL4Kndl6NtmB5vZ+aUkeqef
    rQIDAQAB
    -----END PUBLIC KEY-----
    """
  static let pssSignature =
    "4e47965f0acac28d9b31520db55aee849c1cb3a6e44c1cc376fd83e96fee4242fba82fca3852c74bcbe8ded00f32a79faf2c"
    + "c70c106f42a2c00ae9261b4994c068a5eb96e01c6c985c01be6e6078a8a657cf6af7dce359673097ea01a56651b96b74d42e"
    + "55e09f0868197eaf57e7938d9f482561713bd2b8c812580fa0459cc4378397b12d3fd479c207bf63be71007755b24fe183f2"
    + "80f20437c44636f7dd1f8c76ae5b27920b2d340f93c7285af23d5ef44f9dcb804dcb79a7f804237fd28372fc71094357967c"
    + "3595ba687af8fb48953b76cc78960386130d1a3f0bc2f33e20509430c2ccce01535aa0b1ef2e142dd7e04c3640cf54bf7e44"
    + "f9a602b37dd2"
  static let pkcs1Signature =
    "6c17eef32de5e76158a2c5cc72cfc0cf62b00e9482c0fc7ae102cccb2525f3c2a61685a80ea2135684af7b409ca54b5255d3"
    + "176cdf1e33d51faeb2e5582808dc5753cc334bd7409135fcd680fd768a3ac5e9d1e1b18b9e71929d9ddfd6877d5c4de74878"
    + "55af6465f760bd36aeb17d8213125e6266838a06d121d1ad3bcd65201a959a05da3a34b5bc83fc77d9b92c1aaa61e19a4f22"
    + "d6b818f40ea7fd18233bc16f60c261786d0b29865afd3191e7adc2ebbf7af244ccb7bfce8baa19b63cc0a2dadf42925d26ef"
    + "d4a2fb46e11e106824621fcaa632bdb2e61d11043763ddd66de51b57e358ee8ce126ee09a2a5beac8d4cab7bb8e4468d62cb"
    + "cfe771353905"
  static let p384 = """
    -----BEGIN PUBLIC KEY-----
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEX+huqg/7C9ljW6IrPxh4w17URrwf224o
    VdpqQWtt4ubkNWOnUEF9FCtkbju8WaEd7Sntp0ahKqkyOA3ePzobMe4KFwA8add6
    QXMLokk4uR+Rx6kl3+2szNqKPNc/54U2
    -----END PUBLIC KEY-----
    """
  static let rsa1024 = """
    -----BEGIN PUBLIC KEY-----
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC38hT5FHdCQ0eL2NkYXYxtDEBd
    pI94wz8P7sFNF+P+yrhIVXpsN88Qibh+hMLcfzVBpX+lY8MNBSk0iSwdDCGlWXTB
    eiCDmMQnyTJDS/i/lYw7hKaTA4oov8btp5Ix4ikYEItsZ9T9YWN6a6miiXwZDLnB
    tEguiyMX5U/0yS08SQIDAQAB
    -----END PUBLIC KEY-----
    """

  static let ecdsa = ("ecdsa", "ecdsa-sha2-nistp256", p256, p256Signature)
  static let pss = ("rsa", "rsassa-pss-sha256", rsa, pssSignature)

  @Test(arguments: [ecdsa, ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", p256, p256Signature), pss])
  func takesWhatOpenSSLSigned(type: String, scheme: String, key: String, signature: String) throws {
    let key = try #require(SchemeKey(keyType: type, scheme: scheme, publicKey: key))
    let bytes = try #require(Hex.decode(signature))
    #expect(key.isValid(bytes, for: Self.message))
    #expect(!key.isValid(bytes, for: Self.message + [0]))
    #expect(!key.isValid([], for: Self.message))
    for at in [0, 7, bytes.count / 2, bytes.count - 1] {
      var damaged = bytes
      damaged[at] ^= 1
      #expect(!key.isValid(damaged, for: Self.message), "bit of byte \(at)")
    }
  }

  @Test func anotherPaddingIsNoPSS() throws {
    let key = try #require(SchemeKey(keyType: "rsa", scheme: "rsassa-pss-sha256", publicKey: Self.rsa))
    #expect(!key.isValid(try #require(Hex.decode(Self.pkcs1Signature)), for: Self.message))
  }

  @Test(arguments: [
    ("ecdsa", "ecdsa-sha2-nistp256", p384), ("ecdsa", "ecdsa-sha2-nistp256", rsa),
    ("ecdsa", "ecdsa-sha2-nistp384", p384),
    ("rsa", "rsassa-pss-sha256", rsa1024), ("rsa", "rsassa-pss-sha256", p256), ("rsa", "rsa-pkcs1v15-sha256", rsa),
    ("rsa", "rsassa-pss-sha256", "no key"), ("ed25519", "ed25519", p256), ("ed25519", "rsassa-pss-sha256", "00"),
  ])
  func otherKeysAreNone(type: String, scheme: String, key: String) {
    #expect(SchemeKey(keyType: type, scheme: scheme, publicKey: key) == nil)
  }

  @Test func oneKeySpelledTwiceIsOneKey() throws {
    let other = Self.p256.split(separator: "\n").joined(separator: "\r\n") + "\n\n"
    #expect(
      SchemeKey(keyType: "ecdsa", scheme: "ecdsa-sha2-nistp256", publicKey: Self.p256)
        == SchemeKey(keyType: "ecdsa-sha2-nistp256", scheme: "ecdsa-sha2-nistp256", publicKey: other))
  }

  @Test func aKeyIsOneKeyHoweverItsPointIsWritten() throws {
    let keys = [Self.p256, Self.p256Compressed].map {
      TUFKey(keyID: $0, keyType: "ecdsa", scheme: "ecdsa-sha2-nistp256", publicKey: $0)
    }
    let (full, short) = (try #require(keys[0].verifyingKey), try #require(keys[1].verifyingKey))
    #expect(full == short)
    #expect(short.isValid(try #require(Hex.decode(Self.p256Signature)), for: Self.message))
  }
}
