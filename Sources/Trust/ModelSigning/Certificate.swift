internal import COpenSSL
import FoundationEssentials

/// What can be wrong with a certificate or its chain. Names are subjects as people read them.
public enum CertificateError: Error, Hashable, CustomStringConvertible {
  case notACertificate
  case tooMany(limit: Int)
  case expired(name: String, since: Date)
  case notYetValid(name: String, from: Date)
  case untrusted(name: String)
  case notForSigning(name: String, reason: String)
  case otherKey(name: String)
  case notInChain(name: String)
  case invalid(name: String, reason: String)

  public var description: String {
    switch self {
    case .notACertificate: "this is no X.509 certificate"
    case .tooMany(let limit): "more than \(limit) certificates are in one place"
    case .expired(let name, let since): "the certificate of “\(name)” has expired on \(TUFTime.format(since))"
    case .notYetValid(let name, let from):
      "the certificate of “\(name)” is valid from \(TUFTime.format(from)) only; is the clock right?"
    case .untrusted(let name): "the certificate of “\(name)” leads to none of the given root certificates"
    case .notForSigning(let name, let reason): "the certificate of “\(name)” is not for signing: \(reason)"
    case .otherKey(let name): "the certificate of “\(name)” belongs to another private key"
    case .notInChain(let name): "the certificate of “\(name)” is no part of the signing certificate's chain"
    case .invalid(let name, let reason): "the certificate of “\(name)” is not accepted: \(reason)"
    }
  }
}

/// An X.509 certificate (RFC 5280), with what Skerry asks of it read out.
public struct Certificate: Hashable, Sendable {
  public let der: [UInt8]
  /// The subject's common name, or the whole subject when it has none.
  public let name: String
  /// The subject in RFC 4514's form.
  public let subject: String
  /// E-mail addresses, host names and URIs among the alternative names.
  public let alternativeNames: [String]
  public let validFrom: Date
  public let validUntil: Date
  /// Nil when the key is no elliptic-curve key on P-256, P-384 or P-521.
  public let publicKey: ECPublicKey?
  /// Why it may not sign data; nil when it may. KeyUsage must name digitalSignature, or, where there is none,
  /// ExtendedKeyUsage codeSigning; and an ExtendedKeyUsage that allows other purposes only rules signing out.
  public let refusalToSign: String?

  /// Most certificates that a file or a bundle may hold.
  public static let most = 32

  /// Throws `CertificateError.notACertificate` for anything but one whole certificate.
  public init(der: [UInt8]) throws(CertificateError) {
    guard let certificate = Certificate.open(der) else { throw .notACertificate }
    defer { X509_free(certificate) }
    try self.init(certificate, der: der)
  }

  /// All certificates of a PEM file, in its order. Throws when there is none, or one is unreadable.
  public static func all(pem: [UInt8]) throws(CertificateError) -> [Certificate] {
    defer { ERR_clear_error() }
    guard let bio = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else { throw .notACertificate }
    defer { BIO_free(bio) }
    var found: [Certificate] = []
    while let certificate = PEM_read_bio_X509(bio, nil, nil, nil) {
      defer { X509_free(certificate) }
      guard found.count < most else { throw .tooMany(limit: most) }
      var start: UnsafeMutablePointer<UInt8>?
      let length = i2d_X509(certificate, &start)
      guard length > 0, let start else { throw .notACertificate }
      defer { CRYPTO_free(start, nil, 0) }
      found.append(
        try Certificate(certificate, der: Array(UnsafeBufferPointer(start: start, count: Int(length)))))
    }
    // The file's end is the one reason to stop that is none to complain of.
    let last = ERR_peek_last_error()
    let isEnd = skerry_error_reason(last) == PEM_R_NO_START_LINE
    guard !found.isEmpty, isEnd else { throw .notACertificate }
    return found
  }

  public var pem: String { Certificate.pemText(der, "CERTIFICATE") }

  /// 64 characters a line (RFC 7468).
  static func pemText(_ der: [UInt8], _ label: String) -> String {
    let body = Array(Base64.encode(der).utf8)
    let lines = stride(from: 0, to: body.count, by: 64).map { start in
      String(decoding: body[start..<min(start + 64, body.count)], as: UTF8.self) + "\n"
    }
    return "-----BEGIN \(label)-----\n\(lines.joined())-----END \(label)-----\n"
  }

  /// The SHA-256 of the certificate.
  public var fingerprint: Digest { Digest(of: der) }

  /// Whether it names this person or place: its common name or one of its alternative names, to the letter.
  public func names(_ identity: String) -> Bool {
    ([name] + alternativeNames).contains { Array($0.utf8) == Array(identity.utf8) }
  }

  /// Whether the other certificate has signed this one.
  public func isIssued(by other: Certificate) -> Bool {
    defer { ERR_clear_error() }
    guard let own = Certificate.open(der) else { return false }
    defer { X509_free(own) }
    guard let issuer = Certificate.open(other.der) else { return false }
    defer { X509_free(issuer) }
    return X509_check_issued(issuer, own) == X509_V_OK && X509_verify(own, X509_get0_pubkey(issuer)) == 1
  }

  static func open(_ der: [UInt8]) -> OpaquePointer? {
    defer { ERR_clear_error() }
    return der.withUnsafeBufferPointer { buffer in
      var cursor = buffer.baseAddress
      let certificate = d2i_X509(nil, &cursor, buffer.count)
      guard let certificate else { return nil }
      guard let start = buffer.baseAddress, let cursor, cursor - start == buffer.count else {
        X509_free(certificate)
        return nil
      }
      return certificate
    }
  }

  private init(_ certificate: OpaquePointer, der: [UInt8]) throws(CertificateError) {
    defer { ERR_clear_error() }
    guard let from = Certificate.date(X509_get0_notBefore(certificate)),
      let until = Certificate.date(X509_get0_notAfter(certificate)),
      let subject = Certificate.text(of: X509_get_subject_name(certificate))
    else { throw .notACertificate }
    self.der = der
    self.subject = subject
    name = Certificate.commonName(X509_get_subject_name(certificate)) ?? subject
    validFrom = from
    validUntil = until
    publicKey = X509_get0_pubkey(certificate).flatMap { ECPublicKey($0) }
    refusalToSign = Certificate.refusal(certificate)
    var names: [String] = []
    var at: Int32 = 0
    while at < 64 {
      var start: UnsafeMutablePointer<UInt8>?
      let length = skerry_alternative_name(certificate, at, &start)
      if length < 0 { break }
      if let start {
        names.append(String(decoding: UnsafeBufferPointer(start: start, count: Int(length)), as: UTF8.self))
        CRYPTO_free(start, nil, 0)
      }
      at += 1
    }
    alternativeNames = names
  }

  private static func refusal(_ certificate: OpaquePointer) -> String? {
    let flags = X509_get_extension_flags(certificate)
    let hasUsage = flags & UInt32(EXFLAG_KUSAGE) != 0
    let hasPurposes = flags & UInt32(EXFLAG_XKUSAGE) != 0
    guard flags & UInt32(EXFLAG_INVALID) == 0 else { return "its extensions are malformed" }
    if hasUsage, X509_get_key_usage(certificate) & UInt32(KU_DIGITAL_SIGNATURE) == 0 {
      return "its KeyUsage does not name digitalSignature"
    }
    if hasPurposes {
      let allowed = UInt32(XKU_CODE_SIGN | XKU_ANYEKU)
      guard X509_get_extended_key_usage(certificate) & allowed != 0 else {
        return "its ExtendedKeyUsage does not name codeSigning"
      }
    }
    return hasUsage || hasPurposes ? nil : "it has neither KeyUsage nor ExtendedKeyUsage"
  }

  private static func date(_ time: UnsafePointer<ASN1_TIME>?) -> Date? {
    guard let epoch = ASN1_TIME_set(nil, 0) else { return nil }
    defer { ASN1_TIME_free(epoch) }
    var days: Int32 = 0
    var seconds: Int32 = 0
    guard let time, ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return nil }
    return Date(timeIntervalSince1970: Double(days) * 86_400 + Double(seconds))
  }

  private static func text(of name: OpaquePointer?) -> String? {
    guard let name, let bio = BIO_new(BIO_s_mem()) else { return nil }
    defer { BIO_free(bio) }
    guard skerry_print_name(bio, name) >= 0 else { return nil }
    var start: UnsafeMutablePointer<CChar>?
    let length = skerry_bio_data(bio, &start)
    guard let start, length > 0 else { return "" }
    return String(decoding: UnsafeRawBufferPointer(start: start, count: length), as: UTF8.self)
  }

  private static func commonName(_ name: OpaquePointer?) -> String? {
    let at = X509_NAME_get_index_by_NID(name, NID_commonName, -1)
    guard at >= 0, let entry = X509_NAME_get_entry(name, at), let value = X509_NAME_ENTRY_get_data(entry) else {
      return nil
    }
    var start: UnsafeMutablePointer<UInt8>?
    let length = ASN1_STRING_to_UTF8(&start, value)
    guard length > 0, let start else { return nil }
    defer { CRYPTO_free(start, nil, 0) }
    return String(decoding: UnsafeBufferPointer(start: start, count: Int(length)), as: UTF8.self)
  }
}
