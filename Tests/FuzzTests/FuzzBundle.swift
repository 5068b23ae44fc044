import Fleet
import Testing
import Trust

/// What comes on a stick.
@Suite(.serialized) struct FuzzBundle {
  private static let key = SigningKey.generate()
  private static let tufKey = TUFKey(ed25519: key.verifyingKey)

  private static func bundle(_ parts: [(kind: BundleKind, name: String, bytes: [UInt8])]) throws -> [UInt8] {
    let content = try SmallBundle.content(parts)
    let manifest = BundleManifest(
      origin: .hub, serial: 1, created: 1, devices: [DeviceID(key: key.verifyingKey)], hub: "https://h",
      entries: content.entries, length: content.length, sha256: content.sha256)
    return BundleFormat.head(SignedBundleManifest(manifest, key: key, keyID: tufKey.keyID)) + content.bytes
  }

  private static func read(_ input: [UInt8], _ reader: consuming BundleReader) throws -> SignedBundleManifest? {
    var found: SignedBundleManifest?
    try reader.push(input) { if case .manifest(let signed) = $0 { found = signed } }
    try reader.finish()
    return found
  }

  @Test func containers() throws {
    let sample = try Self.bundle([
      (.imageRoot, "1.root.json", Array("{}".utf8)), (.answer, "aa", []), (.chunk, "ab", [UInt8](1...90)),
    ])
    Fuzz.feed("bundle", [sample]) { input in
      let signed = try Self.read(input, BundleReader())
      if signed?.isSigned(byOneOf: [Self.tufKey]) ?? false {
        #expect(input == sample, "a bundle that was never made is taken for signed")
      }
    }
  }

  @Test func runsOfEntries() throws {
    let sample = try SmallBundle.content([(.state, "state", [1, 2]), (.outbox, "1", [3])]).bytes
    Fuzz.feed("entries", [sample]) { input in
      _ = try Self.read(input, BundleReader(entriesOf: UInt64(input.count)))
    }
  }

  @Test func sealedBodies() throws {
    let key = OpeningKey.generate()
    let plaintext = [UInt8](repeating: 5, count: 300)
    let sample = try SealedStream.seal(plaintext, to: key.sealingKey, info: [1])
    Fuzz.feed("hpke", [sample]) { (input: [UInt8]) throws in
      let opened: [UInt8] = try SealedStream.open(input, key: key, info: [1])
      #expect(opened == plaintext)
      #expect(input == sample, "bytes that were never sealed open")
    }
  }

  @Test func auditSegments() throws {
    let record = Array("{\"n\":0}".utf8)
    let line = AuditExportEntry.line(index: 0, record: record)
    let sample = AuditSegmentHeader(origin: "o", from: 0, to: 1, edge: []).line + [0x0A] + line + [0x0A]
    let head = Checkpoint(origin: "o", size: 1, root: Merkle.leafHash(record))
    Fuzz.feed("segment", [sample]) { input in
      var verifier = AuditSegmentVerifier(recorded: nil, checkpoint: head)
      try verifier.push(input)
      try verifier.finish()
      #expect(input == sample)
    }
  }
}
