internal import COpenSSL

/// A private key of one of the two schemes that Skerry signs metadata with. Its file is PEM (PKCS #8), encrypted when
/// there is a passphrase.
public enum PrivateKey: Sendable {
  case ed25519(SigningKey)
  /// ECDSA on NIST P-256 with SHA-256.
  case ecdsaP256(P256PrivateKey)

  /// The schemes as TUF's specification calls them.
  public enum Scheme: String, Sendable, CaseIterable {
    case ed25519
    case ecdsa = "ecdsa-sha2-nistp256"
  }

  /// A new key from the system's randomness. Throws `KeyError`.
  public static func generate(_ scheme: Scheme) throws(KeyError) -> PrivateKey {
    switch scheme {
    case .ed25519: .ed25519(.generate())
    case .ecdsa: .ecdsaP256(try P256PrivateKey.generate())
    }
  }

  /// Reads a PEM private key of either scheme. Throws `KeyError.notAKey` or `KeyError.wrongPassphrase`.
  public init(pem: [UInt8], passphrase: String? = nil) throws(KeyError) {
    do {
      self = .ed25519(try SigningKey(pem: pem, passphrase: passphrase))
    } catch KeyError.notAKey {
      self = .ecdsaP256(try P256PrivateKey(pem: pem, passphrase: passphrase))
    }
  }

  /// The key as PEM (PKCS #8), encrypted with AES-256 when there is a passphrase.
  public func pem(passphrase: String? = nil) throws(KeyError) -> [UInt8] {
    switch self {
    case .ed25519(let key): try key.pem(passphrase: passphrase)
    case .ecdsaP256(let key): try key.pem(passphrase: passphrase)
    }
  }

  /// The public key as TUF metadata lists it.
  public var tufKey: TUFKey {
    switch self {
    case .ed25519(let key): TUFKey(ed25519: key.verifyingKey)
    case .ecdsaP256(let key): TUFKey(ecdsaP256: key.publicPEM)
    }
  }

  /// A signature over `message`: 64 bytes of Ed25519, or an ECDSA-Sig-Value in DER.
  public func sign(_ message: [UInt8]) -> [UInt8] {
    switch self {
    case .ed25519(let key): key.sign(message)
    case .ecdsaP256(let key): key.sign(message)
    }
  }
}

/// An ECDSA private key on NIST P-256 (FIPS 186-5).
public struct P256PrivateKey: Sendable {
  /// PKCS #8, unencrypted, in memory alone.
  private let plain: [UInt8]
  /// SubjectPublicKeyInfo in PEM, its point in full.
  public let publicPEM: String

  public static func generate() throws(KeyError) -> P256PrivateKey {
    guard let key = skerry_ec_p256_generate() else { throw .encryptionFailed }
    defer { EVP_PKEY_free(key) }
    return try P256PrivateKey(key)
  }

  /// Throws `KeyError.notAKey` for any other kind of key, `KeyError.wrongPassphrase`.
  public init(pem: [UInt8], passphrase: String? = nil) throws(KeyError) {
    let key = try Self.read(pem, passphrase)
    defer { EVP_PKEY_free(key) }
    try self.init(key)
  }

  private init(_ key: OpaquePointer) throws(KeyError) {
    guard EVP_PKEY_get_id(key) == EVP_PKEY_EC,
      EVP_PKEY_set_utf8_string_param(key, "point-format", "uncompressed") == 1
    else { throw .notAKey }
    plain = try Self.write(key, nil)
    let text = try Self.memory { PEM_write_bio_PUBKEY($0, key) }
    publicPEM = String(decoding: text, as: UTF8.self)
    guard SchemeKey(keyType: "ecdsa", scheme: PrivateKey.Scheme.ecdsa.rawValue, publicKey: publicPEM) != nil else {
      throw .notAKey
    }
  }

  public func pem(passphrase: String?) throws(KeyError) -> [UInt8] {
    let key = try Self.read(plain, nil)
    defer { EVP_PKEY_free(key) }
    return try Self.write(key, passphrase)
  }

  public func sign(_ message: [UInt8]) -> [UInt8] {
    guard let key = try? Self.read(plain, nil), let context = EVP_MD_CTX_new() else {
      preconditionFailure("OpenSSL has no memory for a signature")
    }
    defer {
      EVP_MD_CTX_free(context)
      EVP_PKEY_free(key)
    }
    var length = Int(EVP_PKEY_get_size(key))
    var signature = [UInt8](repeating: 0, count: length)
    let done =
      EVP_DigestSignInit(context, nil, EVP_sha256(), nil, key) == 1
      && EVP_DigestSign(context, &signature, &length, message, message.count) == 1
    precondition(done, "OpenSSL could not sign with ECDSA")
    return Array(signature[..<length])
  }

  private static func read(_ pem: [UInt8], _ passphrase: String?) throws(KeyError) -> OpaquePointer {
    defer { ERR_clear_error() }
    guard let bio = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else { throw .notAKey }
    defer { BIO_free(bio) }
    // With no callback OpenSSL would ask on the terminal; an empty passphrase makes it fail instead.
    var phrase = Array((passphrase ?? "").utf8CString)
    let key = phrase.withUnsafeMutableBufferPointer {
      PEM_read_bio_PrivateKey(bio, nil, nil, UnsafeMutableRawPointer($0.baseAddress))
    }
    if let key { return key }
    throw String(decoding: pem, as: UTF8.self).contains("ENCRYPTED") ? .wrongPassphrase : .notAKey
  }

  private static func write(_ key: OpaquePointer, _ passphrase: String?) throws(KeyError) -> [UInt8] {
    try memory { bio in
      guard let passphrase else { return PEM_write_bio_PKCS8PrivateKey(bio, key, nil, nil, 0, nil, nil) }
      let phrase = Array(passphrase.utf8)
      return phrase.withUnsafeBytes {
        PEM_write_bio_PKCS8PrivateKey(
          bio, key, EVP_aes_256_cbc(), $0.bindMemory(to: CChar.self).baseAddress, Int32(phrase.count), nil, nil)
      }
    }
  }

  private static func memory(_ body: (OpaquePointer) -> Int32) throws(KeyError) -> [UInt8] {
    guard let bio = BIO_new(BIO_s_mem()) else { throw .encryptionFailed }
    defer { BIO_free(bio) }
    var start: UnsafeMutablePointer<CChar>?
    guard body(bio) == 1, case let length = skerry_bio_data(bio, &start), let start, length > 0 else {
      throw .encryptionFailed
    }
    return Array(UnsafeRawBufferPointer(start: start, count: length))
  }
}
