internal import COpenSSL
import FoundationEssentials

/// A signing certificate that was verified at one time against root certificates that the caller trusts.
public struct VerifiedSigningCertificate: Hashable, Sendable {
  public let certificate: Certificate
  public let publicKey: ECPublicKey

  /// Verifies a chain whose first certificate is the signer's; the others help to reach a root, in any order
  /// (RFC 5280 §6, by OpenSSL). Nothing of the chain is trusted for itself. Throws `CertificateError`.
  public init(chain: [Certificate], roots: [Certificate], now: Date) throws(CertificateError) {
    guard let leaf = chain.first else { throw .notACertificate }
    guard chain.count <= Certificate.most, roots.count <= 4_096 else { throw .tooMany(limit: Certificate.most) }
    if let error = CertificateChain.failure(leaf, chain.dropFirst(), roots, now) { throw error }
    try CertificateChain.demandSigner(leaf, now: now)
    guard let key = leaf.publicKey else {
      throw .notForSigning(name: leaf.name, reason: ECKeyError.otherKind.description)
    }
    certificate = leaf
    publicKey = key
  }
}

/// Putting a chain together before signing, and asking OpenSSL about one.
public enum CertificateChain {
  /// The signing certificate, then each certificate's issuer as far as they are given. One that is given twice counts
  /// once. Throws `CertificateError` for a certificate that can't sign now, that is of another key, or that does not
  /// belong to the chain.
  public static func ordered(
    signer: Certificate, others: [Certificate], key: ECPublicKey, now: Date
  ) throws(CertificateError) -> [Certificate] {
    guard signer.publicKey == key else { throw .otherKey(name: signer.name) }
    try demandSigner(signer, now: now)
    var chain = [signer]
    var rest = others.filter { $0 != signer }
    while let last = chain.last, let at = rest.firstIndex(where: { last.isIssued(by: $0) }) {
      let next = rest.remove(at: at)
      rest.removeAll { $0 == next }
      chain.append(next)
    }
    if let stranger = rest.first { throw .notInChain(name: stranger.name) }
    return chain
  }

  static func demandSigner(_ certificate: Certificate, now: Date) throws(CertificateError) {
    guard now >= certificate.validFrom else {
      throw .notYetValid(name: certificate.name, from: certificate.validFrom)
    }
    guard now <= certificate.validUntil else { throw .expired(name: certificate.name, since: certificate.validUntil) }
    if let reason = certificate.refusalToSign { throw .notForSigning(name: certificate.name, reason: reason) }
  }

  /// What OpenSSL has against the chain; nil when it leads to a root.
  static func failure(
    _ leaf: Certificate, _ helpers: ArraySlice<Certificate>, _ roots: [Certificate], _ now: Date
  ) -> CertificateError? {
    defer { ERR_clear_error() }
    let broken = CertificateError.invalid(name: leaf.name, reason: "OpenSSL can't verify it")
    guard let store = X509_STORE_new() else { return broken }
    defer { X509_STORE_free(store) }
    for root in roots {
      guard let opened = Certificate.open(root.der) else { return .notACertificate }
      defer { X509_free(opened) }
      guard X509_STORE_add_cert(store, opened) == 1 else { return broken }
    }
    guard let stack = skerry_certificates_new() else { return broken }
    var opened: [OpaquePointer] = []
    defer {
      skerry_certificates_free(stack)
      for certificate in opened { X509_free(certificate) }
    }
    for helper in helpers {
      guard let certificate = Certificate.open(helper.der) else { return .notACertificate }
      opened.append(certificate)
      guard skerry_certificates_push(stack, certificate) > 0 else { return broken }
    }
    guard let target = Certificate.open(leaf.der) else { return .notACertificate }
    defer { X509_free(target) }
    guard let context = X509_STORE_CTX_new() else { return broken }
    defer { X509_STORE_CTX_free(context) }
    guard X509_STORE_CTX_init(context, store, target, stack) == 1,
      let parameters = X509_STORE_CTX_get0_param(context)
    else { return broken }
    X509_VERIFY_PARAM_set_time(parameters, Int(now.timeIntervalSince1970.rounded(.down)))
    // 112 bits: no SHA-1, no RSA below 2048.
    X509_VERIFY_PARAM_set_auth_level(parameters, 2)
    if X509_verify_cert(context) == 1 { return nil }
    return reason(context, leaf)
  }

  private static func reason(_ context: OpaquePointer, _ leaf: Certificate) -> CertificateError {
    let code = X509_STORE_CTX_get_error(context)
    var culprit = leaf
    if let current = X509_STORE_CTX_get_current_cert(context) {
      var start: UnsafeMutablePointer<UInt8>?
      let length = i2d_X509(current, &start)
      if length > 0, let start {
        let der = Array(UnsafeBufferPointer(start: start, count: Int(length)))
        CRYPTO_free(start, nil, 0)
        culprit = (try? Certificate(der: der)) ?? leaf
      }
    }
    switch code {
    case X509_V_ERR_CERT_HAS_EXPIRED: return .expired(name: culprit.name, since: culprit.validUntil)
    case X509_V_ERR_CERT_NOT_YET_VALID: return .notYetValid(name: culprit.name, from: culprit.validFrom)
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return .untrusted(name: leaf.name)
    default:
      let text = X509_verify_cert_error_string(Int(code)).map { String(cString: $0) } ?? "error \(code)"
      return .invalid(name: culprit.name, reason: text)
    }
  }
}
