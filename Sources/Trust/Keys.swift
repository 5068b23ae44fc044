internal import COpenSSL

/// What can be wrong with a key file.
public enum KeyError: Error, Equatable, CustomStringConvertible {
  case notAKey
  case wrongPassphrase
  case encryptionFailed

  public var description: String {
    switch self {
    case .notAKey: "this is no Ed25519 private key in PEM (PKCS #8)"
    case .wrongPassphrase: "the key could not be decrypted: the passphrase is wrong or missing"
    case .encryptionFailed: "OpenSSL could not write the key"
    }
  }
}

/// An Ed25519 public key (RFC 8032): 32 bytes.
public struct VerifyingKey: Hashable, Sendable {
  public let bytes: [UInt8]

  /// Takes exactly 32 bytes; anything else is nil.
  public init?(bytes: some Sequence<UInt8>) {
    let copied = Array(bytes)
    guard copied.count == 32 else { return nil }
    self.bytes = copied
  }

  public var hex: String { Hex.encode(bytes) }

  /// True when `signature` (64 bytes) is this key's over `message`.
  public func isValid(_ signature: [UInt8], for message: [UInt8]) -> Bool {
    guard signature.count == 64,
      let key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, bytes, bytes.count)
    else { return false }
    defer { EVP_PKEY_free(key) }
    guard let context = EVP_MD_CTX_new() else { return false }
    defer { EVP_MD_CTX_free(context) }
    guard EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1 else { return false }
    let valid = EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    ERR_clear_error()
    return valid
  }
}

/// An Ed25519 private key (RFC 8032). Its file is PEM (PKCS #8), encrypted when there is a passphrase.
public struct SigningKey: Sendable {
  private let seed: [UInt8]
  public let verifyingKey: VerifyingKey

  /// A new key from the system's randomness.
  public static func generate() -> SigningKey {
    guard let key = SigningKey(seed: SecureRandom.bytes(32)) else {
      preconditionFailure("OpenSSL refuses a 32-byte Ed25519 seed")
    }
    return key
  }

  /// The key of this 32-byte seed; nil for another length.
  public init?(seed: [UInt8]) {
    guard seed.count == 32, let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, 32) else { return nil }
    defer { EVP_PKEY_free(key) }
    var length = 32
    var publicBytes = [UInt8](repeating: 0, count: 32)
    guard EVP_PKEY_get_raw_public_key(key, &publicBytes, &length) == 1,
      let verifying = VerifyingKey(bytes: publicBytes)
    else { return nil }
    self.seed = seed
    verifyingKey = verifying
  }

  /// Reads a PEM private key. Throws `KeyError.notAKey` or `KeyError.wrongPassphrase`.
  public init(pem: [UInt8], passphrase: String? = nil) throws(KeyError) {
    guard let bio = BIO_new_mem_buf(pem, Int32(pem.count)) else { throw .notAKey }
    defer { BIO_free(bio) }
    // With no callback OpenSSL would ask on the terminal; an empty passphrase makes it fail instead.
    var phrase = Array((passphrase ?? "").utf8CString)
    let key = phrase.withUnsafeMutableBufferPointer {
      PEM_read_bio_PrivateKey(bio, nil, nil, UnsafeMutableRawPointer($0.baseAddress))
    }
    guard let key else {
      ERR_clear_error()
      throw String(decoding: pem, as: UTF8.self).contains("ENCRYPTED") ? .wrongPassphrase : .notAKey
    }
    defer { EVP_PKEY_free(key) }
    var length = 32
    var bytes = [UInt8](repeating: 0, count: 32)
    guard EVP_PKEY_get_id(key) == EVP_PKEY_ED25519, EVP_PKEY_get_raw_private_key(key, &bytes, &length) == 1,
      let made = SigningKey(seed: bytes)
    else { throw .notAKey }
    self = made
  }

  /// The key as PEM (PKCS #8), encrypted with AES-256 when there is a passphrase.
  public func pem(passphrase: String? = nil) throws(KeyError) -> [UInt8] {
    guard let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count) else {
      throw .encryptionFailed
    }
    defer { EVP_PKEY_free(key) }
    guard let bio = BIO_new(BIO_s_mem()) else { throw .encryptionFailed }
    defer { BIO_free(bio) }
    let done: Int32
    if let passphrase {
      let phrase = Array(passphrase.utf8)
      done = phrase.withUnsafeBytes {
        PEM_write_bio_PKCS8PrivateKey(
          bio, key, EVP_aes_256_cbc(), $0.bindMemory(to: CChar.self).baseAddress, Int32(phrase.count), nil, nil)
      }
    } else {
      done = PEM_write_bio_PKCS8PrivateKey(bio, key, nil, nil, 0, nil, nil)
    }
    var start: UnsafeMutablePointer<CChar>?
    let length = skerry_bio_data(bio, &start)
    guard done == 1, let start, length > 0 else { throw .encryptionFailed }
    return Array(UnsafeRawBufferPointer(start: start, count: length))
  }

  /// OpenSSL's form of the key, for who frees it.
  func keyPair() -> OpaquePointer? { EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count) }

  /// A 64-byte Ed25519 signature over `message`.
  public func sign(_ message: [UInt8]) -> [UInt8] {
    guard let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, seed, seed.count),
      let context = EVP_MD_CTX_new()
    else { preconditionFailure("OpenSSL has no memory for a signature") }
    defer {
      EVP_MD_CTX_free(context)
      EVP_PKEY_free(key)
    }
    var signature = [UInt8](repeating: 0, count: 64)
    var length = 64
    let done =
      EVP_DigestSignInit(context, nil, nil, nil, key) == 1
      && EVP_DigestSign(context, &signature, &length, message, message.count) == 1
    precondition(done && length == 64, "OpenSSL could not sign with Ed25519")
    return signature
  }
}
