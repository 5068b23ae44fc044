import Testing

@testable import Trust

/// RFC 9180, appendix A.2.1, and the stream over it.
@Suite struct HPKETests {
  private func bytes(_ hex: String) throws -> [UInt8] { try #require(Hex.decode(hex)) }

  private let ephemeral = "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600"
  private let recipient = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"
  private let info = "4f6465206f6e2061204772656369616e2055726e"
  private let plaintext = "4265617574792069732074727574682c20747275746820626561757479"
  /// By sequence number.
  private let ciphertexts = [
    0: "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    1: "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f59992dc98c",
    2: "71146bd6795ccc9c49ce25dda112a48f202ad220559502cef1f34271e0cb4b02b4f10ecac6f48c32f878fae86b",
    4: "63357a2aa291f5a4e5f27db6baa2af8cf77427c7c1a909e0b37214dd47db122bb153495ff0b02e9e54a50dbe16",
    255: "18ab939d63ddec9f6ac2b60d61d36a7375d2070c9b683861110757062c52b8880a5f6b3936da9cd6c23ef2a95c",
    256: "7a4a13e9ef23978e2c520fd4d2e757514ae160cd0cd05e556ef692370ca53076214c0c40d4c728d6ed9e727a5b",
  ]

  @Test func keysOfTheVector() throws {
    let sender = try #require(OpeningKey(bytes: bytes(ephemeral)))
    #expect(sender.sealingKey.hex == "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
    let receiver = try #require(OpeningKey(bytes: bytes(recipient)))
    #expect(receiver.sealingKey.hex == "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
  }

  @Test func keyScheduleOfTheVector() throws {
    let shared = try bytes("0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7")
    let context = HPKE.Context(secret: shared, info: try bytes(info))
    #expect(Hex.encode(context.key) == "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91")
    #expect(Hex.encode(context.baseNonce) == "5c4d98150661b848853b547f")
  }

  @Test func everyCiphertextOfTheVectorBothWays() throws {
    let key = try #require(OpeningKey(bytes: bytes(recipient)))
    var sender = try HPKE.Sender(
      to: key.sealingKey, info: bytes(info), ephemeral: try #require(OpeningKey(bytes: bytes(ephemeral))))
    var receiver = try HPKE.Receiver(encapsulatedKey: sender.encapsulatedKey, key: key, info: bytes(info))
    for number in 0...256 {
      let additional = Array("Count-\(number)".utf8)
      let sealed = try sender.seal(bytes(plaintext), additional: additional)
      if let expected = ciphertexts[number] { #expect(Hex.encode(sealed) == expected) }
      #expect(try receiver.open(sealed, additional: additional) == bytes(plaintext))
    }
  }

  @Test func anotherKeyInfoPlaceOrDataDoesNotOpen() throws {
    let key = OpeningKey.generate()
    var sender = try HPKE.Sender(to: key.sealingKey, info: [1])
    let sealed = try sender.seal([7, 7], additional: [3])
    let second = try sender.seal([8, 8], additional: [3])
    func receiver(_ key: OpeningKey, _ info: [UInt8] = [1]) throws -> HPKE.Receiver {
      try HPKE.Receiver(encapsulatedKey: sender.encapsulatedKey, key: key, info: info)
    }
    var right = try receiver(key)
    #expect(try right.open(sealed, additional: [3]) == [7, 7])
    #expect(throws: HPKEError.notAuthentic) { try right.open(sealed, additional: [3]) }
    var early = try receiver(key)
    #expect(throws: HPKEError.notAuthentic) { try early.open(second, additional: [3]) }
    var otherKey = try receiver(.generate())
    #expect(throws: HPKEError.notAuthentic) { try otherKey.open(sealed, additional: [3]) }
    var otherInfo = try receiver(key, [2])
    #expect(throws: HPKEError.notAuthentic) { try otherInfo.open(sealed, additional: [3]) }
    var otherData = try receiver(key)
    #expect(throws: HPKEError.notAuthentic) { try otherData.open(sealed, additional: []) }
  }

  @Test func pointsOfSmallOrderAreRefused() throws {
    let zero = [UInt8](repeating: 0, count: 32)
    let one = [1] + [UInt8](repeating: 0, count: 31)
    for point in [zero, one] {
      #expect(throws: HPKEError.badKey) {
        try HPKE.Sender(to: try #require(SealingKey(bytes: point)), info: [])
      }
      #expect(throws: HPKEError.badKey) {
        try HPKE.Receiver(encapsulatedKey: point, key: .generate(), info: [])
      }
    }
    #expect(throws: HPKEError.badKey) { try HPKE.Receiver(encapsulatedKey: [9], key: .generate(), info: []) }
  }

  @Test func keyFileIsReadBackAndNothingElse() throws {
    let key = OpeningKey.generate()
    #expect(try OpeningKey(pem: key.pem()).sealingKey == key.sealingKey)
    #expect(throws: KeyError.notAKey) { try OpeningKey(pem: SigningKey.generate().pem()) }
    #expect(throws: KeyError.notAKey) { try OpeningKey(pem: [1, 2, 3]) }
    #expect(throws: KeyError.notAKey) { try SigningKey(pem: key.pem()) }
  }

  @Test(arguments: [0, 1, 65_535, 65_536, 65_537, 131_072, 200_001])
  func streamOfAnyLengthInPiecesOfAnySize(length: Int) throws {
    let key = OpeningKey.generate()
    let body = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    var sealer = try SealedStream.Sealer(to: key.sealingKey, info: [5])
    var sealed: [UInt8] = []
    for start in stride(from: 0, to: length, by: 7_777) {
      sealed += try sealer.push(body[start..<min(start + 7_777, length)])
    }
    sealed += try sealer.finish()
    #expect(UInt64(sealed.count) == SealedStream.sealedLength(of: UInt64(length)))
    #expect(try SealedStream.open(sealed, key: key, info: [5]) == body)
    var opener = SealedStream.Opener(key: key, info: [5])
    var opened: [UInt8] = []
    for start in stride(from: 0, to: sealed.count, by: 1_013) {
      opened += try opener.push(sealed[start..<min(start + 1_013, sealed.count)])
    }
    #expect(try opened + opener.finish() == body)
  }

  @Test func aStreamCutAtAPieceOrReorderedDoesNotOpen() throws {
    let key = OpeningKey.generate()
    let piece = SealedStream.pieceLength + HPKE.overhead
    let sealed = try SealedStream.seal([UInt8](repeating: 9, count: 3 * 65_536), to: key.sealingKey, info: [])
    #expect(throws: HPKEError.notAuthentic) {
      try SealedStream.open(Array(sealed.prefix(32 + 2 * piece)), key: key, info: [])
    }
    let swapped = sealed[..<32] + sealed[(32 + piece)..<(32 + 2 * piece)] + sealed[32..<(32 + piece)]
    #expect(throws: HPKEError.notAuthentic) {
      try SealedStream.open(Array(swapped + sealed[(32 + 2 * piece)...]), key: key, info: [])
    }
    #expect(throws: HPKEError.notAuthentic) { try SealedStream.open(sealed + [0], key: key, info: []) }
    for length in [0, 31, 32, 40] {
      #expect(throws: HPKEError.notAuthentic) {
        try SealedStream.open(Array(sealed.prefix(length)), key: key, info: [])
      }
    }
  }
}
