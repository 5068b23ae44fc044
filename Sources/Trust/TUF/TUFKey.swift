/// A key as TUF metadata lists it. Keys of a type or scheme that Skerry does not know are carried, and never count.
public struct TUFKey: Hashable, Sendable {
  public let keyID: String
  public let keyType: String
  public let scheme: String
  /// `keyval.public` as it stands: 64 hexadecimal digits for Ed25519, PEM for the others.
  public let publicKey: String

  public init(keyID: String, keyType: String, scheme: String, publicKey: String) {
    self.keyID = keyID
    self.keyType = keyType
    self.scheme = scheme
    self.publicKey = publicKey
  }

  /// An Ed25519 key with its key id: "a hexdigest of the SHA-256 hash of the canonical form of the key".
  public init(ed25519 key: VerifyingKey) {
    let value = TUFKey.json(keyType: "ed25519", scheme: "ed25519", publicKey: key.hex)
    // The canonical form of these three strings always exists; `encoded` is the same bytes.
    self.init(keyID: Digest(of: value.encoded()).hex, keyType: "ed25519", scheme: "ed25519", publicKey: key.hex)
  }

  /// The key that verifies, or nil when the type, the scheme or the value is none that Skerry knows.
  public var verifyingKey: SchemeKey? { SchemeKey(keyType: keyType, scheme: scheme, publicKey: publicKey) }

  /// The KEY object of the specification.
  public var json: JSONValue { TUFKey.json(keyType: keyType, scheme: scheme, publicKey: publicKey) }

  private static func json(keyType: String, scheme: String, publicKey: String) -> JSONValue {
    [
      "keytype": .string(keyType), "scheme": .string(scheme),
      "keyval": ["public": .string(publicKey)],
    ]
  }
}

/// The keys of a role and how many distinct ones of them must sign.
public struct TUFRoleKeys: Hashable, Sendable {
  public let keyIDs: [String]
  public let threshold: Int

  public init(keyIDs: [String], threshold: Int) {
    self.keyIDs = keyIDs
    self.threshold = threshold
  }
}
