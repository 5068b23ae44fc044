/// Why a hub's word on the time says nothing to this box.
public enum TimeReplyError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Not of the type, or not of the form, that a reply has.
  case malformed(String)
  /// No key that may state the time here has signed it.
  case unknownKey
  /// It names such a key, and the signature is not that key's.
  case badSignature
  /// Signed for another box or for another question: an old or a foreign answer.
  case replayed(String)

  public var description: String {
    switch self {
    case .malformed(let reason): "the hub's signed time can't be read: \(reason)"
    case .unknownKey: "no key that the trusted root lists for timestamps has signed the hub's time"
    case .badSignature: "the signature on the hub's time is not the key's that it names"
    case .replayed(let reason): "the hub's signed time is no answer to this box's question: \(reason)"
    }
  }
}

/// The hub's signed answer to the question what time it is: a DSSE envelope by its online key over the box's id, the
/// box's nonce and the time. The nonce makes it an answer to this question and no other.
public enum TimeReply {
  public static let payloadType = "application/vnd.skerry.time+json"
  /// The longest nonce that a hub signs, in bytes.
  public static let longestNonce = 64

  /// What a hub sends. `time` is Unix seconds.
  public static func signed(device: String, nonce: String, time: Int64, key: SigningKey) -> DSSEEnvelope {
    let payload: JSONValue = ["device": .string(device), "nonce": .string(nonce), "time": .integer(time)]
    return DSSEEnvelope.sign(
      payload: payload.encoded(), type: payloadType, key: key, keyID: TUFKey(ed25519: key.verifyingKey).keyID)
  }

  /// The statement in a reply to this box's nonce. Throws `TimeReplyError`.
  public static func statement(
    in envelope: DSSEEnvelope, device: String, nonce: String, authorities: [TimeAuthority]
  ) throws(TimeReplyError) -> TimeStatement {
    guard envelope.payloadType == payloadType else { throw .malformed("it is of another type") }
    var payload: [UInt8]?
    var signers: [String] = []
    var isNamed = false
    for key in Set(authorities.flatMap(\.keys)) {
      isNamed = isNamed || envelope.signatures.contains { $0.keyid == key.keyID }
      guard case .ed25519(let verifying)? = key.verifyingKey, let fingerprint = key.fingerprint,
        let bytes = envelope.verifiedPayload(key: verifying)
      else { continue }
      payload = bytes
      signers.append(fingerprint)
    }
    guard let payload, authorities.contains(where: { $0.vouches(for: signers) }) else {
      throw isNamed && signers.isEmpty ? .badSignature : .unknownKey
    }
    guard let value = try? JSONValue(parsing: payload), let members = value.object, members.count == 3,
      let forDevice = members["device"]?.string, let forNonce = members["nonce"]?.string,
      let time = members["time"]?.integer, TimeStatement.possible.contains(time)
    else { throw .malformed("its members are not device, nonce and time") }
    guard forDevice == device else {
      throw .replayed("it was made for the box \(forDevice.prefix(32).debugDescription)")
    }
    guard forNonce == nonce else { throw .replayed("it answers another nonce") }
    return TimeStatement(time: time, source: .reply, keys: signers)
  }
}
