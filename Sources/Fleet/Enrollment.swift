/// A box asks to join: POST /v1/enroll, signed with the key it brings.
public struct EnrollRequest: Codable, Hashable, Sendable {
  /// The token's secret.
  public var secret: String
  /// The box's Ed25519 public key, 64 hexadecimal digits.
  public var publicKey: String
  /// What people call the box.
  public var name: String
  public var agentVersion: String

  public init(secret: String, publicKey: String, name: String, agentVersion: String) {
    self.secret = secret
    self.publicKey = publicKey
    self.name = name
    self.agentVersion = agentVersion
  }
}

/// The hub took the box in.
public struct EnrollResponse: Codable, Hashable, Sendable {
  public var deviceID: DeviceID
  /// 1.root.json in base64. The box checks it against the digest in its token.
  public var root: String
  /// The key the hub cosigns audit heads with, as a signed-note verifier key (`name+hash+base64`, cosignature/v1).
  public var witness: String
  /// The hub's X25519 key that bundles for it are sealed to, 64 hexadecimal digits; an older hub has none.
  public var sealTo: String?
  /// The hub's clock, seconds since 1970.
  public var hubTime: Int64

  public init(deviceID: DeviceID, root: String, witness: String, sealTo: String? = nil, hubTime: Int64) {
    self.deviceID = deviceID
    self.root = root
    self.witness = witness
    self.sealTo = sealTo
    self.hubTime = hubTime
  }
}
