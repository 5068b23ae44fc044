internal import COpenSSL

extension TUFKey {
  /// A P-256 key, given as SubjectPublicKeyInfo in PEM, with its key id.
  public init(ecdsaP256 pem: String) {
    self.init(computing: "ecdsa", scheme: "ecdsa-sha2-nistp256", publicKey: pem)
  }

  /// With the key id that the specification recommends: the SHA-256 of the canonical form of the key.
  init(computing keyType: String, scheme: String, publicKey: String) {
    let key = TUFKey(keyID: "", keyType: keyType, scheme: scheme, publicKey: publicKey)
    // Three strings always have a canonical form.
    let canonical = (try? key.json.canonicalOLPC()) ?? []
    self.init(keyID: Digest(of: canonical).hex, keyType: keyType, scheme: scheme, publicKey: publicKey)
  }

  /// A public key as people hand it on: PEM (SubjectPublicKeyInfo) of Ed25519, P-256 or RSA, the KEY object of TUF as
  /// JSON, or the 64 hexadecimal digits of an Ed25519 key. Nil when it is none of them.
  public init?(publicKeyFile bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    let word = text.filter { !$0.isWhitespace }
    if word.utf8.count == 64, let key = Hex.decode(word).flatMap({ VerifyingKey(bytes: $0) }) {
      self.init(ed25519: key)
    } else if let json = try? JSONValue(parsing: bytes), let type = json["keytype"]?.string,
      let scheme = json["scheme"]?.string, let value = json["keyval"]?["public"]?.string
    {
      self.init(computing: type, scheme: scheme, publicKey: value)
      guard verifyingKey != nil else { return nil }
    } else if let key = TUFKey(spki: bytes) {
      self = key
    } else {
      return nil
    }
  }

  private init?(spki pem: [UInt8]) {
    defer { ERR_clear_error() }
    guard let bio = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else { return nil }
    defer { BIO_free(bio) }
    guard let key = PEM_read_bio_PUBKEY(bio, nil, nil, nil) else { return nil }
    defer { EVP_PKEY_free(key) }
    switch EVP_PKEY_get_id(key) {
    case EVP_PKEY_ED25519:
      var length = 32
      var raw = [UInt8](repeating: 0, count: 32)
      guard EVP_PKEY_get_raw_public_key(key, &raw, &length) == 1, let verifying = VerifyingKey(bytes: raw) else {
        return nil
      }
      self.init(ed25519: verifying)
    case EVP_PKEY_EC:
      guard EVP_PKEY_set_utf8_string_param(key, "point-format", "uncompressed") == 1, let text = Self.pem(key) else {
        return nil
      }
      self.init(ecdsaP256: text)
    case EVP_PKEY_RSA:
      guard let text = Self.pem(key) else { return nil }
      self.init(computing: "rsa", scheme: "rsassa-pss-sha256", publicKey: text)
    default: return nil
    }
    guard verifyingKey != nil else { return nil }
  }

  /// SubjectPublicKeyInfo in PEM; nil for a value that is no key.
  public var publicPEM: String? {
    guard keyType == "ed25519" else { return verifyingKey == nil ? nil : publicKey }
    guard let raw = Hex.decode(publicKey), raw.count == 32,
      let key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, raw, raw.count)
    else { return nil }
    defer { EVP_PKEY_free(key) }
    return Self.pem(key)
  }

  private static func pem(_ key: OpaquePointer) -> String? {
    guard let bio = BIO_new(BIO_s_mem()) else { return nil }
    defer { BIO_free(bio) }
    var start: UnsafeMutablePointer<CChar>?
    guard PEM_write_bio_PUBKEY(bio, key) == 1, case let length = skerry_bio_data(bio, &start), let start, length > 0
    else { return nil }
    return String(decoding: UnsafeRawBufferPointer(start: start, count: length), as: UTF8.self)
  }
}
