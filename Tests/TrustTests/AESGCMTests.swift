import Testing

@testable import Trust

/// AES-256-GCM by the test cases of its authors (McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B).
@Suite struct AESGCMTests {
  private func bytes(_ hex: String) throws -> [UInt8] { try #require(Hex.decode(hex)) }

  @Test func theVectorsOfItsAuthors() throws {
    let zero = [UInt8](repeating: 0, count: 32)
    let none = AESGCM.seal([], key: zero, nonce: [UInt8](repeating: 0, count: 12), additional: [])
    #expect(Hex.encode(none.dropFirst(12)) == "530f8afbc74536b9a963b4f1c4cb738b", "test case 13")
    let key = try bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
    let text = try bytes(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        + "b16aedf5aa0de657ba637b39")
    let additional = try bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    let sealed = AESGCM.seal(text, key: key, nonce: try bytes("cafebabefacedbaddecaf888"), additional: additional)
    #expect(
      Hex.encode(sealed.dropFirst(12))
        == "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
        + "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b", "test case 16")
    #expect(AESGCM.open(sealed, key: key, additional: additional) == text)
  }

  @Test func nothingElseOpens() throws {
    let key = SecureRandom.bytes(32)
    let text = Array("what was asked".utf8)
    let sealed = AESGCM.seal(text, key: key, additional: [1])
    #expect(AESGCM.open(sealed, key: key, additional: [1]) == text)
    #expect(sealed.count == text.count + AESGCM.overhead && sealed != AESGCM.seal(text, key: key, additional: [1]))
    for at in sealed.indices {
      var changed = sealed
      changed[at] ^= 1 << UInt8.random(in: 0..<8)
      #expect(AESGCM.open(changed, key: key, additional: [1]) == nil)
      #expect(AESGCM.open(Array(sealed[..<at]), key: key, additional: [1]) == nil)
    }
    #expect(AESGCM.open(sealed, key: key, additional: []) == nil)
    #expect(AESGCM.open(sealed, key: SecureRandom.bytes(32), additional: [1]) == nil)
    #expect(AESGCM.open(sealed, key: [], additional: [1]) == nil)
  }
}
