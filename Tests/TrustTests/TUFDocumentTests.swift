import FoundationEssentials
import Testing

@testable import Trust

@Suite struct TUFDocumentTests {
  let fixture: TUFFixture
  init() throws { fixture = try TUFFixture() }

  func rewritten(_ bytes: [UInt8], _ change: (inout [String: JSONValue]) -> Void) throws -> [UInt8] {
    var members = try JSONValue(parsing: bytes).object ?? [:]
    change(&members)
    return JSONValue.object(members).encoded()
  }

  /// A targets file whose signed part was changed, and signed again.
  func resigned(_ change: (inout [String: JSONValue]) -> Void) throws -> [UInt8] {
    var members = TUFWriter.targets(version: 1, expires: fixture.targetsExpires, targets: []).json.object ?? [:]
    change(&members)
    return try TUFSigned(json: .object(members)).signed(by: [fixture.targetsKey])
  }

  @Test func twoSignaturesByOneKeyCountOnce() throws {
    let keys = [SigningKey.generate(), SigningKey.generate()]
    let one = TUFKey(ed25519: keys[0].verifyingKey)
    let two = TUFKey(ed25519: keys[1].verifyingKey)
    // The same public key under a second id.
    let again = TUFKey(keyID: "again", keyType: "ed25519", scheme: "ed25519", publicKey: one.publicKey)
    let listed = Dictionary(uniqueKeysWithValues: [one, two, again].map { ($0.keyID, $0) })
    let role = TUFRoleKeys(keyIDs: [one.keyID, two.keyID, again.keyID], threshold: 2)
    let signed = TUFWriter.targets(version: 1, expires: fixture.targetsExpires, targets: [])

    // A file that names one key twice is refused as a whole.
    #expect(throws: TUFError.self) { try TUFDocument(parsing: signed.signed(by: [keys[0], keys[0]]), as: .targets) }
    let aliased = try rewritten(signed.signed(by: [keys[0]])) { members in
      guard var list = members["signatures"]?.array, let first = list.first, let sig = first["sig"] else { return }
      list.append(["keyid": "again", "sig": sig])
      members["signatures"] = .array(list)
    }
    #expect(try TUFDocument(parsing: aliased, as: .targets).validSigners(role, keys: listed) == [one.keyID])
    #expect(throws: TUFError.signature(role: "targets", valid: 1, threshold: 2)) {
      try TUFDocument(parsing: aliased, as: .targets).demandSigners(role, keys: listed)
    }
    let both = try TUFDocument(parsing: signed.signed(by: keys), as: .targets)
    #expect(try both.demandSigners(role, keys: listed) == [one.keyID, two.keyID])
  }

  @Test func aHundredThousandSignaturesAreReadQuickly() throws {
    let bytes = try rewritten(fixture.bytes("1.targets.json")) { members in
      members["signatures"] = .array((0..<100_000).map { ["keyid": .string("key-\($0)"), "sig": ""] })
    }
    let start = ContinuousClock.now
    let document = try TUFDocument(parsing: bytes, as: .targets)
    #expect(document.signatures.count == 100_000)
    // Nobody has verified these bytes yet: comparing each with each would take minutes.
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  @Test func aBadSignatureOfAnotherKeyBeforeTheGoodOneDoesNotSpoilIt() throws {
    let key = fixture.targetsKey
    let id = TUFKey(ed25519: key.verifyingKey).keyID
    let bytes = try rewritten(fixture.bytes("1.targets.json")) { members in
      members["signatures"] = .array([["keyid": "somebody", "sig": "00"]] + (members["signatures"]?.array ?? []))
    }
    let trusted = try TrustedMetadata(trustedRoot: fixture.bytes("1.root.json"))
    #expect(try trusted.verified(bytes, as: .targets).signers == [id])
  }

  @Test func signaturesByOtherRolesKeysDoNotCount() throws {
    let trusted = try TrustedMetadata(trustedRoot: fixture.bytes("1.root.json"))
    let signed = TUFWriter.targets(version: 1, expires: fixture.targetsExpires, targets: [])
    for key in [fixture.timestampKey, fixture.snapshotKey, fixture.rootKeys[0], SigningKey.generate()] {
      let bytes = try signed.signed(by: [key])
      #expect(throws: TUFError.signature(role: "targets", valid: 0, threshold: 1)) {
        try trusted.verified(bytes, as: .targets)
      }
    }
  }

  @Test func aChangedByteBreaksTheSignature() throws {
    let trusted = try TrustedMetadata(trustedRoot: fixture.bytes("1.root.json"))
    let text = String(decoding: try fixture.bytes("1.targets.json"), as: UTF8.self)
    let changed = Array(text.replacing("\"length\": 4", with: "\"length\": 5").utf8)
    #expect(changed != Array(text.utf8))
    #expect(throws: TUFError.signature(role: "targets", valid: 0, threshold: 1)) {
      try trusted.verified(changed, as: .targets)
    }
  }

  @Test func unknownKeysAreCarriedAndNeverCount() throws {
    var repository = fixture
    let strange = TUFKey(keyID: "pq", keyType: "ml-dsa", scheme: "ml-dsa-65", publicKey: "zz")
    let known = repository.rootKeys.map { TUFKey(ed25519: $0.verifyingKey) }
    let rest = TUFKey(ed25519: repository.targetsKey.verifyingKey)
    let root = try TUFWriter.root(
      version: 1, expires: repository.rootExpires,
      roles: [
        .root: (known + [strange], 1), .timestamp: ([rest], 1), .snapshot: ([rest], 1), .targets: ([strange, rest], 1),
      ]
    ).signed(by: repository.rootKeys)
    repository.files["1.root.json"] = root
    let trusted = try TrustedMetadata(trustedRoot: root)
    let bytes = try rewritten(repository.bytes("1.targets.json")) { members in
      members["signatures"] = .array([["keyid": "pq", "sig": "not hex"]] + (members["signatures"]?.array ?? []))
    }
    #expect(try trusted.verified(bytes, as: .targets).signers == [rest.keyID])
  }

  @Test func rootsThatDoNotSignThemselvesAreRefused() throws {
    let bytes = try fixture.rootSigned.signed(by: [SigningKey.generate()])
    #expect(throws: TUFError.signature(role: "root", valid: 0, threshold: 1)) {
      try TrustedMetadata(trustedRoot: bytes)
    }
    #expect(throws: TUFError.self) { try TrustedMetadata(trustedRoot: Array("garbage".utf8)) }
    #expect(throws: TUFError.self) { try TrustedMetadata(trustedRoot: []) }
  }

  @Test func delegationsParseAndAreNamed() throws {
    let bytes = try resigned { members in
      members["delegations"] = [
        "keys": [:],
        "roles": [["name": "people", "keyids": ["x"], "threshold": 1, "terminating": true, "paths": ["people/*"]]],
      ]
    }
    #expect(try TUFTargets(TUFDocument(parsing: bytes, as: .targets)).delegatedRoles == ["people"])
  }

  @Test func malformedFilesSayWhatIsWrong() throws {
    for (text, reason) in [
      ("{}", "no \"signed\" object"),
      (#"{"signed":{}}"#, "no \"signatures\" list"),
      (#"{"signed":{},"signatures":[{}]}"#, "a signature lacks \"keyid\" or \"sig\""),
      (#"{"signed":{},"signatures":[]}"#, "no \"_type\""),
      (#"{"signed":{"_type":"targets"},"signatures":[]}"#, "no \"spec_version\""),
      (
        #"{"signed":{"_type":"targets","spec_version":"1.0","version":0},"signatures":[]}"#,
        "its \"version\" is no integer above 0"
      ),
      (
        #"{"signed":{"_type":"targets","spec_version":"1.0","version":1,"expires":"tomorrow"},"signatures":[]}"#,
        "its \"expires\" is no date like 2030-01-31T00:00:00Z"
      ),
    ] {
      #expect(throws: TUFError.malformed(role: "targets", reason: reason)) {
        try TUFDocument(parsing: Array(text.utf8), as: .targets)
      }
    }
  }

  @Test(arguments: ["2.0.0", "0.9", "10.0.0", "", "one"]) func otherSpecificationsAreRefused(version: String) throws {
    let bytes = try resigned { $0["spec_version"] = .string(version) }
    #expect(throws: TUFError.unsupportedSpecification(role: "targets", version: version)) {
      try TUFDocument(parsing: bytes, as: .targets)
    }
  }

  @Test func targetsWithoutAKnownDigestAreLeftOut() throws {
    let hex = String(repeating: "ab", count: 32)
    let bytes = try resigned { members in
      members["targets"] = [
        "a": ["length": 1, "hashes": ["sha3-256": "00"]],
        "b": ["length": 1, "hashes": ["sha256": .string(hex)]],
      ]
    }
    #expect(try TUFTargets(TUFDocument(parsing: bytes, as: .targets)).targets.map(\.path) == ["b"])
    let negative = try resigned { $0["targets"] = ["a": ["length": -1, "hashes": ["sha256": .string(hex)]]] }
    #expect(throws: TUFError.self) { try TUFTargets(TUFDocument(parsing: negative, as: .targets)) }
  }

  @Test func everyKnownDigestMustMatch() throws {
    let (bytes, other): ([UInt8], [UInt8]) = (Array("abc".utf8), Array("abd".utf8))
    // FIPS 180-4's example of "abc".
    let sha512 =
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
      + "2a9ac94fa54ca49f"
    func hashes(_ listed: JSONValue) throws -> TUFHashes? {
      let file = try resigned { $0["targets"] = ["a": ["length": 3, "hashes": listed]] }
      return try TUFTargets(TUFDocument(parsing: file, as: .targets)).targets.first?.hashes
    }
    let alone = try #require(try hashes(["sha512": .string(sha512), "sha3-256": "00"]))
    #expect(alone.match(bytes) && !alone.match(other) && alone.fileNamePrefix == sha512 && alone.sha256 == nil)
    let both = try #require(try hashes(["sha512": .string(sha512), "sha256": .string(Digest(of: bytes).hex)]))
    #expect(both.match(bytes) && both.fileNamePrefix == Digest(of: bytes).hex)
    let torn = try #require(try hashes(["sha512": .string(sha512), "sha256": .string(Digest(of: other).hex)]))
    #expect(!torn.match(bytes) && !torn.match(other))
    for malformed: JSONValue in ["00", 7, .string(sha512.uppercased() + "0"), .null] {
      #expect(throws: TUFError.self) { try hashes(["sha512": malformed]) }
    }
  }

  @Test func stepsOutOfOrderAreRefused() throws {
    var trusted = try TrustedMetadata(trustedRoot: fixture.bytes("1.root.json"))
    let (timestamp, snapshot) = (try fixture.bytes("timestamp.json"), try fixture.bytes("1.snapshot.json"))
    #expect(throws: TUFError.self) { try trusted.updateTimestamp(timestamp, now: TUFFixture.now) }
    try trusted.finishRoot(now: TUFFixture.now)
    #expect(throws: TUFError.self) { try trusted.updateSnapshot(snapshot, now: TUFFixture.now) }
    #expect(throws: TUFError.self) { try trusted.updateRoot(fixture.bytes("1.root.json")) }
    #expect(try trusted.updateTimestamp(timestamp, now: TUFFixture.now))
    #expect(try trusted.updateTimestamp(timestamp, now: TUFFixture.now) == false)
    #expect(throws: TUFError.self) {
      try trusted.updateTargets(fixture.bytes("1.targets.json"), now: TUFFixture.now)
    }
  }

  @Test func datesAreStrict() {
    for text in ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2038-01-19T03:14:08Z", "9999-12-31T00:00:00Z"] {
      #expect(TUFTime.parse(text).map(TUFTime.format) == text)
    }
    #expect(TUFTime.parse("2027-01-15T08:00:00Z") == TUFFixture.now)
    #expect(TUFTime.format(Date(timeIntervalSince1970: -1)) == "1969-12-31T23:59:59Z")
    for text in [
      "2001-02-29T00:00:00Z", "2030-13-01T00:00:00Z", "2030-00-01T00:00:00Z", "2030-01-01T24:00:00Z",
      "2030-01-01 00:00:00Z", "2030-01-01T00:00:00", "2030-01-01T00:00:00+00:00", "2030-01-01T00:00:00.5Z", "",
    ] {
      #expect(TUFTime.parse(text) == nil, "\(text)")
    }
  }
}
