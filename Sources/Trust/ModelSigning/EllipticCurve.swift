internal import COpenSSL

/// The curves on which publishers sign models (OpenSSF Model Signing 1.0, algorithm registry, "Signing Key Types").
/// Each goes with the digest of its own strength.
public enum EllipticCurve: String, CaseIterable, Hashable, Sendable {
  case p256 = "P-256"
  case p384 = "P-384"
  case p521 = "P-521"

  /// OpenSSL's name of the group, under which it reports a key's curve.
  private var groupName: String {
    switch self {
    case .p256: "prime256v1"
    case .p384: "secp384r1"
    case .p521: "secp521r1"
    }
  }

  /// SHA-256, SHA-384 or SHA-512.
  var digest: OpaquePointer? {
    switch self {
    case .p256: EVP_sha256()
    case .p384: EVP_sha384()
    case .p521: EVP_sha512()
    }
  }

  /// The curve of a key; nil when it is of another curve or kind, or spells its curve's parameters out.
  init?(of key: OpaquePointer) {
    guard EVP_PKEY_get_id(key) == EVP_PKEY_EC else { return nil }
    var name = [CChar](repeating: 0, count: 64)
    var length = 0
    guard EVP_PKEY_get_group_name(key, &name, name.count, &length) == 1, length <= name.count else {
      ERR_clear_error()
      return nil
    }
    let text = String(decoding: name[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let curve = EllipticCurve.allCases.first(where: { $0.groupName == text }) else { return nil }
    self = curve
  }
}

/// What can be wrong with the file of an elliptic-curve key.
public enum ECKeyError: Error, Hashable, CustomStringConvertible {
  case notAPublicKey
  case notAPrivateKey
  case wrongPassphrase
  case otherKind

  public var description: String {
    switch self {
    case .notAPublicKey: "this is no public key in PEM; openssl pkey -in KEY -pubout writes one"
    case .notAPrivateKey: "this is no private key in PEM"
    case .wrongPassphrase: "the key could not be decrypted: the passphrase is wrong or missing"
    case .otherKind:
      "models are signed with elliptic-curve keys on P-256, P-384 or P-521, and this key is of another kind"
    }
  }
}
