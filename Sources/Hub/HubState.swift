import Fleet
import Storage
import Trust

/// A hub's directory: its configuration, keys and database, opened. What `serve` and the command-line verbs share.
public struct HubState: Sendable {
  public let directory: String
  public let configuration: HubConfiguration
  public let tlsKeyPEM: String
  public let tlsCertificatePEM: String
  /// `sha256//…` of the TLS key.
  public let pin: String
  /// Signs snapshot and timestamp metadata where the root delegates to it.
  public let onlineKey: SigningKey
  public let witness: WitnessIdentity
  /// Opens what boxes seal to this hub in bundles.
  public let sealKey: OpeningKey
  public let store: HubStore

  public var repositoryDirectory: String { directory + "/repo" }

  /// What `init` made, to print once.
  public struct Created: Sendable {
    public let url: String
    public let pin: String
    public let onlineKey: String
    public let adminToken: String
    public let adminTokenFile: String
  }

  /// Makes a new hub's directory: keys (0600), database, an admin token, and the configuration last, so that an
  /// interrupted attempt can be repeated. Throws `HubSetupError.alreadyAHub` and `StorageError`.
  public static func create(directory: String, configuration: HubConfiguration, now: Int64) async throws -> Created {
    let configurationPath = directory + "/hub.json5"
    guard !DurableFile.exists(configurationPath) else { throw HubSetupError.alreadyAHub(directory) }
    try DurableFile.makeDirectory(directory + "/keys", mode: 0o700)
    for name in ["metadata", "staged", "chunks", "indexes", "targets", "verified"] {
      try DurableFile.makeDirectory(directory + "/repo/" + name, mode: 0o700)
    }
    let identity = try TLSIdentity.selfSigned(commonName: "skerry-hub", addresses: configuration.addresses)
    let online = SigningKey.generate()
    try DurableFile.replace(directory + "/keys/tls.key", with: Array(identity.keyPEM.utf8))
    try DurableFile.replace(directory + "/keys/tls.crt", with: Array(identity.certificatePEM.utf8))
    try DurableFile.replace(directory + "/keys/online.key", with: online.pem())
    try DurableFile.replace(directory + "/keys/witness.key", with: SigningKey.generate().pem())
    try DurableFile.replace(directory + "/keys/seal.key", with: OpeningKey.generate().pem())
    let store = try HubStore(path: directory + "/hub.sqlite")
    defer { store.close() }
    let token = newAdminToken()
    try await store.setAdminToken(token, name: "first", now: now)
    try DurableFile.replace(directory + "/admin.token", with: Array((token + "\n").utf8))
    try DurableFile.replace(configurationPath, with: Array(configuration.json5.utf8))
    return Created(
      url: configuration.url, pin: identity.pin, onlineKey: online.verifyingKey.hex, adminToken: token,
      adminTokenFile: directory + "/admin.token")
  }

  /// Opens a hub's directory. Throws `HubSetupError` and `StorageError`.
  public init(directory: String) throws {
    let configurationPath = directory + "/hub.json5"
    guard let bytes = try DurableFile.read(configurationPath, limit: 1 << 16) else {
      throw HubSetupError.notAHub(directory)
    }
    self.directory = directory
    configuration = try HubConfiguration(parsing: bytes, path: configurationPath)
    tlsKeyPEM = String(decoding: try HubState.file(directory + "/keys/tls.key"), as: UTF8.self)
    tlsCertificatePEM = String(decoding: try HubState.file(directory + "/keys/tls.crt"), as: UTF8.self)
    guard let pin = TLSIdentity.pin(ofCertificatePEM: tlsCertificatePEM) else {
      throw HubSetupError.badKey(path: directory + "/keys/tls.crt", reason: "it is no certificate in PEM")
    }
    self.pin = pin
    onlineKey = try HubState.key(directory + "/keys/online.key")
    witness = WitnessIdentity(key: try HubState.key(directory + "/keys/witness.key"))
    sealKey = try HubState.sealKey(directory + "/keys/seal.key")
    store = try HubStore(path: directory + "/hub.sqlite")
  }

  /// A hub of before there were bundles makes its key now; boxes hear of it in their first bundle.
  private static func sealKey(_ path: String) throws -> OpeningKey {
    guard let bytes = try DurableFile.read(path, limit: 1 << 16) else {
      let key = OpeningKey.generate()
      try DurableFile.replace(path, with: key.pem())
      return key
    }
    do { return try OpeningKey(pem: bytes) } catch {
      throw HubSetupError.badKey(path: path, reason: "it is no X25519 private key in PEM")
    }
  }

  /// A new enrolment token. Throws `HubError` (not_published) while there is no root for boxes to trust.
  public func makeEnrollmentToken(lifetime: Int64, now: Int64) async throws -> EnrollmentToken {
    guard let root = try DurableFile.read(repositoryDirectory + "/metadata/1.root.json") else {
      throw HubError(
        .notPublished, "the hub has no repository yet, so a box would have nothing to trust",
        hint: "publish one first: skerry repo publish DIR --hub \(configuration.url) …")
    }
    let secret = Base64.encodeURL(SecureRandom.bytes(32))
    let expires = now + lifetime
    try await store.addEnrollmentToken(secret: secret, expires: expires, now: now)
    return EnrollmentToken(hub: configuration.url, pin: pin, root: Digest(of: root), secret: secret, expires: expires)
  }

  private static func file(_ path: String) throws -> [UInt8] {
    guard let bytes = try DurableFile.read(path, limit: 1 << 16) else {
      throw HubSetupError.badKey(path: path, reason: "the file is missing; restore it from a backup")
    }
    return bytes
  }

  private static func key(_ path: String) throws -> SigningKey {
    let bytes = try file(path)
    do { return try SigningKey(pem: bytes) } catch {
      throw HubSetupError.badKey(path: path, reason: error.description)
    }
  }
}
