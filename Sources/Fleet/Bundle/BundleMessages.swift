import Trust

/// What the hub tells one box in a bundle: what it would have answered online.
public struct BundleAnswer: Codable, Hashable, Sendable {
  /// The box is in the fleet: the answer to its request, until it has been online.
  public struct Enrollment: Codable, Hashable, Sendable {
    /// The token's proof that it answers, so that an old answer joins nobody to a fleet that they left.
    public var proof: Digest
    /// The hub's TLS key, `sha256//BASE64`.
    public var pin: String
    public init(proof: Digest, pin: String) {
      self.proof = proof
      self.pin = pin
    }
  }

  public var deviceID: DeviceID
  public var enrollment: Enrollment?
  /// The key that the hub cosigns audit heads with.
  public var witness: String
  /// What boxes seal to: the hub's X25519 key, 64 hexadecimal digits.
  public var sealTo: String
  /// The last head of this box's log with the hub's cosignature.
  public var cosigned: String?
  /// Ids of outbox items that are on the hub's disk.
  public var accepted: [String]
  /// The hub's clock, seconds since 1970.
  public var hubTime: Int64

  public init(
    deviceID: DeviceID, enrollment: Enrollment? = nil, witness: String, sealTo: String, cosigned: String?,
    accepted: [String], hubTime: Int64
  ) {
    self.deviceID = deviceID
    self.enrollment = enrollment
    self.witness = witness
    self.sealTo = sealTo
    self.cosigned = cosigned
    self.accepted = accepted
    self.hubTime = hubTime
  }
}

/// A box without a link asks to join. The token's secret is not on the stick: `proof` shows that the box has it, and is
/// good for this box's key alone.
public struct BundleEnrollment: Codable, Hashable, Sendable {
  /// SHA-256 of the SHA-256 of the secret: which token it is.
  public var token: Digest
  public var proof: Digest
  public var name: String
  public var agentVersion: String

  public init(secret: String, key: VerifyingKey, name: String, agentVersion: String) {
    let digest = Digest(of: Array(secret.utf8))
    token = BundleEnrollment.tokenID(secretDigest: digest)
    proof = BundleEnrollment.proof(secretDigest: digest, key: key)
    self.name = name
    self.agentVersion = agentVersion
  }

  /// The hub keeps the secret's SHA-256 only; this names it without giving it away.
  public static func tokenID(secretDigest: Digest) -> Digest { Digest(of: secretDigest.bytes) }

  /// HMAC-SHA-256 under the secret's digest over the purpose and the box's key.
  public static func proof(secretDigest: Digest, key: VerifyingKey) -> Digest {
    let message = Array("skerry/bundle/enroll/1\n".utf8) + key.bytes
    let code = HMACSHA256.authenticationCode(for: message, key: secretDigest.bytes)
    guard let proof = Digest(bytes: code) else { preconditionFailure("an HMAC-SHA-256 has 32 bytes") }
    return proof
  }
}

/// What a sealed entry is sealed with, besides the key (HPKE's info): it opens for no other box and no other purpose.
public enum BundleSeal {
  public static func info(_ device: DeviceID) -> [UInt8] { Array("skerry/bundle/1 \(device.hex)".utf8) }
}
