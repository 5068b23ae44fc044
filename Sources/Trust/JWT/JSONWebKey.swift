internal import COpenSSL

/// The signature algorithms that are taken (RFC 7518 §3.1, RFC 8037 §3.1). There is neither `none` nor one with a shared
/// secret.
public enum JWTAlgorithm: String, Sendable, Hashable, CaseIterable {
  case rs256 = "RS256"
  case ps256 = "PS256"
  case es256 = "ES256"
  case edDSA = "EdDSA"
}

/// A public key as JSON (RFC 7517) that verifies signatures of one algorithm, or of two where it is RSA and does not say.
public struct JSONWebKey: Sendable, Hashable {
  private enum Material: Sendable, Hashable {
    case ed25519(VerifyingKey)
    /// P-256 or RSA, as DER (SubjectPublicKeyInfo).
    case info([UInt8])
  }

  /// `kid`.
  public let id: String?
  /// Those that it may verify: what its type can, and of it what `alg` says.
  public let algorithms: Set<JWTAlgorithm>
  private let material: Material

  public init(ed25519 key: VerifyingKey, id: String?) {
    self.id = id
    algorithms = [.edDSA]
    material = .ed25519(key)
  }

  /// Nil for a key that is of no use here: another type or curve, another `use` or `alg`, too short. Throws `JWTError` for a
  /// private key: that does not belong into a file of public ones.
  init?(_ json: JSONValue) throws(JWTError) {
    guard let kind = json["kty"]?.string else { return nil }
    if kind != "oct", json["d"] != nil { throw .badKeys("there is a private key among them (\"d\")") }
    guard json["use"] == nil || json["use"] == "sig", json["kid"] == nil || json["kid"]?.string != nil,
      json["key_ops"] == nil || json["key_ops"]?.array?.contains("verify") == true
    else { return nil }
    id = json["kid"]?.string
    let able: Set<JWTAlgorithm>
    switch (kind, json["crv"]?.string) {
    case ("OKP", "Ed25519"):
      guard let key = JSONWebKey.bytes(json["x"]).flatMap({ VerifyingKey(bytes: $0) }) else { return nil }
      (material, able) = (.ed25519(key), [.edDSA])
    case ("EC", "P-256"):
      guard let x = JSONWebKey.bytes(json["x"]), let y = JSONWebKey.bytes(json["y"]), x.count == 32, y.count == 32,
        let info = JSONWebKey.usable(DER.p256(x, y))
      else { return nil }
      (material, able) = (.info(info), [.es256])
    case ("RSA", _):
      guard let modulus = JSONWebKey.bytes(json["n"]), let exponent = JSONWebKey.bytes(json["e"]),
        // RFC 7518 §3.3: 2048 bits or more. Longer ones than 8192 bits only cost time.
        (256...1024).contains(modulus.count), (modulus.first ?? 0) > 0, modulus.count > 256 || modulus[0] >= 0x80,
        (1...8).contains(exponent.count), (exponent.last ?? 0) & 1 == 1, exponent.count > 1 || exponent[0] >= 3,
        let info = JSONWebKey.usable(DER.rsa(modulus, exponent))
      else { return nil }
      (material, able) = (.info(info), [.rs256, .ps256])
    default: return nil
    }
    if let said = json["alg"] {
      guard let algorithm = said.string.flatMap(JWTAlgorithm.init(rawValue:)), able.contains(algorithm) else {
        return nil
      }
      algorithms = [algorithm]
    } else {
      algorithms = able
    }
  }

  private static func bytes(_ value: JSONValue?) -> [UInt8]? { value?.string.flatMap(Base64.decodeExactURL) }

  /// The same, if OpenSSL takes it: a point must be on its curve.
  private static func usable(_ info: [UInt8]) -> [UInt8]? {
    defer { ERR_clear_error() }
    guard let key = read(info) else { return nil }
    EVP_PKEY_free(key)
    return info
  }

  private static func read(_ info: [UInt8]) -> OpaquePointer? {
    info.withUnsafeBufferPointer { buffer in
      var cursor = buffer.baseAddress
      return d2i_PUBKEY(nil, &cursor, buffer.count)
    }
  }

  /// True when `signature`, in JWS's form, is this key's over `message` by this algorithm.
  func isValid(_ signature: [UInt8], for message: [UInt8], by algorithm: JWTAlgorithm) -> Bool {
    guard algorithms.contains(algorithm) else { return false }
    switch material {
    case .ed25519(let key): return key.isValid(signature, for: message)
    case .info(let info):
      // RFC 7518 §3.4: both numbers in 32 bytes each.
      if algorithm == .es256, signature.count != 64 { return false }
      let signature =
        algorithm == .es256
        ? DER.sequence([DER.integer(Array(signature[..<32])), DER.integer(Array(signature[32...]))]) : signature
      return JSONWebKey.verify(signature, message, info, isPSS: algorithm == .ps256)
    }
  }

  private static func verify(_ signature: [UInt8], _ message: [UInt8], _ info: [UInt8], isPSS: Bool) -> Bool {
    defer { ERR_clear_error() }
    guard let key = read(info) else { return false }
    defer { EVP_PKEY_free(key) }
    guard let context = EVP_MD_CTX_new() else { return false }
    defer { EVP_MD_CTX_free(context) }
    var parameters: OpaquePointer?
    guard EVP_DigestVerifyInit(context, &parameters, EVP_sha256(), nil, key) == 1 else { return false }
    if isPSS {
      // RFC 7518 §3.5: the salt is as long as the hash.
      guard EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1,
        EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1
      else { return false }
    }
    return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
  }
}

/// The keys of one issuer (RFC 7517 §5). Keys that are of no use here are passed over, as the section asks for.
public struct JSONWebKeySet: Sendable, Hashable {
  public let keys: [JSONWebKey]

  public init(_ keys: [JSONWebKey]) { self.keys = keys }

  /// More than any issuer has.
  public static let limit = 1 << 18

  /// Throws `JWTError.badKeys` when it is no set of keys, has none that is of use, one that is private, or two of one name.
  public init(parsing bytes: [UInt8]) throws(JWTError) {
    guard bytes.count <= JSONWebKeySet.limit else {
      throw .badKeys("they are longer than \(JSONWebKeySet.limit) bytes")
    }
    let json: JSONValue
    do { json = try JSONValue(parsing: bytes) } catch { throw .badKeys("\(error)") }
    try self.init(json)
  }

  public init(_ json: JSONValue) throws(JWTError) {
    guard let listed = json["keys"]?.array, listed.count <= 64 else {
      throw .badKeys("a key set is an object with an array \"keys\" of at most 64 keys (RFC 7517 §5)")
    }
    var keys: [JSONWebKey] = []
    for element in listed { if let key = try JSONWebKey(element) { keys.append(key) } }
    guard !keys.isEmpty else {
      throw .badKeys(
        "there is no public signing key for \(JWTAlgorithm.allCases.map(\.rawValue).joined(separator: ", ")) among them"
      )
    }
    let names = keys.compactMap(\.id)
    guard Set(names).count == names.count else { throw .badKeys("two of them have the same kid") }
    self.keys = keys
  }

  /// The one key that a token can mean: the one that it names, or the only one of its algorithm.
  func key(_ id: String?, _ algorithm: JWTAlgorithm) throws(JWTError) -> JSONWebKey {
    if let id {
      guard let key = keys.first(where: { $0.id == id }) else { throw .unknownKey }
      guard key.algorithms.contains(algorithm) else { throw .badAlgorithm }
      return key
    }
    let able = keys.filter { $0.algorithms.contains(algorithm) }
    guard let key = able.first else { throw .badAlgorithm }
    guard able.count == 1 else { throw .unknownKey }
    return key
  }
}

extension Base64 {
  /// Base64url without padding, to the letter: no other text stands for the same bytes (RFC 7515 §2).
  static func decodeExactURL(_ text: some StringProtocol) -> [UInt8]? {
    guard let bytes = decodeURL(text), encodeURL(bytes) == text else { return nil }
    return bytes
  }
}

/// As much of DER (X.690) as public keys and ECDSA signatures are made of.
private enum DER {
  static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
    var length: [UInt8] = []
    if content.count < 0x80 {
      length = [UInt8(content.count)]
    } else {
      var rest = content.count
      while rest > 0 {
        length.insert(UInt8(rest & 0xFF), at: 0)
        rest >>= 8
      }
      length.insert(0x80 | UInt8(length.count), at: 0)
    }
    return [tag] + length + content
  }

  static func sequence(_ elements: [[UInt8]]) -> [UInt8] { element(0x30, elements.flatMap(\.self)) }

  /// A number that is not negative, from its bytes.
  static func integer(_ bytes: [UInt8]) -> [UInt8] {
    let short = Array(bytes.drop { $0 == 0 })
    return element(0x02, (short.first ?? 0x80) >= 0x80 ? [0] + short : short)
  }

  private static func bits(_ bytes: [UInt8]) -> [UInt8] { element(0x03, [0] + bytes) }

  /// RFC 5480 §2: id-ecPublicKey with prime256v1, and the point in full.
  static func p256(_ x: [UInt8], _ y: [UInt8]) -> [UInt8] {
    let algorithm = sequence([
      [0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01],
      [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
    ])
    return sequence([algorithm, bits([0x04] + x + y)])
  }

  /// RFC 3279 §2.3.1: rsaEncryption.
  static func rsa(_ modulus: [UInt8], _ exponent: [UInt8]) -> [UInt8] {
    let algorithm = sequence([
      [0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01], [0x05, 0x00],
    ])
    return sequence([algorithm, bits(sequence([integer(modulus), integer(exponent)]))])
  }
}
