/// A Sigstore bundle v0.3 with a DSSE envelope: the file that holds a model's signature (OpenSSF Model Signing 1.0, §4).
public struct SigstoreBundle: Hashable, Sendable {
  /// How the signer's key is to be found (§4.1).
  public enum Material: Hashable, Sendable {
    /// A key that the verifier knows already. `hint` is its fingerprint; older signers wrote none.
    case publicKey(hint: String?)
    /// The signing certificate, then those that help to reach a root.
    case certificates([Certificate])
  }

  public static let mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
  /// The largest bundle that is read, in bytes.
  public static let limit = 64 << 20

  public let material: Material
  public let payload: [UInt8]
  public let signature: [UInt8]

  public init(material: Material, payload: [UInt8], signature: [UInt8]) {
    self.material = material
    self.payload = payload
    self.signature = signature
  }

  /// What the signature is over.
  public var signedMessage: [UInt8] {
    DSSEEnvelope.preAuthenticationEncoding(type: ModelFileManifest.payloadType, payload: payload)
  }

  /// Reads a bundle; says nothing yet about its signature. Throws `ModelSignatureError`.
  public init(parsing bytes: [UInt8]) throws(ModelSignatureError) {
    guard bytes.count <= Self.limit else { throw .malformedBundle("it is larger than \(Self.limit) bytes") }
    let value: JSONValue
    do { value = try JSONValue(parsing: bytes) } catch { throw .malformedBundle(error.description) }
    do {
      try self.init(JSONField(value))
    } catch let error as ModelSignatureError {
      throw error
    } catch let error as JSONFieldError {
      throw .malformedBundle(error.description)
    } catch let error as CertificateError {
      throw .certificate(error)
    } catch {
      throw .malformedBundle("\(error)")
    }
  }

  private init(_ document: JSONField) throws {
    let members = try document.members(["mediaType", "verificationMaterial", "dsseEnvelope"])
    guard let mediaType = members["mediaType"], let material = members["verificationMaterial"],
      let envelope = members["dsseEnvelope"]
    else {
      throw document.wrong("a part is missing", allowed: "mediaType, verificationMaterial and dsseEnvelope")
    }
    let type = try mediaType.string()
    guard type == Self.mediaType else {
      throw ModelSignatureError.unsupported("its media type is “\(type)”; Skerry reads \(Self.mediaType)")
    }
    self.material = try Self.material(material)
    (payload, signature) = try Self.envelope(envelope)
  }

  private static func material(_ field: JSONField) throws -> Material {
    let members = try field.members([
      "publicKey", "x509CertificateChain", "certificate", "tlogEntries", "timestampVerificationData",
    ])
    let given = ["publicKey", "x509CertificateChain", "certificate"].filter { members[$0] != nil }
    guard given.count == 1 else {
      throw field.wrong("it has \(given.count) kinds of key", allowed: "one of publicKey and x509CertificateChain")
    }
    if let key = members["publicKey"] {
      let hint = try key.object()["hint"]
      return .publicKey(hint: try hint.flatMap { $0.isNull ? nil : try $0.string() })
    }
    guard let chain = members["x509CertificateChain"] else {
      throw ModelSignatureError.unsupported(
        "the bundle is signed without a key of its own (Sigstore's transparency log); Skerry verifies keys and "
          + "certificates, which need no network")
    }
    let certificates = try chain.object()["certificates"]?.array(of: "certificates") ?? []
    guard !certificates.isEmpty else { throw chain.wrong("there is no certificate", allowed: "at least one") }
    guard certificates.count <= Certificate.most else { throw CertificateError.tooMany(limit: Certificate.most) }
    return .certificates(
      try certificates.map { certificate in
        guard let raw = try certificate.object()["rawBytes"] else {
          throw certificate.wrong("it has no rawBytes", allowed: "base64")
        }
        return try Certificate(der: bytes(raw))
      })
  }

  /// Payload and the one signature of the envelope (DSSE v1; unknown members are ignored there).
  private static func envelope(_ field: JSONField) throws -> (payload: [UInt8], signature: [UInt8]) {
    let members = try field.object()
    guard let payload = members["payload"], let type = members["payloadType"], let list = members["signatures"] else {
      throw field.wrong("a part is missing", allowed: "payload, payloadType and signatures")
    }
    let found = try type.string()
    guard found == ModelFileManifest.payloadType else {
      throw ModelSignatureError.unsupported("it signs “\(found)”, and a model's is \(ModelFileManifest.payloadType)")
    }
    let signatures = try list.array(of: "signatures")
    guard let signature = signatures.first, signatures.count == 1 else {
      throw list.wrong("there are \(signatures.count) signatures", allowed: "exactly one")
    }
    let parts = try signature.object()
    guard let sig = parts["sig"] else { throw signature.wrong("it has no sig", allowed: "base64") }
    if let keyid = parts["keyid"], !keyid.isNull { _ = try keyid.string() }
    return (try bytes(payload), try bytes(sig))
  }

  /// Either alphabet of base64, as protobuf's JSON allows.
  private static func bytes(_ field: JSONField) throws -> [UInt8] {
    let text = try field.string()
    guard let bytes = Base64.decode(text) ?? Base64.decodeURL(text), !bytes.isEmpty else {
      throw field.wrong("it is no base64", allowed: "base64 of at least one byte")
    }
    return bytes
  }

  /// The file's bytes.
  public var encoded: [UInt8] {
    let material: JSONValue =
      switch self.material {
      case .publicKey(let hint): ["publicKey": hint.map { ["hint": .string($0)] } ?? [:], "tlogEntries": []]
      case .certificates(let chain):
        [
          "x509CertificateChain": [
            "certificates": .array(chain.map { ["rawBytes": .string(Base64.encode($0.der))] })
          ], "tlogEntries": [],
        ]
      }
    let value: JSONValue = [
      "mediaType": .string(Self.mediaType), "verificationMaterial": material,
      "dsseEnvelope": [
        "payload": .string(Base64.encode(payload)), "payloadType": .string(ModelFileManifest.payloadType),
        "signatures": [["sig": .string(Base64.encode(signature)), "keyid": ""]],
      ],
    ]
    return value.encoded()
  }
}
