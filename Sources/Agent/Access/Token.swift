public import Access
public import Trust

/// A bearer token for callers on TCP: `skt_`, 160 random bits and 32 bits of checksum in hexadecimal. The checksum
/// tells a cut or mistyped token from a foreign one, and secret scanners find the prefix.
public struct BearerToken: Sendable, Hashable {
  static let prefix = "skt_"
  public let text: String

  /// A new one from the system's randomness.
  public init() {
    let secret = Hex.encode(SecureRandom.bytes(20))
    text = BearerToken.prefix + secret + BearerToken.checksum(secret)
  }

  /// Nil when the text is no whole token.
  public init?(parsing text: String) {
    let bytes = Array(text.utf8)
    guard text.hasPrefix(BearerToken.prefix), bytes.count == BearerToken.prefix.utf8.count + 48 else { return nil }
    let secret = String(decoding: bytes[4..<44], as: UTF8.self)
    guard BearerToken.checksum(secret) == String(decoding: bytes[44...], as: UTF8.self) else { return nil }
    self.text = text
  }

  /// What is stored.
  var digest: Digest { Digest(of: text.utf8) }

  private static func checksum(_ secret: String) -> String {
    Hex.encode(Digest(of: "skerry token \(secret)".utf8).bytes.prefix(4))
  }
}

/// What the agent keeps of a token: never the token itself. Times are Unix seconds.
public struct TokenRecord: Sendable, Hashable {
  public let name: String
  public let digest: Digest
  public let created: Int64
  /// The label of the caller who created it.
  public let createdBy: String
  public let expires: Int64?
  public var lastUse: Int64?
  /// When it was first seen to have expired. From then on it is refused whatever the clock shows, until the hub's signed
  /// time says that it was too early.
  public var ended: Int64?
  /// What its holder is narrowed to, below the roles; nil: to nothing.
  public var scope: Scope?
}
