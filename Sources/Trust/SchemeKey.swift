internal import COpenSSL

/// A public key of one of the signature schemes that TUF's specification names (1.0.34, section 4.2). Skerry signs with
/// Ed25519 alone; the others verify metadata that somebody else's tools and tokens have signed.
public enum SchemeKey: Hashable, Sendable {
  case ed25519(VerifyingKey)
  /// ECDSA on NIST P-256 with SHA-256; the key as DER (SubjectPublicKeyInfo).
  case ecdsaP256(der: [UInt8])
  /// RSASSA-PSS with SHA-256, of at least 2048 bits; the key as DER (SubjectPublicKeyInfo).
  case rsaPSS(der: [UInt8])

  /// The key of a KEY object; nil when type, scheme or value is none that is known here.
  public init?(keyType: String, scheme: String, publicKey: String) {
    switch (keyType, scheme) {
    case ("ed25519", "ed25519"):
      guard let key = Hex.decode(publicKey).flatMap({ VerifyingKey(bytes: $0) }) else { return nil }
      self = .ed25519(key)
    // The second spelling of the type stands in older repositories.
    case ("ecdsa", "ecdsa-sha2-nistp256"), ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"):
      guard let der = Self.der(pem: publicKey, accepts: { EVP_PKEY_get_id($0) == EVP_PKEY_EC && Self.isP256($0) })
      else {
        return nil
      }
      self = .ecdsaP256(der: der)
    case ("rsa", "rsassa-pss-sha256"):
      guard
        let der = Self.der(
          pem: publicKey, accepts: { EVP_PKEY_get_id($0) == EVP_PKEY_RSA && EVP_PKEY_get_bits($0) >= 2048 })
      else { return nil }
      self = .rsaPSS(der: der)
    default: return nil
    }
  }

  /// True when `signature` is this key's over `message`.
  public func isValid(_ signature: [UInt8], for message: [UInt8]) -> Bool {
    switch self {
    case .ed25519(let key): key.isValid(signature, for: message)
    case .ecdsaP256(let der): Self.verify(signature, message, der, pss: false)
    case .rsaPSS(let der): Self.verify(signature, message, der, pss: true)
    }
  }

  private static func isP256(_ key: OpaquePointer) -> Bool {
    var name = [CChar](repeating: 0, count: 64)
    var length = 0
    guard EVP_PKEY_get_group_name(key, &name, name.count, &length) == 1 else { return false }
    return String(decoding: name[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self) == "prime256v1"
  }

  private static func der(pem: String, accepts: (OpaquePointer) -> Bool) -> [UInt8]? {
    defer { ERR_clear_error() }
    let text = Array(pem.utf8)
    guard let bio = BIO_new_mem_buf(text, Int32(clamping: text.count)) else { return nil }
    defer { BIO_free(bio) }
    guard let key = PEM_read_bio_PUBKEY(bio, nil, nil, nil) else { return nil }
    defer { EVP_PKEY_free(key) }
    guard accepts(key) else { return nil }
    // A point may be written short or in full; one form for both, so that one key never counts as two.
    if EVP_PKEY_get_id(key) == EVP_PKEY_EC {
      guard EVP_PKEY_set_utf8_string_param(key, "point-format", "uncompressed") == 1 else { return nil }
    }
    let length = i2d_PUBKEY(key, nil)
    guard length > 0 else { return nil }
    var der = [UInt8](repeating: 0, count: Int(length))
    let written = der.withUnsafeMutableBufferPointer { buffer in
      var cursor = buffer.baseAddress
      return i2d_PUBKEY(key, &cursor)
    }
    return written == length ? der : nil
  }

  private static func verify(_ signature: [UInt8], _ message: [UInt8], _ der: [UInt8], pss: Bool) -> Bool {
    defer { ERR_clear_error() }
    let key = der.withUnsafeBufferPointer { buffer in
      var cursor = buffer.baseAddress
      return d2i_PUBKEY(nil, &cursor, buffer.count)
    }
    guard let key else { return false }
    defer { EVP_PKEY_free(key) }
    guard let context = EVP_MD_CTX_new() else { return false }
    defer { EVP_MD_CTX_free(context) }
    var parameters: OpaquePointer?
    guard EVP_DigestVerifyInit(context, &parameters, EVP_sha256(), nil, key) == 1 else { return false }
    if pss {
      guard EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1,
        EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_AUTO) == 1
      else { return false }
    }
    return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
  }
}
