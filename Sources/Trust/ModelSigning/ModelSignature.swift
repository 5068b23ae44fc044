import FoundationEssentials

/// Whose signature counts for a model.
public enum ModelTrust: Hashable, Sendable {
  /// This key's alone.
  case key(ECPublicKey)
  /// That of a certificate that leads to one of these roots and, when it is given, names `identity`.
  case certificates(roots: [Certificate], identity: String?)
}

/// Who has signed a model.
public enum ModelSigner: Hashable, Sendable, CustomStringConvertible {
  case key(ECPublicKey)
  case certificate(Certificate)

  /// For people, one line without control characters: a name where there is one, and what can be compared.
  public var description: String {
    switch self {
    case .key(let key): "key \(key.fingerprint.hex.prefix(16)) (\(key.curve.rawValue))"
    case .certificate(let certificate):
      "\(Self.plain(certificate.name)) (certificate \(certificate.fingerprint.hex.prefix(16)))"
    }
  }

  public var json: JSONValue {
    switch self {
    case .key(let key):
      ["method": "key", "curve": .string(key.curve.rawValue), "fingerprint": .string(key.fingerprint.hex)]
    case .certificate(let certificate):
      [
        "method": "certificate", "name": .string(certificate.name), "subject": .string(certificate.subject),
        "alternativeNames": .array(certificate.alternativeNames.map { .string($0) }),
        "fingerprint": .string(certificate.fingerprint.hex),
        "expires": .string(TUFTime.format(certificate.validUntil)),
      ]
    }
  }

  private static func plain(_ text: String) -> String {
    let shown = String(text.prefix(128)).unicodeScalars.map { scalar in
      scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format ? "?" : "\(scalar)"
    }
    return shown.joined()
  }
}

/// A manifest whose signature and signer were verified. Only `verify` makes one.
public struct VerifiedModelManifest: Hashable, Sendable {
  public let manifest: ModelFileManifest
  public let signer: ModelSigner

  /// Verifies a bundle (§8.1 to §8.3): its form, its signer, its one signature, its statement. `now` decides about
  /// certificates. Whether files match is another question: `ModelComparison`. Throws `ModelSignatureError`.
  public static func verify(
    _ bundle: [UInt8], trust: ModelTrust, now: Date
  ) throws(ModelSignatureError) -> VerifiedModelManifest {
    let read = try SigstoreBundle(parsing: bundle)
    let key: ECPublicKey
    let signer: ModelSigner
    switch (trust, read.material) {
    case (.key(let expected), .publicKey(let hint)):
      if let hint, hint != expected.fingerprint.hex {
        throw .otherKey(found: hint, expected: expected.fingerprint.hex)
      }
      (key, signer) = (expected, .key(expected))
    case (.certificates(let roots, let identity), .certificates(let chain)):
      let verified: VerifiedSigningCertificate
      do { verified = try VerifiedSigningCertificate(chain: chain, roots: roots, now: now) } catch {
        throw .certificate(error)
      }
      if let identity, !verified.certificate.names(identity) {
        let names = [verified.certificate.name] + verified.certificate.alternativeNames
        throw .otherSigner(found: names, expected: identity)
      }
      (key, signer) = (verified.publicKey, .certificate(verified.certificate))
    case (.key, .certificates):
      throw .wrongMethod("the model is signed with a certificate, and a public key was given to verify it")
    case (.certificates, .publicKey):
      throw .wrongMethod("the model is signed with a bare key, and root certificates were given to verify it")
    }
    guard key.isValid(read.signature, for: read.signedMessage) else { throw .badSignature }
    return VerifiedModelManifest(manifest: try ModelFileManifest(statement: read.payload), signer: signer)
  }
}

extension ModelFileManifest {
  /// The signed bundle (§6.7, §6.8). With a certificate, its chain goes along, the signer's first. Throws
  /// `CertificateError` when the certificate can't sign now.
  public func signed(
    by key: ECPrivateKey, certificate: Certificate? = nil, chain: [Certificate] = [], now: Date
  ) throws(CertificateError) -> SigstoreBundle {
    let material: SigstoreBundle.Material
    if let certificate {
      material = .certificates(
        try CertificateChain.ordered(signer: certificate, others: chain, key: key.publicKey, now: now))
    } else {
      material = .publicKey(hint: key.publicKey.fingerprint.hex)
    }
    let payload = statement
    let message = DSSEEnvelope.preAuthenticationEncoding(type: Self.payloadType, payload: payload)
    return SigstoreBundle(material: material, payload: payload, signature: key.sign(message))
  }
}
