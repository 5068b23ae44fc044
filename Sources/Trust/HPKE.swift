internal import COpenSSL

/// Why something could not be sealed or opened.
public enum HPKEError: Error, Hashable, CustomStringConvertible {
  /// The encapsulated or the recipient's key is no usable X25519 public key (RFC 9180 §7.1.4).
  case badKey
  /// The ciphertext is not what was sealed to this key, with this info, in this place.
  case notAuthentic
  /// More messages than sequence numbers (RFC 9180 §5.2).
  case messageLimit

  public var description: String {
    switch self {
    case .badKey: "the X25519 key is not usable"
    case .notAuthentic: "the sealed bytes were altered, cut, or sealed to another key"
    case .messageLimit: "too many messages for one sealing context"
    }
  }
}

/// An X25519 public key (RFC 7748): 32 bytes. What others seal to.
public struct SealingKey: Hashable, Sendable {
  public let bytes: [UInt8]

  /// Takes exactly 32 bytes; anything else is nil.
  public init?(bytes: some Sequence<UInt8>) {
    let copied = Array(bytes)
    guard copied.count == X25519.length else { return nil }
    self.bytes = copied
  }

  /// Takes 64 hexadecimal digits; anything else is nil.
  public init?(hex: some StringProtocol) {
    guard let bytes = Hex.decode(hex) else { return nil }
    self.init(bytes: bytes)
  }

  public var hex: String { Hex.encode(bytes) }
}

/// An X25519 private key (RFC 7748). Its file is PEM (PKCS #8).
public struct OpeningKey: Sendable {
  fileprivate let bytes: [UInt8]
  public let sealingKey: SealingKey

  /// A new key from the system's randomness.
  public static func generate() -> OpeningKey {
    guard let key = OpeningKey(bytes: SecureRandom.bytes(X25519.length)) else {
      preconditionFailure("OpenSSL refuses 32 bytes as an X25519 key")
    }
    return key
  }

  /// The key of these 32 bytes; nil for another length.
  public init?(bytes: [UInt8]) {
    guard bytes.count == X25519.length, let publicKey = X25519.publicKey(of: bytes),
      let sealing = SealingKey(bytes: publicKey)
    else { return nil }
    self.bytes = bytes
    sealingKey = sealing
  }

  /// Reads a PEM private key. Throws `KeyError.notAKey`.
  public init(pem: [UInt8]) throws(KeyError) {
    defer { ERR_clear_error() }
    guard let bio = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else { throw .notAKey }
    defer { BIO_free(bio) }
    // An empty passphrase, so that OpenSSL never asks on a terminal.
    var phrase: [CChar] = [0]
    let read = phrase.withUnsafeMutableBufferPointer {
      PEM_read_bio_PrivateKey(bio, nil, nil, UnsafeMutableRawPointer($0.baseAddress))
    }
    guard let read else { throw .notAKey }
    defer { EVP_PKEY_free(read) }
    var length = X25519.length
    var bytes = [UInt8](repeating: 0, count: X25519.length)
    guard EVP_PKEY_get_id(read) == EVP_PKEY_X25519, EVP_PKEY_get_raw_private_key(read, &bytes, &length) == 1,
      let made = OpeningKey(bytes: bytes)
    else { throw .notAKey }
    self = made
  }

  /// The key as PEM (PKCS #8), not encrypted.
  public func pem() throws(KeyError) -> [UInt8] {
    guard let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nil, bytes, bytes.count) else {
      throw .encryptionFailed
    }
    defer { EVP_PKEY_free(key) }
    guard let bio = BIO_new(BIO_s_mem()) else { throw .encryptionFailed }
    defer { BIO_free(bio) }
    let done = PEM_write_bio_PKCS8PrivateKey(bio, key, nil, nil, 0, nil, nil)
    var start: UnsafeMutablePointer<CChar>?
    let length = skerry_bio_data(bio, &start)
    guard done == 1, let start, length > 0 else { throw .encryptionFailed }
    return Array(UnsafeRawBufferPointer(start: start, count: length))
  }
}

/// Hybrid public key encryption (RFC 9180), base mode, with one suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
/// ChaCha20-Poly1305.
public enum HPKE {
  static let kem: [UInt8] = Array("KEM".utf8) + [0x00, 0x20]
  static let suite: [UInt8] = Array("HPKE".utf8) + [0x00, 0x20, 0x00, 0x01, 0x00, 0x03]
  /// What a sealed message has beyond its plaintext, in bytes.
  public static let overhead = 16
  /// The encapsulated key's length in bytes.
  public static let encapsulatedLength = 32

  /// Seals messages to one key, in order (RFC 9180 §5.1.1, `SetupBaseS`).
  public struct Sender: Sendable {
    /// Goes to the recipient, before the messages.
    public let encapsulatedKey: [UInt8]
    private var context: Context

    public init(to recipient: SealingKey, info: [UInt8]) throws(HPKEError) {
      try self.init(to: recipient, info: info, ephemeral: .generate())
    }

    /// The same with a given ephemeral key, for test vectors.
    init(to recipient: SealingKey, info: [UInt8], ephemeral: OpeningKey) throws(HPKEError) {
      guard let shared = X25519.agree(ephemeral.bytes, recipient.bytes) else { throw .badKey }
      encapsulatedKey = ephemeral.sealingKey.bytes
      let secret = HPKE.sharedSecret(shared, context: encapsulatedKey + recipient.bytes)
      context = Context(secret: secret, info: info)
    }

    /// The next message, sealed.
    public mutating func seal(_ plaintext: [UInt8], additional: [UInt8] = []) throws(HPKEError) -> [UInt8] {
      let nonce = try context.nextNonce()
      return ChaChaPoly.seal(plaintext, key: context.key, nonce: nonce, additional: additional)
    }
  }

  /// Opens messages in the order in which they were sealed (RFC 9180 §5.1.1, `SetupBaseR`).
  public struct Receiver: Sendable {
    private var context: Context

    public init(encapsulatedKey: [UInt8], key: OpeningKey, info: [UInt8]) throws(HPKEError) {
      guard encapsulatedKey.count == HPKE.encapsulatedLength, let shared = X25519.agree(key.bytes, encapsulatedKey)
      else { throw .badKey }
      let secret = HPKE.sharedSecret(shared, context: encapsulatedKey + key.sealingKey.bytes)
      context = Context(secret: secret, info: info)
    }

    /// The next message. After an error the context is of no more use.
    public mutating func open(_ ciphertext: [UInt8], additional: [UInt8] = []) throws(HPKEError) -> [UInt8] {
      let nonce = try context.nextNonce()
      guard let plaintext = ChaChaPoly.open(ciphertext, key: context.key, nonce: nonce, additional: additional) else {
        throw .notAuthentic
      }
      return plaintext
    }
  }

  /// Key, nonce and sequence number of one direction (RFC 9180 §5.2).
  struct Context: Sendable {
    let key: [UInt8]
    let baseNonce: [UInt8]
    private(set) var sequence: UInt64 = 0

    /// RFC 9180 §5.1, `KeySchedule` in base mode: no PSK.
    init(secret shared: [UInt8], info: [UInt8]) {
      let pskIDHash = HPKE.extract(salt: [], "psk_id_hash", [], suite)
      let infoHash = HPKE.extract(salt: [], "info_hash", info, suite)
      let schedule = [0x00] + pskIDHash + infoHash
      let secret = HPKE.extract(salt: shared, "secret", [], suite)
      key = HPKE.expand(secret, "key", schedule, 32, suite)
      baseNonce = HPKE.expand(secret, "base_nonce", schedule, 12, suite)
    }

    mutating func nextNonce() throws(HPKEError) -> [UInt8] {
      guard sequence < UInt64.max else { throw .messageLimit }
      var nonce = baseNonce
      for at in 0..<8 { nonce[11 - at] ^= UInt8(truncatingIfNeeded: sequence >> (8 * UInt64(at))) }
      sequence += 1
      return nonce
    }
  }

  /// RFC 9180 §4.1, `ExtractAndExpand`.
  private static func sharedSecret(_ shared: [UInt8], context: [UInt8]) -> [UInt8] {
    expand(extract(salt: [], "eae_prk", shared, kem), "shared_secret", context, 32, kem)
  }

  /// RFC 9180 §4, `LabeledExtract`.
  static func extract(salt: [UInt8], _ label: String, _ material: [UInt8], _ suite: [UInt8]) -> [UInt8] {
    let labeled = Array("HPKE-v1".utf8) + suite + Array(label.utf8) + material
    // RFC 5869 §2.2: no salt is as many zeros as the hash has bytes.
    let salt = salt.isEmpty ? [UInt8](repeating: 0, count: Digest.length) : salt
    return HMACSHA256.authenticationCode(for: labeled, key: salt)
  }

  /// RFC 9180 §4, `LabeledExpand`; of at most 32 bytes, which is one block of RFC 5869 §2.3.
  static func expand(_ key: [UInt8], _ label: String, _ info: [UInt8], _ length: Int, _ suite: [UInt8]) -> [UInt8] {
    precondition(length <= Digest.length)
    let labeled = [UInt8(length >> 8), UInt8(length & 0xFF)] + Array("HPKE-v1".utf8) + suite + Array(label.utf8) + info
    return Array(HMACSHA256.authenticationCode(for: labeled + [1], key: key).prefix(length))
  }
}

/// Diffie-Hellman on Curve25519 (RFC 7748 §5).
private enum X25519 {
  static let length = 32

  static func publicKey(of bytes: [UInt8]) -> [UInt8]? {
    guard let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nil, bytes, bytes.count) else { return nil }
    defer { EVP_PKEY_free(key) }
    var found = [UInt8](repeating: 0, count: length)
    var count = length
    return EVP_PKEY_get_raw_public_key(key, &found, &count) == 1 ? found : nil
  }

  /// nil for a point of small order: RFC 9180 §7.1.4 "MUST check whether the shared secret is the all-zero value and
  /// abort if so"; OpenSSL's derivation fails then.
  static func agree(_ mine: [UInt8], _ theirs: [UInt8]) -> [UInt8]? {
    defer { ERR_clear_error() }
    guard let key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nil, mine, mine.count) else { return nil }
    defer { EVP_PKEY_free(key) }
    guard let peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nil, theirs, theirs.count) else { return nil }
    defer { EVP_PKEY_free(peer) }
    guard let context = EVP_PKEY_CTX_new(key, nil) else { return nil }
    defer { EVP_PKEY_CTX_free(context) }
    var shared = [UInt8](repeating: 0, count: length)
    var count = length
    guard EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, peer) == 1,
      EVP_PKEY_derive(context, &shared, &count) == 1, count == length, shared.contains(where: { $0 != 0 })
    else { return nil }
    return shared
  }
}

/// AEAD_CHACHA20_POLY1305 (RFC 8439 §2.8).
private enum ChaChaPoly {
  private static let tagLength = 16

  static func seal(_ plaintext: [UInt8], key: [UInt8], nonce: [UInt8], additional: [UInt8]) -> [UInt8] {
    guard let context = EVP_CIPHER_CTX_new() else { preconditionFailure("OpenSSL has no memory for a cipher") }
    defer { EVP_CIPHER_CTX_free(context) }
    var output = [UInt8](repeating: 0, count: plaintext.count + tagLength)
    var tag = [UInt8](repeating: 0, count: tagLength)
    var count: Int32 = 0
    let done =
      EVP_EncryptInit_ex(context, EVP_chacha20_poly1305(), nil, key, nonce) == 1
      && (additional.isEmpty || EVP_EncryptUpdate(context, nil, &count, additional, Int32(additional.count)) == 1)
      && (plaintext.isEmpty || EVP_EncryptUpdate(context, &output, &count, plaintext, Int32(plaintext.count)) == 1)
      && EVP_EncryptFinal_ex(context, nil, &count) == 1
      && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tagLength), &tag) == 1
    precondition(done, "OpenSSL could not encrypt with ChaCha20-Poly1305")
    output.replaceSubrange(plaintext.count..., with: tag)
    return output
  }

  /// nil when the tag does not fit.
  static func open(_ ciphertext: [UInt8], key: [UInt8], nonce: [UInt8], additional: [UInt8]) -> [UInt8]? {
    guard ciphertext.count >= tagLength, let context = EVP_CIPHER_CTX_new() else { return nil }
    defer {
      EVP_CIPHER_CTX_free(context)
      ERR_clear_error()
    }
    let length = ciphertext.count - tagLength
    var tag = Array(ciphertext[length...])
    var output = [UInt8](repeating: 0, count: length)
    var count: Int32 = 0
    guard EVP_DecryptInit_ex(context, EVP_chacha20_poly1305(), nil, key, nonce) == 1,
      additional.isEmpty || EVP_DecryptUpdate(context, nil, &count, additional, Int32(additional.count)) == 1,
      length == 0 || EVP_DecryptUpdate(context, &output, &count, ciphertext, Int32(length)) == 1,
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagLength), &tag) == 1,
      EVP_DecryptFinal_ex(context, nil, &count) == 1
    else { return nil }
    return output
  }
}
