internal import COpenSSL

/// Why a TLS identity can't be made.
public enum TLSIdentityError: Error, Hashable, CustomStringConvertible {
  case invalidAddress(String)
  case invalidCommonName
  case openSSL(String)

  public var description: String {
    switch self {
    case .invalidAddress(let text):
      "\(text.debugDescription) is neither an IP address nor a host name; give it without scheme and port"
    case .invalidCommonName: "a certificate's name has 1 to 64 bytes"
    case .openSSL(let step): "OpenSSL could not \(step)"
    }
  }
}

/// A server's private key with its self-signed certificate. Clients know it by its pin, the digest of its public key
/// (RFC 7469 §2.4), and not by an authority or the time: the clocks of boxes are often wrong.
public struct TLSIdentity: Sendable {
  /// PKCS #8.
  public let keyPEM: String
  public let certificatePEM: String
  /// `sha256//` and the base64 of the SHA-256 of the SubjectPublicKeyInfo: curl's notation.
  public let pin: String

  /// A new P-256 key, and a certificate for these IP addresses and host names. It is valid from 2020 to the end of
  /// 9999 ("no well-defined expiration", RFC 5280 §4.1.2.5).
  public static func selfSigned(commonName: String, addresses: [String]) throws(TLSIdentityError) -> TLSIdentity {
    guard let key = skerry_ec_p256_generate() else { throw .openSSL("generate a P-256 key") }
    defer { EVP_PKEY_free(key) }
    return try certified(key, EVP_sha256(), commonName, addresses)
  }

  /// The same for an Ed25519 key that is there already (RFC 8410), so that whoever knows its public half knows the pin:
  /// `pin(of:)`.
  public static func selfSigned(
    key: SigningKey, commonName: String, addresses: [String] = []
  ) throws(TLSIdentityError) -> TLSIdentity {
    guard let pair = key.keyPair() else { throw .openSSL("read an Ed25519 key") }
    defer { EVP_PKEY_free(pair) }
    // Ed25519 digests by itself (RFC 8032 §5.1.6).
    return try certified(pair, nil, commonName, addresses)
  }

  private static func certified(
    _ key: OpaquePointer, _ digest: OpaquePointer?, _ commonName: String, _ addresses: [String]
  ) throws(TLSIdentityError) -> TLSIdentity {
    guard (1...64).contains(commonName.utf8.count) else { throw .invalidCommonName }
    let names = try alternativeNames(addresses)
    guard let certificate = X509_new() else { throw .openSSL("make a certificate") }
    defer { X509_free(certificate) }

    var serial = SecureRandom.bytes(16)
    serial[0] = serial[0] & 0x7F | 0x40
    guard let number = BN_bin2bn(serial, Int32(serial.count), nil) else { throw .openSSL("make a serial number") }
    defer { BN_free(number) }
    guard X509_set_version(certificate, 2) == 1,
      BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil,
      ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), "20200101000000Z") == 1,
      ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), "99991231235959Z") == 1,
      X509_set_pubkey(certificate, key) == 1,
      let subject = X509_get_subject_name(certificate),
      X509_NAME_add_entry_by_txt(
        subject, "CN", Int32(MBSTRING_FLAG), Array(commonName.utf8), Int32(commonName.utf8.count), -1, 0) == 1,
      X509_set_issuer_name(certificate, subject) == 1
    else { throw .openSSL("fill in a certificate") }
    try add(NID_basic_constraints, "critical,CA:FALSE", to: certificate)
    try add(NID_key_usage, "critical,digitalSignature", to: certificate)
    try add(NID_ext_key_usage, "serverAuth", to: certificate)
    if !names.isEmpty { try add(NID_subject_alt_name, names, to: certificate) }
    guard X509_sign(certificate, key, digest) > 0 else { throw .openSSL("sign a certificate") }

    guard let keyPEM = pem({ PEM_write_bio_PKCS8PrivateKey($0, key, nil, nil, 0, nil, nil) }),
      let certificatePEM = pem({ PEM_write_bio_X509($0, certificate) }),
      let pin = pin(of: certificate)
    else { throw .openSSL("write a key and its certificate") }
    return TLSIdentity(keyPEM: keyPEM, certificatePEM: certificatePEM, pin: pin)
  }

  /// The pin of a server that shows this key: the digest of its SubjectPublicKeyInfo, which for Ed25519 is twelve fixed
  /// bytes and the key (RFC 8410 §4).
  public static func pin(of key: VerifyingKey) -> String {
    let prefix: [UInt8] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00]
    return "sha256//" + Base64.encode(Digest(of: prefix + key.bytes).bytes)
  }

  /// The pin of the first certificate in this PEM; nil when there is none.
  public static func pin(ofCertificatePEM text: String) -> String? {
    let bytes = Array(text.utf8)
    guard let bio = BIO_new_mem_buf(bytes, Int32(bytes.count)) else { return nil }
    defer { BIO_free(bio) }
    guard let certificate = PEM_read_bio_X509(bio, nil, nil, nil) else {
      ERR_clear_error()
      return nil
    }
    defer { X509_free(certificate) }
    return pin(of: certificate)
  }

  private static func pin(of certificate: OpaquePointer) -> String? {
    var start: UnsafeMutablePointer<UInt8>?
    let length = i2d_PUBKEY(X509_get0_pubkey(certificate), &start)
    guard length > 0, let start else { return nil }
    defer { CRYPTO_free(start, nil, 0) }
    return "sha256//" + Base64.encode(Digest(of: UnsafeBufferPointer(start: start, count: Int(length))).bytes)
  }

  /// `IP:…,DNS:…`. Only characters that addresses have get into OpenSSL's little language.
  private static func alternativeNames(_ addresses: [String]) throws(TLSIdentityError) -> String {
    var names: [String] = []
    for address in addresses {
      let bytes = Array(address.utf8)
      let isIPv6 = bytes.contains(0x3A)
      let isHost = bytes.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E: true
        case 0x3A: isIPv6
        default: false
        }
      }
      guard isHost, (1...253).contains(bytes.count), bytes.first != 0x2D else { throw .invalidAddress(address) }
      let isIPv4 = bytes.allSatisfy { $0 == 0x2E || (0x30...0x39).contains($0) }
      names.append((isIPv4 || isIPv6 ? "IP:" : "DNS:") + address)
    }
    return names.joined(separator: ",")
  }

  private static func add(_ kind: Int32, _ value: String, to certificate: OpaquePointer) throws(TLSIdentityError) {
    guard let part = X509V3_EXT_conf_nid(nil, nil, kind, value) else {
      ERR_clear_error()
      throw kind == NID_subject_alt_name ? .invalidAddress(value) : .openSSL("make a certificate's extension")
    }
    defer { X509_EXTENSION_free(part) }
    guard X509_add_ext(certificate, part, -1) == 1 else { throw .openSSL("add a certificate's extension") }
  }

  private static func pem(_ write: (OpaquePointer) -> Int32) -> String? {
    guard let bio = BIO_new(BIO_s_mem()) else { return nil }
    defer { BIO_free(bio) }
    var start: UnsafeMutablePointer<CChar>?
    guard write(bio) == 1 else { return nil }
    let length = skerry_bio_data(bio, &start)
    guard let start, length > 0 else { return nil }
    return String(decoding: UnsafeRawBufferPointer(start: start, count: length), as: UTF8.self)
  }
}
