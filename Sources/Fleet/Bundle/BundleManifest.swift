import Trust

/// What stands at a bundle's front: who made it, for whom, and what the entries hash to.
public struct BundleManifest: Sendable, Hashable {
  public enum Origin: String, Sendable, Hashable {
    /// The hub, for boxes; signed by its online key.
    case hub
    /// A box, for its hub; signed by the box's key.
    case box
  }

  public var origin: Origin
  /// Rises with each bundle of its maker: by the hub one count for all bundles, by a box its sequence number.
  public var serial: Int64
  /// When it was made, seconds since 1970 by its maker's clock; tells people, decides nothing.
  public var created: Int64
  /// The boxes that it is for, or the one that it is from; sorted.
  public var devices: [DeviceID]
  /// The hub's address.
  public var hub: String
  /// The box's public key, when a box made it.
  public var key: VerifyingKey?
  public var entries: UInt64
  /// Bytes after the manifest.
  public var length: UInt64
  /// SHA-256 over the heads of all entries in order, each of which holds its bytes' digest.
  public var sha256: Digest

  static let version: Int64 = 1

  public init(
    origin: Origin, serial: Int64, created: Int64, devices: [DeviceID], hub: String, key: VerifyingKey? = nil,
    entries: UInt64, length: UInt64, sha256: Digest
  ) {
    self.origin = origin
    self.serial = serial
    self.created = created
    self.devices = Array(Set(devices)).sorted { $0.hex < $1.hex }
    self.hub = hub
    self.key = key
    self.entries = entries
    self.length = length
    self.sha256 = sha256
  }

  public var json: JSONValue {
    var members: [String: JSONValue] = [
      "skerryBundle": .integer(Self.version), "from": .string(origin.rawValue), "serial": .integer(serial),
      "created": .integer(created), "devices": .array(devices.map { .string($0.hex) }), "hub": .string(hub),
      "content": [
        "entries": .integer(Int64(clamping: entries)), "length": .integer(Int64(clamping: length)),
        "sha256": .string(sha256.hex),
      ],
    ]
    if let key { members["key"] = .string(key.hex) }
    return .object(members)
  }

  /// Reads the signed payload: exactly these members, in canonical form.
  public init(parsing payload: [UInt8]) throws(BundleError) {
    guard let value = try? JSONValue(parsing: payload) else { throw .malformed("its manifest is no JSON") }
    guard value["skerryBundle"]?.integer == Self.version else { throw .malformed("its manifest is of another version") }
    guard let origin = value["from"]?.string.flatMap(Origin.init(rawValue:)),
      let serial = value["serial"]?.integer, serial > 0, let created = value["created"]?.integer,
      let ids = value["devices"]?.array, let hub = value["hub"]?.string, hub.utf8.count <= 2048,
      let count = value["content"]?["entries"]?.integer, let length = value["content"]?["length"]?.integer,
      let entries = UInt64(exactly: count), let bytes = UInt64(exactly: length),
      let digest = value["content"]?["sha256"]?.string.flatMap({ Digest(hex: $0) })
    else { throw .malformed("a member of its manifest is missing or wrong") }
    let devices = ids.compactMap { $0.string.flatMap { DeviceID($0) } }
    let key = value["key"]?.string.flatMap { Hex.decode($0) }.flatMap { VerifyingKey(bytes: $0) }
    self.init(
      origin: origin, serial: serial, created: created, devices: devices, hub: hub, key: key, entries: entries,
      length: bytes, sha256: digest)
    // One way of writing it: sorted devices, no other members, no other spelling of a number.
    guard json.encoded() == payload else { throw .malformed("its manifest is not in canonical form") }
    guard entries <= BundleFormat.mostEntries else { throw .tooLarge("the number of entries") }
    guard bytes <= BundleFormat.longestContent else { throw .tooLarge("the bundle's content") }
    switch origin {
    case .hub where key != nil: throw .malformed("a hub's bundle names no box's key")
    case .box where key.map({ [DeviceID(key: $0)] != self.devices }) ?? true:
      throw .malformed("its box is not the one that its key belongs to")
    default: break
    }
  }
}

/// A manifest in its DSSE envelope with exactly one signature, in the one form in which it is written.
public struct SignedBundleManifest: Sendable, Hashable {
  public let manifest: BundleManifest
  /// Which key the signature is said to be of: a TUF key id for a hub's, the device id for a box's.
  public let keyID: String
  private let envelope: DSSEEnvelope

  public init(_ manifest: BundleManifest, key: SigningKey, keyID: String) {
    self.manifest = manifest
    self.keyID = keyID
    envelope = DSSEEnvelope.sign(
      payload: manifest.json.encoded(), type: BundleFormat.payloadType, key: key, keyID: keyID)
  }

  /// Reads the envelope; `isSigned` then says whether it is to be believed.
  public init(parsing bytes: [UInt8]) throws(BundleError) {
    guard let value = try? JSONValue(parsing: bytes), let envelope = try? value.decoded(as: DSSEEnvelope.self) else {
      throw .malformed("its manifest is in no DSSE envelope")
    }
    guard envelope.payloadType == BundleFormat.payloadType, envelope.signatures.count == 1,
      let payload = Base64.decode(envelope.payload), let signature = Base64.decode(envelope.signatures[0].sig)
    else { throw .malformed("its envelope is not a bundle's") }
    manifest = try BundleManifest(parsing: payload)
    keyID = envelope.signatures[0].keyid
    self.envelope = envelope
    // Base64 with stray bits, white space and further members would be other bytes with the same meaning.
    guard encoded == bytes, Base64.encode(payload) == envelope.payload,
      Base64.encode(signature) == envelope.signatures[0].sig
    else { throw .malformed("its envelope is not in canonical form") }
  }

  /// The envelope's bytes.
  public var encoded: [UInt8] {
    let signatures = envelope.signatures.map { signature -> JSONValue in
      ["keyid": .string(signature.keyid), "sig": .string(signature.sig)]
    }
    return JSONValue.object([
      "payload": .string(envelope.payload), "payloadType": .string(envelope.payloadType),
      "signatures": .array(signatures),
    ]).encoded()
  }

  public func isSigned(by key: VerifyingKey, keyID expected: String) -> Bool {
    keyID == expected && envelope.verifiedPayload(key: key) != nil
  }

  /// A hub's bundle: whether one of these Ed25519 keys signed it. The key id must be the signer's own.
  public func isSigned(byOneOf keys: [TUFKey]) -> Bool {
    keys.contains { key in
      guard case .ed25519(let verifying)? = key.verifyingKey else { return false }
      return isSigned(by: verifying, keyID: key.keyID)
    }
  }

  /// A box's bundle: whether the box that it names signed it.
  public var isSignedByItsBox: Bool {
    guard manifest.origin == .box, let key = manifest.key else { return false }
    return isSigned(by: key, keyID: DeviceID(key: key).hex)
  }
}
