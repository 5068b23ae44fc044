import FoundationEssentials
import Testing
import Trust

/// Publishers' signatures: bundles, the envelope and statement inside, keys and certificates.
extension Fuzz {
  private static let now = Date(timeIntervalSince1970: 1_800_000_000)

  private static func manifest(shardSize: UInt64?) throws -> ModelFileManifest {
    let ranges = ModelFileRange.ranges(of: "weights.bin", length: 10, shardSize: shardSize)
    return try ModelFileManifest(
      name: "m", serialization: .init(shardSize: shardSize, ignoredPaths: [".git"]),
      resources: (ranges + ModelFileRange.ranges(of: "config.json", length: 2, shardSize: shardSize)).map {
        .init(range: $0, sha256: Digest(of: Array($0.name.utf8)))
      })
  }

  @Test func sigstoreBundles() throws {
    let key = ECPrivateKey.generate(.p256)
    let identity = try TLSIdentity.selfSigned(commonName: "x", addresses: ["x.example"])
    let chain = try Certificate.all(pem: Array(identity.certificatePEM.utf8))
    let byKey = try Self.manifest(shardSize: nil).signed(by: key, now: Self.now)
    let byCertificate = SigstoreBundle(
      material: .certificates(chain), payload: byKey.payload, signature: byKey.signature)
    Self.feed("sigstore bundle", [byKey.encoded, byCertificate.encoded]) { input in
      let read = try SigstoreBundle(parsing: input)
      #expect(try SigstoreBundle(parsing: read.encoded) == read)
    }
    Self.feed("forged bundle", [byKey.encoded]) { input in
      let read = try VerifiedModelManifest.verify(input, trust: .key(key.publicKey), now: Self.now)
      #expect(read.manifest.statement == byKey.payload, "a damaged bundle was taken for signed")
    }
  }

  @Test func modelStatements() throws {
    let samples = try [nil, 4].map { try Self.manifest(shardSize: $0).statement }
    Self.feed("model statement", samples) { input in
      let read = try ModelFileManifest(statement: input)
      for path in read.files.keys { #expect(path == ModelPath.singleFile || ModelPath.isCanonical(path)) }
      let again = try ModelFileManifest(statement: read.statement)
      #expect(again.files == read.files && again.rootDigest == read.rootDigest)
    }
  }

  @Test func certificates() throws {
    let identity = try TLSIdentity.selfSigned(commonName: "x", addresses: ["x.example", "127.0.0.1"])
    let pem = Array(identity.certificatePEM.utf8)
    let certificate = try Certificate.all(pem: pem)
    Self.feed("certificate", certificate.map(\.der)) { input in
      let read = try Certificate(der: input)
      _ = try? VerifiedSigningCertificate(chain: [read], roots: certificate, now: Self.now)
    }
    Self.feed("certificates, PEM", [pem + pem]) { _ = try Certificate.all(pem: $0) }
    Self.feed("EC key", [Array(identity.keyPEM.utf8)]) { _ = try ECPrivateKey(pem: $0) }
    Self.feed("EC public key", [ECPrivateKey.generate(.p521).publicKey.pem]) { _ = try ECPublicKey(pem: $0) }
  }
}
