import Fleet
import FoundationEssentials
import Glibc
import Models
import Storage
import Synchronization
import Trust
import Web

@testable import Agent

/// A hub that writes sticks, out of a publisher's files.
final class StickHub: Sendable {
  let publisher = Publisher()
  let witness = SigningKey.generate()
  let sealKey = OpeningKey.generate()
  let enrollmentSecret = "s3cret"
  let pin = "sha256//" + Base64.encode([UInt8](repeating: 9, count: 32))

  var witnessVerifier: NoteVerifier {
    NoteVerifier(name: "skerry/witness/test", key: witness.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
  }

  func token() throws -> String {
    EnrollmentToken(
      hub: "https://127.0.0.1:9", pin: pin, root: Digest(of: try publisher.root()), secret: enrollmentSecret,
      expires: 4_000_000_000
    ).encoded
  }

  func answer(
    _ box: BundleBox, accepted: [String] = [], cosigned: SignedNote? = nil, enrolls: Bool = false
  ) throws -> BundleAnswer {
    let digest = Digest(of: Array(enrollmentSecret.utf8))
    let proof = BundleEnrollment.proof(secretDigest: digest, key: box.identity.key.verifyingKey)
    return BundleAnswer(
      deviceID: box.identity.id, enrollment: enrolls ? .init(proof: proof, pin: pin) : nil,
      witness: witnessVerifier.vkey, sealTo: sealKey.sealingKey.hex, cosigned: cosigned?.encoded, accepted: accepted,
      hubTime: 1_800_000_000)
  }

  typealias Part = (kind: BundleKind, name: String, bytes: [UInt8])

  /// All that the box would fetch, and this answer.
  func parts(for box: BundleBox, _ answer: BundleAnswer, policies: String? = nil) throws -> [Part] {
    var parts: [Part] = [(.answer, box.identity.id.hex, try JSONValue(encoding: answer).encoded())]
    for (name, bytes) in try publisher.metadata() {
      parts.append((name.hasSuffix(".root.json") ? .imageRoot : .imageMetadata, name, bytes))
    }
    let (indexes, chunks) = publisher.state.withLock { ($0.indexes, $0.chunks) }
    for (digest, bytes) in indexes { parts.append((.index, digest.hex, bytes)) }
    for (id, bytes) in chunks { parts.append((.chunk, id.hex, bytes)) }
    if let policies { parts.append((.policy, "roles.json5", Array(policies.utf8))) }
    return parts + (try directorParts(box))
  }

  /// What the director says to the box, one version further each time: all that is published.
  private func directorParts(_ box: BundleBox) throws -> [Part] {
    var files = DirectorFiles(publisher, device: box.identity.id, targets: publisher.state.withLock(\.targets))
    files.version = said.withLock { version in
      version += 1
      return version
    }
    return [(.directorRoot, "1.root.json", try directorRoot())]
      + (try files.files()).map { (.directorMetadata, "\(box.identity.id.hex)/\($0.key)", $0.value) }
  }

  private let said = Mutex<Int64>(0)
  private let root = Mutex<[UInt8]?>(nil)

  private func directorRoot() throws -> [UInt8] {
    if let known = root.withLock({ $0 }) { return known }
    let made = try DirectorFiles(publisher, device: DeviceID(key: witness.verifyingKey)).root()
    root.withLock { $0 = made }
    return made
  }

  func bundle(
    _ parts: [Part], for devices: [DeviceID], serial: Int64 = 1, key: SigningKey? = nil
  ) throws -> [UInt8] {
    let key = key ?? publisher.onlineKey
    let content = try SmallBundle.content(parts)
    let manifest = BundleManifest(
      origin: .hub, serial: serial, created: 1_800_000_000, devices: devices, hub: "https://127.0.0.1:9",
      entries: content.entries, length: content.length, sha256: content.sha256)
    let signed = SignedBundleManifest(manifest, key: key, keyID: TUFKey(ed25519: key.verifyingKey).keyID)
    return BundleFormat.head(signed) + content.bytes
  }

  func bundle(for box: BundleBox, serial: Int64 = 1, enrolls: Bool = false) throws -> [UInt8] {
    try bundle(try parts(for: box, try answer(box, enrolls: enrolls)), for: [box.identity.id], serial: serial)
  }
}

/// What of an agent takes sticks, in a folder of its own; no hub is within its reach.
final class BundleBox: Sendable {
  let path: String
  let identity: DeviceIdentity
  let database: Database
  let log: AuditLog
  let registry: ModelRegistry
  let sync: SyncService
  let access: AccessControl
  let bundles: BundleService
  private let http = HTTPClient()

  init(_ path: String, policies: Bool = false) async throws {
    self.path = path
    try DurableFile.makeDirectory(path)
    var configuration = AgentConfiguration()
    configuration.stateDirectory = path
    configuration.bundle.policies = policies
    identity = try DeviceIdentity.open(directory: path + "/keys")
    database = try Database(path: path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let log = try AuditLog(directory: path + "/audit", key: identity.key, origin: identity.auditOrigin)
    let audit: AuditWriter = { kind, actor, fields in
      try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
    }
    self.log = log
    let clock = TrustedClock(path: nil)
    registry = try await ModelRegistry.open(
      database: database, directory: path + "/registry", audit: audit, now: { 1_800_000_000 })
    access = try await AccessControl(
      policyFile: path + "/policies/roles.json5", database: database, audit: audit)
    sync = try await SyncService(
      configuration: SyncService.Configuration(
        stateDirectory: path, name: "stick", agentVersion: "0.1.0", probeSeconds: 3600, intervalSeconds: 3600),
      surroundings: SyncService.Surroundings(
        report: { ["report": "of the box"] }, network: nil, clock: clock),
      identity: identity, database: database, registry: registry, log: log, http: http)
    bundles = try BundleService(
      configuration: configuration, identity: identity, registry: registry, sync: sync, access: access, log: log)
  }

  func close() async {
    await sync.stop()
    await http.close()
    log.close()
    database.close()
  }

  /// As `skerry bundle import` does.
  @discardableResult
  func take(_ bundle: [UInt8], progress: @escaping ProgressHandler = { _ in }) async throws -> BundleOutcome {
    let staged = try await bundles.receive(HTTPBody(bundle), actor: "test")
    return try await bundles.apply(staged, actor: "test", progress: progress)
  }

  func export() async throws -> [UInt8] {
    let pieces = try await bundles.export(actor: "test")
    var bytes: [UInt8] = []
    try await pieces.write { bytes += $0 }
    return bytes
  }

  func records(_ kind: String) throws -> [JSONValue] {
    try log.entries(from: 0, limit: 10_000).filter { $0["kind"]?.string == kind }
  }

  func attacks() throws -> [String] { try records("attack").compactMap { $0["attack"]?.string } }

  /// All that a bundle may change, but for the audit log: the digests of files, and rows of tables.
  func state() async throws -> [String: String] {
    var found: [String: String] = [:]
    for folder in ["registry", "bundle", "policies"] {
      for file in try BundleBox.files(path + "/" + folder) {
        found[String(file.dropFirst(path.count))] =
          Digest(of: try DurableFile.read(file, limit: 1 << 30) ?? []).hex
      }
    }
    for file in ["enrolment.json", "enrolment-pending.json"] {
      guard let bytes = try DurableFile.read("\(path)/\(file)"), var members = try JSONValue(parsing: bytes).object
      else { continue }
      members["enrolledAt"] = nil
      found[file] = String(decoding: JSONValue.object(members).encoded(), as: UTF8.self)
    }
    let rows = try await database.read { connection in
      try [
        "SELECT 'outbox ' || id AS row FROM outbox",
        "SELECT key || ' ' || value AS row FROM sync_state WHERE key LIKE 'bundle%'",
        """
        SELECT name || ' ' || version || ' ' || sha256 || ' ' || path || ' ' || length || ' ' || custom || ' ' || signers
          || ' ' || state || ' ' || retired AS row FROM models
        """,
      ].flatMap { try connection.query($0).map { try $0.text("row") } }
    }
    for row in rows { found[row] = "" }
    return found
  }

  private static func files(_ folder: String) throws -> [String] {
    try DurableFile.names(in: folder).flatMap { name -> [String] in
      let path = "\(folder)/\(name)"
      var status = stat()
      guard stat(path, &status) == 0 else { return [] }
      return status.st_mode & S_IFMT == S_IFDIR ? try files(path) : [path]
    }
  }
}
