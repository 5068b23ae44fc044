/// A signed payload with its type (DSSE v1, secure-systems-lab/dsse).
public struct DSSEEnvelope: Codable, Sendable, Hashable {
  public struct Signature: Codable, Sendable, Hashable {
    /// A hint which key it is; says nothing by itself.
    public let keyid: String
    /// Base64.
    public let sig: String
  }

  public let payloadType: String
  /// Base64.
  public let payload: String
  public let signatures: [Signature]

  public static func sign(payload: [UInt8], type: String, key: SigningKey, keyID: String) -> DSSEEnvelope {
    let signature = key.sign(preAuthenticationEncoding(type: type, payload: payload))
    return DSSEEnvelope(
      payloadType: type, payload: Base64.encode(payload),
      signatures: [Signature(keyid: keyID, sig: Base64.encode(signature))])
  }

  /// The payload when a signature is this key's; nil otherwise. The caller compares `payloadType` with what it expects.
  public func verifiedPayload(key: VerifyingKey) -> [UInt8]? {
    guard let bytes = Self.decode(payload) else { return nil }
    let message = Self.preAuthenticationEncoding(type: payloadType, payload: bytes)
    let valid = signatures.contains { signature in
      Self.decode(signature.sig).map { key.isValid($0, for: message) } ?? false
    }
    return valid ? bytes : nil
  }

  /// `"DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload`: what is signed.
  public static func preAuthenticationEncoding(type: String, payload: [UInt8]) -> [UInt8] {
    Array("DSSEv1 \(type.utf8.count) \(type) \(payload.count) ".utf8) + payload
  }

  /// Either alphabet of base64, as the protocol asks of readers.
  private static func decode(_ text: String) -> [UInt8]? { Base64.decode(text) ?? Base64.decodeURL(text) }
}
