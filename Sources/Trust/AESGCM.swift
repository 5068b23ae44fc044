internal import COpenSSL

/// AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce before the ciphertext and the 128-bit tag behind it. A key is
/// for a few messages only, far below the 2^32 that random nonces allow (section 8.3).
public enum AESGCM {
  public static let keyLength = 32
  private static let nonceLength = 12
  private static let tagLength = 16
  /// What a sealed message has beyond its plaintext, in bytes.
  public static let overhead = nonceLength + tagLength

  /// Seals the message. The key has 32 bytes; the message at most 2 GiB.
  public static func seal(_ plaintext: [UInt8], key: [UInt8], additional: [UInt8]) -> [UInt8] {
    seal(plaintext, key: key, nonce: SecureRandom.bytes(nonceLength), additional: additional)
  }

  /// The same with a given nonce, for test vectors.
  static func seal(_ plaintext: [UInt8], key: [UInt8], nonce: [UInt8], additional: [UInt8]) -> [UInt8] {
    precondition(key.count == keyLength && nonce.count == nonceLength, "AES-256-GCM wants 32 and 12 bytes")
    guard let context = EVP_CIPHER_CTX_new() else { preconditionFailure("OpenSSL has no memory for a cipher") }
    defer { EVP_CIPHER_CTX_free(context) }
    var output = [UInt8](repeating: 0, count: plaintext.count)
    var tag = [UInt8](repeating: 0, count: tagLength)
    var count: Int32 = 0
    let done =
      EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1
      && (additional.isEmpty || EVP_EncryptUpdate(context, nil, &count, additional, Int32(additional.count)) == 1)
      && (plaintext.isEmpty || EVP_EncryptUpdate(context, &output, &count, plaintext, Int32(plaintext.count)) == 1)
      && EVP_EncryptFinal_ex(context, nil, &count) == 1
      && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tagLength), &tag) == 1
    precondition(done, "OpenSSL could not encrypt with AES-256-GCM")
    return nonce + output + tag
  }

  /// The message; nil when it is not what was sealed with this key and these additional data.
  public static func open(_ sealed: [UInt8], key: [UInt8], additional: [UInt8]) -> [UInt8]? {
    guard key.count == keyLength, sealed.count >= overhead, let context = EVP_CIPHER_CTX_new() else { return nil }
    defer {
      EVP_CIPHER_CTX_free(context)
      ERR_clear_error()
    }
    let ciphertext = Array(sealed[nonceLength..<(sealed.count - tagLength)])
    var tag = Array(sealed.suffix(tagLength))
    var output = [UInt8](repeating: 0, count: ciphertext.count)
    var count: Int32 = 0
    guard EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, Array(sealed.prefix(nonceLength))) == 1,
      additional.isEmpty || EVP_DecryptUpdate(context, nil, &count, additional, Int32(additional.count)) == 1,
      ciphertext.isEmpty || EVP_DecryptUpdate(context, &output, &count, ciphertext, Int32(ciphertext.count)) == 1,
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagLength), &tag) == 1,
      EVP_DecryptFinal_ex(context, nil, &count) == 1
    else { return nil }
    return output
  }
}
