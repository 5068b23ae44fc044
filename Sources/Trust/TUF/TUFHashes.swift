/// The HASHES of the specification (1.0.34, section 4.4): digests of one file by algorithm, of which at least one is
/// known here. "Clients MUST … check the hashes of the target": all that are known must match.
public struct TUFHashes: Hashable, Sendable {
  public let sha256: Digest?
  /// FIPS 180-4's SHA-512, 64 bytes.
  public let sha512: [UInt8]?

  /// The names of the algorithms that are known, the one that Skerry writes first.
  public static let algorithms = ["sha256", "sha512"]

  public init(sha256: Digest) {
    self.sha256 = sha256
    sha512 = nil
  }

  /// Reads a HASHES object. Nil when it has no algorithm that is known, or one of them is malformed; others are passed
  /// over.
  init?(_ value: JSONValue) {
    var (sha256, sha512): (Digest?, [UInt8]?) = (nil, nil)
    if let listed = value["sha256"] {
      guard let digest = listed.string.flatMap({ Digest(hex: $0) }) else { return nil }
      sha256 = digest
    }
    if let listed = value["sha512"] {
      guard let bytes = listed.string.flatMap({ Hex.decode($0) }), bytes.count == SHA512.length else { return nil }
      sha512 = bytes
    }
    guard sha256 != nil || sha512 != nil else { return nil }
    self.sha256 = sha256
    self.sha512 = sha512
  }

  /// Whether the bytes have every digest that is listed.
  public func match(_ bytes: [UInt8]) -> Bool {
    (sha256 == nil || sha256 == Digest(of: bytes)) && (sha512 == nil || sha512 == SHA512.digest(of: bytes))
  }

  /// The digest that a consistent snapshot's file names begin with: "HASH is one of the hashes of the targets file
  /// listed in the targets metadata file".
  public var fileNamePrefix: String { sha256?.hex ?? Hex.encode(sha512 ?? []) }

  var json: JSONValue {
    var members: [String: JSONValue] = [:]
    if let sha256 { members["sha256"] = .string(sha256.hex) }
    if let sha512 { members["sha512"] = .string(Hex.encode(sha512)) }
    return .object(members)
  }
}
