import Fleet
import Storage
import Trust

/// The box's own key. It is made once, is on disk before anybody hears of it, and never leaves the box.
public struct DeviceIdentity: Sendable {
  public let key: SigningKey
  public let id: DeviceID

  /// The name that the audit log's heads are signed with.
  public var auditOrigin: String { id.auditOrigin }
  /// What auditors check the log's heads with.
  public var verifier: NoteVerifier { NoteVerifier(name: auditOrigin, key: key.verifyingKey) }

  public init(key: SigningKey) {
    self.key = key
    id = DeviceID(key: key.verifyingKey)
  }

  /// Reads `device.key` in this folder, or makes it durably when there is none. A file that is no key is an error:
  /// a new key would be a new box. Throws `StorageError`, `KeyError`.
  public static func open(directory: String) throws -> DeviceIdentity {
    try DurableFile.makeDirectory(directory, mode: 0o700)
    let path = directory + "/device.key"
    if let pem = try DurableFile.read(path, limit: 64 << 10) {
      do {
        return DeviceIdentity(key: try SigningKey(pem: pem))
      } catch {
        throw StorageError.damaged(path: path, reason: error.description)
      }
    }
    let key = SigningKey.generate()
    try DurableFile.replace(path, with: try key.pem(), mode: 0o600)
    return DeviceIdentity(key: key)
  }
}
