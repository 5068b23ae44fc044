import Fleet
import FoundationEssentials
import Storage
import Trust

/// The fleet that this box belongs to. It is saved in one step, after all else that enrolment does.
public struct Enrolment: Codable, Hashable, Sendable {
  /// The hub's address, `https://host:port` without a slash at its end.
  public var hub: String
  /// The hub's TLS key, `sha256//BASE64`.
  public var pin: String
  /// The digest of the root that the box began to trust with.
  public var root: Digest
  public var deviceID: DeviceID
  /// The key that the hub cosigns audit heads with.
  public var witness: String
  /// The hub's X25519 key that bundles for it are sealed to, 64 hexadecimal digits; nil until the hub has told it.
  public var sealTo: String?
  /// Unix seconds by the box's clock.
  public var enrolledAt: Int64

  public var witnessVerifier: NoteVerifier? { try? NoteVerifier(vkey: witness) }

  /// Where it is kept in the state directory.
  static func path(in directory: String) -> String { directory + "/enrolment.json" }

  /// nil when the box belongs to no fleet. Throws `StorageError.damaged` for a file that can't be read.
  static func load(from directory: String) throws -> Enrolment? {
    let path = path(in: directory)
    guard let bytes = try DurableFile.read(path, limit: 64 << 10) else { return nil }
    guard let enrolment = try? JSONDecoder().decode(Enrolment.self, from: Data(bytes)) else {
      throw StorageError.damaged(path: path, reason: "it is no enrolment; remove it and enrol again")
    }
    return enrolment
  }

  func save(in directory: String) throws {
    try DurableFile.replace(Enrolment.path(in: directory), with: try JSONValue(encoding: self).encodedPretty())
  }
}
