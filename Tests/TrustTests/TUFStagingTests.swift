import FoundationEssentials
import Testing

@testable import Trust

/// Staged files: who must sign them, and what a signature is worth.
@Suite struct TUFStagingTests {
  static let expires = Date(timeIntervalSince1970: 1_900_000_000)
  let people = (0..<3).map { _ in SigningKey.generate() }
  let online = SigningKey.generate()

  private func keys(_ signers: [SigningKey]) -> [TUFKey] { signers.map { TUFKey(ed25519: $0.verifyingKey) } }

  private func root(_ version: Int64, _ signers: [SigningKey], threshold: Int) throws -> TUFStagedFile {
    let role = (keys: keys([online]), threshold: 1)
    return try TUFStagedFile(
      role: "root",
      TUFWriter.root(
        version: version, expires: Self.expires,
        roles: [.root: (keys(signers), threshold), .targets: role, .snapshot: role, .timestamp: role]))
  }

  private func sign(_ file: inout TUFStagedFile, _ signers: [SigningKey]) throws {
    for signer in signers {
      try file.add(signer.sign(file.message()), by: TUFKey(ed25519: signer.verifyingKey).keyID)
    }
  }

  @Test func aRootNeedsTheOldThresholdAndTheNew() throws {
    var first = try root(1, Array(people[0..<2]), threshold: 2)
    try sign(&first, Array(people[0..<2]))
    var staging = TUFStaging(base: ["root": first.document])
    var next = try root(2, Array(people[1..<3]), threshold: 2)
    for (signers, isSigned) in [([], false), ([1, 2], false), ([0, 1], false), ([0, 1, 2], true)] as [([Int], Bool)] {
      next = try root(2, Array(people[1..<3]), threshold: 2)
      try sign(&next, signers.map { people[$0] })
      staging.put(next)
      #expect(try staging.isSigned("root") == isSigned)
      try staging.refuseAltered()
    }
    var trusted = try TrustedMetadata(trustedRoot: first.document.bytes)
    try trusted.updateRoot(next.document.bytes)
  }

  @Test func aSignatureOverOtherBytesOrByAStrangerIsAnAlteration() throws {
    var file = try root(1, people, threshold: 2)
    try sign(&file, [people[0]])
    var staging = TUFStaging(base: [:])
    staging.put(file)
    try staging.refuseAltered()
    var bent = file
    try bent.add(people[1].sign([1, 2, 3]), by: TUFKey(ed25519: people[1].verifyingKey).keyID)
    staging.put(bent)
    #expect(throws: TUFAltered.self) { try staging.refuseAltered() }
    var foreign = file
    try sign(&foreign, [.generate()])
    staging.put(foreign)
    #expect(throws: TUFAltered.self) { try staging.refuseAltered() }
  }

  @Test func anEditKeepsWhatItDoesNotKnow() throws {
    let json = """
      {"signatures": [], "signed": {"_type": "targets", "spec_version": "1.0.31", "version": 4, "mine": {"a": [1]},
       "expires": "2030-01-01T00:00:00Z", "targets": {"old": {"length": 1, "hashes": {"blake2b-256": "00"}}}}}
      """
    let document = try TUFDocument(parsing: Array(json.utf8), as: .targets)
    var signed = TUFSigned(continuing: document)
    signed.set(TUFTarget(path: "new", length: 3, sha256: Digest(of: [1])))
    try signed.set(
      TUFDelegation(name: "acme", keys: keys([people[0]]), threshold: 1, paths: .patterns(["a/*"]), isTerminating: true)
    )
    signed.advance(to: 5, expires: Self.expires)
    let after = try TUFDocument(parsing: signed.signed(by: [online]), as: .targets)
    #expect(after.signed["mine"] == ["a": [1]] && after.version == 5)
    #expect(after.signed["targets"]?["old"]?["hashes"]?["blake2b-256"] == "00")
    let list = try TUFTargets(after)
    #expect(list["new"]?.length == 3 && list["old"] == nil)
    let role = try #require(list.delegations?.roles.first)
    #expect(role.isTerminating && role.patterns == ["a/*"] && role.covers("a/b") && !role.covers("a/b/c"))
    signed.removeDelegation("acme")
    #expect(signed.json["delegations"] == nil)
    try signed.set(TUFDelegation(name: "bin", keys: keys([people[0]]), threshold: 1, paths: .succinct(bits: 3)))
    #expect(throws: TUFError.self) {
      try signed.set(TUFDelegation(name: "x", keys: [], threshold: 1, paths: .hashPrefixes(["0"])))
    }
    let bins = try TUFTargets(TUFDocument(parsing: signed.signed(by: [online]), as: .targets))
    let all = try #require(bins.delegations?.allRoles(limit: 8))
    #expect(all.map(\.name) == (0..<8).map { "bin-\($0)" })
    #expect(bins.delegations?.allRoles(limit: 7) == nil)
    for path in (0..<100).map({ "models/\($0)" }) {
      #expect(bins.delegations?.roles(for: path).count == 1)
      #expect(all.contains { $0.name == bins.delegations?.roles(for: path)[0].name })
    }
  }

  @Test func rootsLoseKeysThatNobodyNames() throws {
    var signed = TUFSigned(continuing: try root(1, people, threshold: 2).document)
    signed.set(.root, keys: keys([people[0]]), threshold: 1)
    signed.setSkerry(["graceSeconds": 7])
    #expect(signed.json["keys"]?.object?.count == 2)
    #expect(signed.json["skerry"] == ["graceSeconds": 7])
  }

  @Test func fileNames() {
    #expect(TUFFileName.parse("7.a.b.json")?.role == "a.b")
    #expect(TUFFileName.parse("12.root.json")?.version == 12)
    for name in [
      "0.a.json", "01.a.json", "a.json", "1..json", "1.json", "1.a/b.json", "1.timestamp.json", "1.director.json",
      "1.a", "1..a.json", "-1.a.json", "1.é.json", "timestamp.json",
    ] {
      #expect(TUFFileName.parse(name) == nil, "\(name)")
    }
  }
}

/// Both kinds of private keys, and the spellings of public ones.
@Suite struct PrivateKeyTests {
  @Test(arguments: PrivateKey.Scheme.allCases) func aKeySignsAndComesBackFromItsFile(_ scheme: PrivateKey.Scheme) throws
  {
    let key = try PrivateKey.generate(scheme)
    let message = Array("skerry".utf8)
    let again = try PrivateKey(pem: key.pem(passphrase: "words"), passphrase: "words")
    #expect(again.tufKey == key.tufKey && key.tufKey.scheme == scheme.rawValue)
    let verifying = try #require(key.tufKey.verifyingKey)
    #expect(verifying.isValid(again.sign(message), for: message))
    #expect(!verifying.isValid(again.sign(message), for: message + [0]))
    #expect(throws: KeyError.wrongPassphrase) { try PrivateKey(pem: key.pem(passphrase: "words"), passphrase: "other") }
    #expect(throws: KeyError.wrongPassphrase) { try PrivateKey(pem: key.pem(passphrase: "words")) }
    let pem = try #require(key.tufKey.publicPEM)
    #expect(TUFKey(publicKeyFile: Array(pem.utf8)) == key.tufKey)
    #expect(TUFKey(publicKeyFile: key.tufKey.json.encodedPretty()) == key.tufKey)
    #expect(TUFKey(publicKeyFile: try key.pem()) == nil)
  }

  @Test func oneKeyInTwoSpellingsHasOneId() throws {
    let full = try #require(TUFKey(publicKeyFile: Array(SchemeKeyTests.p256.utf8)))
    let short = try #require(TUFKey(publicKeyFile: Array(SchemeKeyTests.p256Compressed.utf8)))
    #expect(full == short && full.verifyingKey != nil)
    #expect(TUFKey(publicKeyFile: Array(SchemeKeyTests.rsa.utf8))?.scheme == "rsassa-pss-sha256")
    for text in ["", "00", "no key", String(repeating: "0", count: 63), "{}", "-----BEGIN PUBLIC KEY-----\nAA==\n"] {
      #expect(TUFKey(publicKeyFile: Array(text.utf8)) == nil, "\(text)")
    }
  }
}
