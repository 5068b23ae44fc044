/// Why a model's signature is not accepted.
public enum ModelSignatureError: Error, Hashable, CustomStringConvertible {
  /// No Sigstore bundle of the form that OpenSSF Model Signing asks for.
  case malformedBundle(String)
  /// The signature holds, but what it signs is no statement about a model.
  case malformedStatement(String)
  /// Well-formed, but not something that Skerry verifies.
  case unsupported(String)
  /// Signed by a key, and a certificate is asked for, or the other way round.
  case wrongMethod(String)
  /// The bundle says that another key signed it.
  case otherKey(found: String, expected: String)
  case badSignature
  case certificate(CertificateError)
  case otherSigner(found: [String], expected: String)

  public var description: String {
    switch self {
    case .malformedBundle(let reason): "this is no signature of a model: \(reason)"
    case .malformedStatement(let reason): "what was signed is no statement about a model: \(reason)"
    case .unsupported(let reason): reason
    case .wrongMethod(let reason): reason
    case .otherKey(let found, let expected):
      "the signature is by the key \(found.prefix(16))…, not by \(expected.prefix(16))…"
    case .badSignature: "the signature does not match what it signs"
    case .certificate(let error): error.description
    case .otherSigner(let found, let expected):
      "the signer's certificate names \(found.map { "“\($0)”" }.joined(separator: ", ")), not “\(expected)”"
    }
  }
}
