import Trust

/// What a box is called on the wire: the first 16 bytes of SHA-256 over its public key, as 32 hexadecimal digits.
/// It follows from the key, so nobody hands it out and nobody can take another's.
public struct DeviceID: Hashable, Sendable, CustomStringConvertible {
  public let hex: String

  public init(key: VerifyingKey) {
    hex = Hex.encode(Digest(of: key.bytes).bytes.prefix(16))
  }

  /// Takes 32 lower-case hexadecimal digits; anything else is nil.
  public init?(_ text: some StringProtocol) {
    guard text.utf8.count == 32, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
    else { return nil }
    hex = String(text)
  }

  public var description: String { hex }

  /// The name of this box's audit log: the origin of its checkpoints and the name its notes are signed with.
  public var auditOrigin: String { Self.auditPrefix + hex }

  /// The box whose audit log is called this; nil when it is no audit log's name.
  public init?(auditOrigin: String) {
    guard auditOrigin.hasPrefix(Self.auditPrefix) else { return nil }
    self.init(auditOrigin.dropFirst(Self.auditPrefix.count))
  }

  private static let auditPrefix = "skerry/audit/"
}

extension DeviceID: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let id = DeviceID(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "a device id is 32 hexadecimal digits")
    }
    self = id
  }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(hex)
  }
}
