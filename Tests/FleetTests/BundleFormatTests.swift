import Testing
import Trust

@testable import Fleet

/// A bundle out of a few parts, signed by a hub's key.
struct BundleMaker {
  var key = SigningKey.generate()
  var device = DeviceID(key: SigningKey.generate().verifyingKey)
  var parts: [(kind: BundleKind, name: String, bytes: [UInt8])] = [
    (.imageRoot, "1.root.json", Array("root".utf8)), (.imageMetadata, "timestamp.json", Array("time".utf8)),
    (.answer, "aa", []), (.chunk, String(repeating: "ab", count: 32), [UInt8](repeating: 7, count: 70_000)),
  ]

  var tufKey: TUFKey { TUFKey(ed25519: key.verifyingKey) }

  func manifest(serial: Int64 = 1) throws -> (SignedBundleManifest, content: [UInt8]) {
    let content = try SmallBundle.content(parts)
    let manifest = BundleManifest(
      origin: .hub, serial: serial, created: 1_800_000_000, devices: [device], hub: "https://hub.example",
      entries: content.entries, length: content.length, sha256: content.sha256)
    return (SignedBundleManifest(manifest, key: key, keyID: tufKey.keyID), content.bytes)
  }

  func bundle(serial: Int64 = 1) throws -> [UInt8] {
    let (signed, content) = try manifest(serial: serial)
    return BundleFormat.head(signed) + content
  }
}

/// What a reader found, as one value.
func readBundle(
  _ bytes: [UInt8], piece: Int = 4_096
) throws -> (SignedBundleManifest?, [(entry: BundleEntry, bytes: [UInt8])]) {
  var reader = BundleReader()
  var manifest: SignedBundleManifest?
  var entries: [(entry: BundleEntry, bytes: [UInt8])] = []
  for start in stride(from: 0, to: bytes.count, by: piece) {
    try reader.push(bytes[start..<min(start + piece, bytes.count)]) { event in
      switch event {
      case .manifest(let signed): manifest = signed
      case .entry(let entry): entries.append((entry, []))
      case .bytes(let part): entries[entries.count - 1].bytes += part
      case .end: break
      }
    }
  }
  try reader.finish()
  return (manifest, entries)
}

@Suite struct BundleFormatTests {
  @Test(arguments: [1, 7, 65_536, 1 << 20])
  func whatWasWrittenIsReadInPiecesOfAnySize(piece: Int) throws {
    let maker = BundleMaker()
    let (manifest, entries) = try readBundle(try maker.bundle(), piece: piece)
    #expect(entries.map(\.entry.name) == maker.parts.map(\.name))
    #expect(entries.map(\.bytes) == maker.parts.map(\.bytes))
    let signed = try #require(manifest)
    #expect(signed.isSigned(byOneOf: [maker.tufKey]))
    #expect(!signed.isSigned(byOneOf: [TUFKey(ed25519: SigningKey.generate().verifyingKey)]))
    #expect(!signed.isSignedByItsBox)
    #expect(signed.manifest.devices == [maker.device])
  }

  @Test func layoutIsAsDocumented() throws {
    var maker = BundleMaker()
    maker.parts = [(.answer, "aa", [1, 2, 3])]
    let (signed, content) = try maker.manifest()
    let bundle = BundleFormat.head(signed) + content
    let length = signed.encoded.count
    #expect(Array(bundle.prefix(8)) == Array("SKRYBNDL".utf8))
    #expect(Array(bundle[8..<12]) == [1, 0, 0, 0])
    #expect(Array(bundle[12..<16]) == [UInt8(length & 0xFF), UInt8(length >> 8), 0, 0])
    let entry: [UInt8] = [5, 2, 0, 0x61, 0x61, 3, 0, 0, 0, 0, 0, 0, 0] + Digest(of: [1, 2, 3]).bytes
    #expect(Array(bundle[(16 + length)...]) == entry + [1, 2, 3])
    #expect(signed.manifest.sha256 == Digest(of: entry))
  }

  @Test func everySingleBitIsNoticed() throws {
    var maker = BundleMaker()
    maker.parts[3].bytes = [1, 2, 3]
    let bundle = try maker.bundle()
    for at in bundle.indices {
      for bit in 0..<8 {
        var damaged = bundle
        damaged[at] ^= 1 << UInt8(bit)
        let isTaken = (try? readBundle(damaged))?.0?.isSigned(byOneOf: [maker.tufKey]) ?? false
        #expect(!isTaken, "byte \(at), bit \(bit)")
      }
    }
  }

  @Test func everyTruncationAndEveryAdditionIsNoticed() throws {
    var maker = BundleMaker()
    maker.parts[3].bytes = [1, 2, 3]
    let bundle = try maker.bundle()
    for length in 0..<bundle.count {
      #expect(throws: (any Error).self) { try readBundle(Array(bundle.prefix(length))) }
    }
    #expect(throws: BundleError.trailing) { try readBundle(bundle + [0]) }
  }

  @Test func manifestOfOneWithBodyOfAnotherIsRefused() throws {
    var maker = BundleMaker()
    let (first, one) = try maker.manifest()
    maker.parts[0].bytes = Array("ROOT".utf8)
    let (_, other) = try maker.manifest()
    #expect(one.count == other.count)
    #expect(throws: BundleError.otherContent) { try readBundle(BundleFormat.head(first) + other) }
  }

  @Test func orderNamesAndLimitsHoldForReadersAndWriters() throws {
    func refused(_ entries: [BundleEntry], sourceLocation: SourceLocation = #_sourceLocation) throws {
      let bytes = entries.flatMap { $0.header + [UInt8](repeating: 0, count: Int(min($0.length, 10))) }
      let maker = BundleMaker()
      let manifest = BundleManifest(
        origin: .hub, serial: 1, created: 1, devices: [maker.device], hub: "h", entries: UInt64(entries.count),
        length: UInt64(bytes.count), sha256: Digest(of: entries.flatMap(\.header)))
      let signed = SignedBundleManifest(manifest, key: maker.key, keyID: maker.tufKey.keyID)
      #expect(throws: BundleError.self, sourceLocation: sourceLocation) {
        try readBundle(BundleFormat.head(signed) + bytes)
      }
      var listing = BundleListing()
      #expect(throws: BundleError.self, sourceLocation: sourceLocation) {
        for entry in entries { try listing.add(entry) }
      }
    }
    let empty = Digest(of: [])
    func entry(_ kind: BundleKind, _ name: String, _ length: UInt64 = 0) -> BundleEntry {
      BundleEntry(kind: kind, name: name, length: length, sha256: empty)
    }
    try refused([entry(.imageMetadata, "a"), entry(.imageRoot, "b")])
    try refused([entry(.policy, "b"), entry(.policy, "a")])
    try refused([entry(.policy, "a"), entry(.policy, "a")])
    try refused([entry(.imageRoot, "10.root.json"), entry(.imageRoot, "2.root.json")])
    for name in ["../x", "a//b", "/a", "a/", ".", "..", "a/../b", "a b", "ü", "a\u{0}"] {
      try refused([entry(.policy, name)])
    }
    try refused([entry(.policy, "big", (1 << 20) + 1)])
    try refused([entry(.chunk, "big", .max)])
    try refused([entry(.policy, String(repeating: "x", count: 256))])
    _ = listing()
    func listing() -> Bool {
      var listing = BundleListing()
      try? listing.add(entry(.imageRoot, "2.root.json"))
      try? listing.add(entry(.imageRoot, "10.root.json"))
      return listing.entries == 2
    }
    #expect(listing())
  }

  @Test func anotherSpellingOfTheSameManifestIsRefused() throws {
    let (signed, content) = try BundleMaker().manifest()
    func head(_ envelope: [UInt8]) -> [UInt8] {
      BundleFormat.magic + BundleFormat.little(BundleFormat.version) + BundleFormat.little(UInt32(envelope.count))
        + envelope
    }
    let value = try JSONValue(parsing: signed.encoded)
    #expect(throws: BundleError.self) { try readBundle(head(value.encodedPretty()) + content) }
    var members = try #require(value.object)
    members["more"] = 1
    #expect(throws: BundleError.self) { try readBundle(head(JSONValue.object(members).encoded()) + content) }
    members["more"] = nil
    let signature = try #require(members["signatures"]?.array?.first)
    members["signatures"] = .array([signature, signature])
    #expect(throws: BundleError.self) { try readBundle(head(JSONValue.object(members).encoded()) + content) }
  }

  @Test func aBoxsBundleMustBeSignedByTheKeyThatItsIdFollowsFrom() throws {
    let (key, other) = (SigningKey.generate(), SigningKey.generate())
    func signed(_ device: SigningKey, _ named: SigningKey, by signer: SigningKey) throws -> SignedBundleManifest {
      let manifest = BundleManifest(
        origin: .box, serial: 4, created: 1, devices: [DeviceID(key: device.verifyingKey)], hub: "h",
        key: named.verifyingKey, entries: 0, length: 0, sha256: Digest(of: []))
      let made = SignedBundleManifest(manifest, key: signer, keyID: DeviceID(key: named.verifyingKey).hex)
      return try SignedBundleManifest(parsing: made.encoded)
    }
    #expect(try signed(key, key, by: key).isSignedByItsBox)
    #expect(try !signed(key, key, by: other).isSignedByItsBox)
    #expect(throws: BundleError.self) { try signed(key, other, by: other) }
  }

  @Test func entriesWithoutAManifestEndWhereTheirLengthSays() throws {
    let content = try SmallBundle.content([(.state, "state", [1]), (.outbox, "1", [2, 3])])
    func read(_ bytes: [UInt8], _ length: Int) throws -> Int {
      var reader = BundleReader(entriesOf: UInt64(length))
      var count = 0
      try reader.push(bytes) { if case .end = $0 { count += 1 } }
      try reader.finish()
      return count
    }
    #expect(try read(content.bytes, content.bytes.count) == 2)
    #expect(throws: BundleError.cut) { try read(Array(content.bytes.dropLast()), content.bytes.count) }
    #expect(throws: BundleError.self) { try read(content.bytes, content.bytes.count - 1) }
    #expect(throws: BundleError.self) { try read(content.bytes, content.bytes.count + 1) }
  }

  @Test func anEnrolmentsProofIsOneBoxsAlone() {
    let (key, other) = (SigningKey.generate().verifyingKey, SigningKey.generate().verifyingKey)
    let digest = Digest(of: Array("s3cret".utf8))
    let request = BundleEnrollment(secret: "s3cret", key: key, name: "b", agentVersion: "1")
    #expect(request.token == BundleEnrollment.tokenID(secretDigest: digest))
    #expect(request.proof == BundleEnrollment.proof(secretDigest: digest, key: key))
    #expect(request.proof != BundleEnrollment.proof(secretDigest: digest, key: other))
    #expect(request.token != digest)
  }
}
