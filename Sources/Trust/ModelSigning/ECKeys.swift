internal import COpenSSL

/// A public key for ECDSA.
public struct ECPublicKey: Hashable, Sendable {
  public let curve: EllipticCurve
  /// SubjectPublicKeyInfo, the point in full, so that one key has one spelling.
  public let der: [UInt8]

  /// Reads a PEM file (`PUBLIC KEY`). Throws `ECKeyError`.
  public init(pem: [UInt8]) throws(ECKeyError) {
    defer { ERR_clear_error() }
    guard let bio = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else { throw .notAPublicKey }
    defer { BIO_free(bio) }
    guard let key = PEM_read_bio_PUBKEY(bio, nil, nil, nil) else { throw .notAPublicKey }
    defer { EVP_PKEY_free(key) }
    guard let made = ECPublicKey(key) else { throw .otherKind }
    self = made
  }

  /// The public part of OpenSSL's key; nil when its curve is none of ours.
  init?(_ key: OpaquePointer) {
    defer { ERR_clear_error() }
    guard let curve = EllipticCurve(of: key) else { return nil }
    // A certificate's key belongs to the certificate: a copy takes the point's form.
    guard let copy = EVP_PKEY_dup(key) else { return nil }
    defer { EVP_PKEY_free(copy) }
    guard EVP_PKEY_set_utf8_string_param(copy, "point-format", "uncompressed") == 1 else { return nil }
    var start: UnsafeMutablePointer<UInt8>?
    let length = i2d_PUBKEY(copy, &start)
    guard length > 0, let start else { return nil }
    defer { CRYPTO_free(start, nil, 0) }
    self.curve = curve
    der = Array(UnsafeBufferPointer(start: start, count: Int(length)))
  }

  /// The key as PEM, 64 characters a line: what the fingerprint is taken of.
  public var pem: [UInt8] { Array(Certificate.pemText(der, "PUBLIC KEY").utf8) }

  /// The SHA-256 of the PEM text: what a bundle's `publicKey.hint` holds.
  public var fingerprint: Digest { Digest(of: pem) }

  /// True when `signature` (ECDSA, DER) is this key's over `message`.
  public func isValid(_ signature: [UInt8], for message: [UInt8]) -> Bool {
    defer { ERR_clear_error() }
    let key = der.withUnsafeBufferPointer { buffer in
      var cursor = buffer.baseAddress
      return d2i_PUBKEY(nil, &cursor, buffer.count)
    }
    guard let key else { return false }
    defer { EVP_PKEY_free(key) }
    guard let context = EVP_MD_CTX_new() else { return false }
    defer { EVP_MD_CTX_free(context) }
    guard EVP_DigestVerifyInit(context, nil, curve.digest, nil, key) == 1 else { return false }
    return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
  }
}

/// A private key for ECDSA.
public struct ECPrivateKey: Sendable {
  private let der: [UInt8]
  public let publicKey: ECPublicKey

  /// A new key from the system's randomness.
  public static func generate(_ curve: EllipticCurve) -> ECPrivateKey {
    guard let key = skerry_ec_generate(curve.rawValue) else {
      preconditionFailure("OpenSSL can't make a key on \(curve.rawValue)")
    }
    defer { EVP_PKEY_free(key) }
    guard let made = ECPrivateKey(key) else { preconditionFailure("OpenSSL can't write the key that it made") }
    return made
  }

  /// Reads a PEM private key. Throws `ECKeyError`.
  public init(pem: [UInt8], passphrase: String? = nil) throws(ECKeyError) {
    defer { ERR_clear_error() }
    guard let bio = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else { throw .notAPrivateKey }
    defer { BIO_free(bio) }
    // With no callback OpenSSL would ask on the terminal; an empty passphrase makes it fail instead.
    var phrase = Array((passphrase ?? "").utf8CString)
    let key = phrase.withUnsafeMutableBufferPointer {
      PEM_read_bio_PrivateKey(bio, nil, nil, UnsafeMutableRawPointer($0.baseAddress))
    }
    guard let key else {
      throw String(decoding: pem, as: UTF8.self).contains("ENCRYPTED") ? .wrongPassphrase : .notAPrivateKey
    }
    defer { EVP_PKEY_free(key) }
    guard let made = ECPrivateKey(key) else { throw .otherKind }
    self = made
  }

  private init?(_ key: OpaquePointer) {
    guard let publicKey = ECPublicKey(key) else { return nil }
    var start: UnsafeMutablePointer<UInt8>?
    let length = i2d_PrivateKey(key, &start)
    guard length > 0, let start else { return nil }
    defer { CRYPTO_clear_free(start, Int(length), nil, 0) }
    der = Array(UnsafeBufferPointer(start: start, count: Int(length)))
    self.publicKey = publicKey
  }

  /// An ECDSA signature in DER over the message's digest.
  public func sign(_ message: [UInt8]) -> [UInt8] {
    let key = der.withUnsafeBufferPointer { buffer in
      var cursor = buffer.baseAddress
      return d2i_AutoPrivateKey(nil, &cursor, buffer.count)
    }
    guard let key, let context = EVP_MD_CTX_new() else { preconditionFailure("OpenSSL has no memory for a signature") }
    defer {
      EVP_MD_CTX_free(context)
      EVP_PKEY_free(key)
    }
    // The longest on P-521 is 141 bytes.
    var signature = [UInt8](repeating: 0, count: 160)
    var length = signature.count
    let done =
      EVP_DigestSignInit(context, nil, publicKey.curve.digest, nil, key) == 1
      && EVP_DigestSign(context, &signature, &length, message, message.count) == 1
    precondition(done, "OpenSSL could not sign with ECDSA")
    return Array(signature[..<length])
  }
}
