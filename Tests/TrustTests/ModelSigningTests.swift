import FoundationEssentials
import Testing
import Trust

@Suite struct ModelSigningTests {
  static let now = Date(timeIntervalSince1970: 1_800_000_000)

  static func manifest(
    _ files: [String: String], shardSize: UInt64? = nil, ignored: [String] = []
  ) throws -> ModelFileManifest {
    let resources = files.flatMap { path, text in
      let bytes = Array(text.utf8)
      return ModelFileRange.ranges(of: path, length: UInt64(bytes.count), shardSize: shardSize).map { range in
        let part = range.bytes.map { bytes[Int($0.lowerBound)..<Int($0.upperBound)] } ?? bytes[...]
        return ModelFileManifest.Resource(range: range, sha256: Digest(of: part))
      }
    }
    return try ModelFileManifest(
      name: "m", serialization: .init(shardSize: shardSize, ignoredPaths: ignored), resources: resources)
  }

  static func verified(_ manifest: ModelFileManifest) throws -> VerifiedModelManifest {
    let key = ECPrivateKey.generate(.p256)
    let bundle = try manifest.signed(by: key, now: now).encoded
    return try VerifiedModelManifest.verify(bundle, trust: .key(key.publicKey), now: now)
  }

  @Test(arguments: EllipticCurve.allCases) func aSignatureIsOfOneKeyAndOneMessage(_ curve: EllipticCurve) throws {
    let key = ECPrivateKey.generate(curve)
    let message = Array("what is signed".utf8)
    let signature = key.sign(message)
    #expect(key.publicKey.curve == curve)
    #expect(key.publicKey.isValid(signature, for: message))
    #expect(!key.publicKey.isValid(signature, for: message + [0]))
    #expect(!key.publicKey.isValid(Array(signature.dropLast()), for: message))
    #expect(!key.publicKey.isValid([], for: message))
    #expect(!ECPrivateKey.generate(curve).publicKey.isValid(signature, for: message))
    #expect(try ECPublicKey(pem: key.publicKey.pem) == key.publicKey)
  }

  @Test func othersKeysAreToldApart() throws {
    #expect(throws: ECKeyError.otherKind) { try ECPrivateKey(pem: SigningKey.generate().pem()) }
    #expect(throws: ECKeyError.wrongPassphrase) { try ECPrivateKey(pem: SigningKey.generate().pem(passphrase: "x")) }
    #expect(throws: ECKeyError.notAPrivateKey) { try ECPrivateKey(pem: Array("-----BEGIN".utf8)) }
    #expect(throws: ECKeyError.notAPublicKey) { try ECPublicKey(pem: SigningKey.generate().pem()) }
  }

  // A point may be written short. The same key, P-256, in both spellings (made with openssl ec -conv_form compressed).
  @Test func oneKeyHasOneFingerprint() throws {
    let identity = try TLSIdentity.selfSigned(commonName: "x", addresses: [])
    let certificate = try #require(try Certificate.all(pem: Array(identity.certificatePEM.utf8)).first)
    let key = try ECPrivateKey(pem: Array(identity.keyPEM.utf8))
    #expect(certificate.publicKey == key.publicKey)
    let point = Array(key.publicKey.der.suffix(65))
    #expect(point.first == 4)
    let header: [UInt8] = [
      0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
      0x3D, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00, 2 + (point[64] & 1),
    ]
    let short = Base64.encode(header + point[1...32])
    let pem = "-----BEGIN PUBLIC KEY-----\n\(short)\n-----END PUBLIC KEY-----\n"
    #expect(try ECPublicKey(pem: Array(pem.utf8)).fingerprint == key.publicKey.fingerprint)
  }

  @Test func aCertificateSaysWhatItIs() throws {
    let identity = try TLSIdentity.selfSigned(commonName: "hub", addresses: ["hub.example", "127.0.0.1"])
    let certificate = try #require(try Certificate.all(pem: Array(identity.certificatePEM.utf8)).first)
    #expect(certificate.name == "hub" && certificate.subject == "CN=hub")
    #expect(certificate.alternativeNames == ["hub.example"])
    #expect(TUFTime.format(certificate.validFrom) == "2020-01-01T00:00:00Z")
    #expect(TUFTime.format(certificate.validUntil) == "9999-12-31T23:59:59Z")
    #expect(certificate.refusalToSign == "its ExtendedKeyUsage does not name codeSigning")
    #expect(try Certificate(der: certificate.der) == certificate)
    #expect(throws: CertificateError.notACertificate) { try Certificate(der: certificate.der + [0]) }
    #expect(throws: CertificateError.notACertificate) { try Certificate(der: Array(certificate.der.dropLast())) }
    #expect(throws: CertificateError.notACertificate) { try Certificate.all(pem: []) }
    let cut = Array(identity.certificatePEM.utf8) + Array(identity.certificatePEM.utf8.prefix(100))
    #expect(throws: CertificateError.notACertificate) { try Certificate.all(pem: cut) }
  }

  @Test(arguments: [nil, 1, 3, 4, 1000] as [UInt64?]) func aStatementReadsAsWritten(_ shardSize: UInt64?) throws {
    let files = ["a.txt": "abc", "a/b": "defghi", "a-b": "j", "z:9:10": "colons", "模型": "x"]
    let manifest = try Self.manifest(files, shardSize: shardSize, ignored: [".git", "cache"])
    let read = try ModelFileManifest(statement: manifest.statement)
    #expect(read == manifest)
    #expect(read.rootDigest == manifest.rootDigest)
    #expect(Set(read.files.keys) == Set(files.keys))
  }

  // §6.3.2's own example: 2.5 GB in pieces of 1 GB.
  @Test func shardsCoverAFile() {
    let ranges = ModelFileRange.ranges(of: "weights.bin", length: 2_500_000_000, shardSize: 1_000_000_000)
    #expect(
      ranges.map(\.name) == [
        "weights.bin:0:1000000000", "weights.bin:1000000000:2000000000", "weights.bin:2000000000:2500000000",
      ])
    #expect(ModelFileRange.ranges(of: "x", length: 10, shardSize: 10).map(\.name) == ["x:0:10"])
    #expect(ModelFileRange.ranges(of: "x", length: 0, shardSize: 10).isEmpty)
    #expect(ModelFileRange.ranges(of: "x", length: 0, shardSize: nil) == [ModelFileRange(path: "x")])
    #expect(ModelFileRange.ranges(of: "x", length: .max, shardSize: 1 << 62).count == 4)
  }

  @Test func pathsHaveOneSpelling() {
    for path in ["a", "a/b", ".hidden", "a..b", "...", "a b/c:d", "模型"] {
      #expect(ModelPath.isCanonical(path), "\(path)")
      #expect(ModelPath.canonical(path) == path)
    }
    for path in ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/../b", "a/.", "a\0b"] {
      #expect(!ModelPath.isCanonical(path), "\(path.debugDescription)")
    }
    #expect(ModelPath.canonical("./a//b/./c/") == "a/b/c")
    for path in ["", ".", "./", "/a", "../a", "a/..", "a\0"] { #expect(ModelPath.canonical(path) == nil) }
    let ignored: Set = [".git", "a/b"]
    for path in [".git", ".git/HEAD", "a/b", "a/b/c/d"] { #expect(ModelPath.isCovered(path, by: ignored), "\(path)") }
    for path in [".gitignore", "sub/.git", "a", "a/bc", "b"] {
      #expect(!ModelPath.isCovered(path, by: ignored), "\(path)")
    }
  }

  @Test func aComparisonNamesWhatDiffers() throws {
    let verified = try Self.verified(Self.manifest(["a": "1", "b/c": "22"], ignored: ["cache"]))
    func mismatches(_ sizes: [String: UInt64], allowed: Bool = false) -> [ModelMismatch] {
      ModelComparison(verified, sizes: sizes, ignoring: ["mine"], unsignedAllowed: allowed).mismatches
    }
    #expect(mismatches(["a": 1, "b/c": 2]).isEmpty)
    #expect(mismatches(["a": 1, "b/c": 2, "cache/x": 9, "mine": 1]).isEmpty)
    #expect(mismatches(["a": 1]) == [.missing("b/c")])
    #expect(mismatches(["a": 1, "b/c": 2, "d": 0]) == [.unsigned("d")])
    #expect(mismatches(["a": 1, "b/c": 2, "d": 0], allowed: true).isEmpty)
    #expect(mismatches([:]) == [.missing("a"), .missing("b/c")])
    let comparison = ModelComparison(verified, sizes: ["a": 1, "b/c": 2])
    #expect(comparison.ranges.map(\.name) == ["a", "b/c"])
    #expect(comparison.altered([Digest(of: Array("1".utf8)), Digest(of: Array("22".utf8))]).isEmpty)
    #expect(
      comparison.altered([Digest(of: Array("1".utf8)), Digest(of: [])]) == [.altered(ModelFileRange(path: "b/c"))])
  }

  @Test func aSingleFileIsKnownByEitherName() throws {
    for name in [ModelPath.singleFile, "weights.gguf"] {
      let verified = try Self.verified(Self.manifest([name: "w"]))
      let sizes: [String: UInt64] = [ModelPath.singleFile: 1]
      #expect(ModelComparison(verified, sizes: sizes, fileName: "weights.gguf").mismatches.isEmpty)
      let other = ModelComparison(verified, sizes: sizes, fileName: "other.gguf").mismatches
      #expect(other.isEmpty == (name == ModelPath.singleFile))
    }
  }

  @Test func shardsOfADifferentLengthAreSeenBeforeHashing() throws {
    let verified = try Self.verified(Self.manifest(["a": "12345", "empty": ""], shardSize: 2))
    #expect(ModelComparison(verified, sizes: ["a": 5, "empty": 0, "new": 0]).mismatches.isEmpty)
    for size in [0, 4, 6] as [UInt64] {
      let found = ModelComparison(verified, sizes: ["a": size]).mismatches
      #expect(found == [.length("a", signed: 5, found: size)])
    }
  }

  @Test func aBundleReadsAsWrittenAndVerifiesForItsKeyAlone() throws {
    let key = ECPrivateKey.generate(.p384)
    let manifest = try Self.manifest(["a": "1"])
    let bundle = try manifest.signed(by: key, now: Self.now)
    #expect(try SigstoreBundle(parsing: bundle.encoded) == bundle)
    let verified = try VerifiedModelManifest.verify(bundle.encoded, trust: .key(key.publicKey), now: Self.now)
    #expect(verified.manifest == manifest && verified.signer == .key(key.publicKey))
    let other = ECPrivateKey.generate(.p384).publicKey
    #expect(throws: ModelSignatureError.otherKey(found: key.publicKey.fingerprint.hex, expected: other.fingerprint.hex))
    {
      try VerifiedModelManifest.verify(bundle.encoded, trust: .key(other), now: Self.now)
    }
    // A bundle that says nothing of its key, or lies about it, is no better.
    for hint in [nil, other.fingerprint.hex] {
      let forged = SigstoreBundle(
        material: .publicKey(hint: hint), payload: bundle.payload, signature: bundle.signature)
      #expect(throws: ModelSignatureError.badSignature) {
        try VerifiedModelManifest.verify(forged.encoded, trust: .key(other), now: Self.now)
      }
    }
  }

  @Test func aSignersNameCannotCommandATerminal() throws {
    let identity = try TLSIdentity.selfSigned(commonName: "x\u{1B}[2J\u{202E}y", addresses: [])
    let certificate = try #require(try Certificate.all(pem: Array(identity.certificatePEM.utf8)).first)
    let text = "\(ModelSigner.certificate(certificate))"
    #expect(!text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x202E })
  }
}
