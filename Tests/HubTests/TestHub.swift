import Fleet
import FoundationEssentials
import Hub
import Models
import Storage
import Testing
import Trust
import Web

/// A hub in this process, on loopback with TLS, and a publisher for it.
final class TestHub: Sendable {
  let directory: String
  let hub: Hub
  let created: HubState.Created
  let client = HTTPClient()
  let root = SigningKey.generate()
  let targets = SigningKey.generate()

  var base: String { "https://127.0.0.1:\(hub.port)" }

  private init(directory: String, hub: Hub, created: HubState.Created) {
    self.directory = directory
    self.hub = hub
    self.created = created
  }

  static func with(published: Bool = true, _ body: (TestHub) async throws -> Void) async throws {
    let directory = FileManager.default.temporaryDirectory.path + "/skerry-hub-\(Hex.encode(SecureRandom.bytes(8)))"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let configuration = try HubConfiguration(url: "https://127.0.0.1:8443", listen: "127.0.0.1:0")
    let created = try await HubState.create(directory: directory, configuration: configuration, now: 1_800_000_000)
    let hub = try Hub(directory: directory)
    try await hub.start()
    let test = TestHub(directory: directory, hub: hub, created: created)
    do {
      if published { try await test.publishFirst() }
      try await body(test)
    } catch {
      await test.end()
      throw error
    }
    await test.end()
  }

  private func end() async {
    await client.close()
    await hub.stop(drain: .seconds(1))
  }

  // MARK: - Administrator

  func send(
    _ method: String, _ path: String, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8]? = nil
  ) async throws -> ClientResponse {
    var request = ClientRequest(method: method, url: base + path, headers: headers, body: body)
    request.pin = created.pin
    request.totalTimeout = .seconds(20)
    return try await client.send(request)
  }

  func admin(_ method: String, _ path: String, body: [UInt8]? = nil) async throws -> ClientResponse {
    try await send(
      method, "/admin/v1" + path, headers: ["Authorization": "Bearer \(created.adminToken)"], body: body)
  }

  func token(seconds: Int = 600) async throws -> EnrollmentToken {
    let answer = try await admin("POST", "/enrollment-tokens", body: Array(#"{"expiresInSeconds":\#(seconds)}"#.utf8))
    let text = try #require(try answer.json["token"]?.string, "\(answer.text)")
    return try EnrollmentToken(parsing: text)
  }

  func dashboard(_ path: String) async throws -> ClientResponse {
    let credentials = Base64.encode(Array("me:\(created.adminToken)".utf8))
    return try await send("GET", path, headers: ["Authorization": "Basic \(credentials)"])
  }

  // MARK: - Publisher

  static let inAYear = Date().addingTimeInterval(365 * 86400)

  func rootFile(
    version: Int64 = 1, targets: SigningKey? = nil, root newRoot: SigningKey? = nil, signers: [SigningKey]? = nil,
    online: Bool = true
  ) throws -> [UInt8] {
    let onlineKey = try #require(Hex.decode(created.onlineKey).flatMap { VerifyingKey(bytes: $0) })
    let finisher = TUFKey(ed25519: online ? onlineKey : self.targets.verifyingKey)
    return try TUFWriter.root(
      version: version, expires: Self.inAYear,
      roles: [
        .root: ([TUFKey(ed25519: (newRoot ?? root).verifyingKey)], 1),
        .targets: ([TUFKey(ed25519: (targets ?? self.targets).verifyingKey)], 1),
        .snapshot: ([finisher], 1), .timestamp: ([finisher], 1),
      ]
    ).signed(by: signers ?? [root])
  }

  func targetsFile(
    version: Int64, _ targets: [TUFTarget] = [], expires: Date = inAYear, signer: SigningKey? = nil
  ) throws -> [UInt8] {
    try TUFWriter.targets(version: version, expires: expires, targets: targets).signed(by: [signer ?? self.targets])
  }

  @discardableResult
  func put(_ name: String, _ bytes: [UInt8]) async throws -> Int {
    try await admin("PUT", "/repo/metadata/\(name)", body: bytes).status
  }

  func commit() async throws -> ClientResponse { try await admin("POST", "/repo/commit", body: []) }

  private func publishFirst() async throws {
    try await put("1.root.json", rootFile())
    try await put("1.targets.json", targetsFile(version: 1))
    let answer = try await commit()
    #expect(answer.status == 200, "\(answer.text)")
  }

  /// What a box with `local` gets from a TUF update against this hub.
  func update(_ local: TUFLocalState, now: Date = Date()) async throws -> TrustedMetadata {
    try await TUFWorkflow.refresh(local: local, now: now) { file, _ in
      let answer = try await send("GET", "/repo/metadata/\(file)")
      return answer.status == 200 ? answer.body : nil
    } persist: { _, _ in
    }
  }
}

extension ClientResponse {
  var json: JSONValue { get throws { try JSONValue(parsing: body) } }
  var text: String { String(decoding: body, as: UTF8.self) }
  var code: String? { (try? json)?["error"]?["code"]?.string }
}

/// A box that does what its test says, with real signatures.
final class ScriptedDevice {
  let hub: TestHub
  let key: SigningKey
  var sequence: UInt64 = 0

  init(_ hub: TestHub, key: SigningKey = .generate()) {
    self.hub = hub
    self.key = key
  }

  var id: DeviceID { DeviceID(key: key.verifyingKey) }

  /// A signed request, as it goes over the wire.
  func signed(_ path: String, _ body: [UInt8], sequence: UInt64, as id: DeviceID? = nil) -> HTTPHeaders {
    var headers: HTTPHeaders = ["Content-Type": "application/json"]
    HTTPMessageSignature.sign(
      method: "POST", url: hub.base + path, headers: &headers, body: body, keyID: (id ?? self.id).hex, key: key,
      created: 1_800_000_000, sequence: sequence)
    return headers
  }

  func post(_ path: String, _ body: [UInt8], sequence: UInt64? = nil) async throws -> ClientResponse {
    if sequence == nil { self.sequence += 1 }
    let headers = signed(path, body, sequence: sequence ?? self.sequence)
    return try await hub.send("POST", path, headers: headers, body: body)
  }

  func post(_ path: String, _ message: some Encodable, sequence: UInt64? = nil) async throws -> ClientResponse {
    try await post(path, JSONValue(encoding: message).encoded(), sequence: sequence)
  }

  func enroll(_ token: EnrollmentToken, name: String = "harbour-07") async throws -> ClientResponse {
    try await post(
      "/v1/enroll",
      EnrollRequest(secret: token.secret, publicKey: key.verifyingKey.hex, name: name, agentVersion: "0.1.0"))
  }

  static func enrolled(_ hub: TestHub, name: String = "harbour-07") async throws -> ScriptedDevice {
    let device = ScriptedDevice(hub)
    let answer = try await device.enroll(hub.token(), name: name)
    #expect(answer.status == 200, "\(answer.text)")
    return device
  }

  func syncRequest(
    name: String = "harbour-07", models: [ReportedModel] = [], size: UInt64 = 0, root: Digest = Merkle.emptyRoot
  ) -> SyncRequest {
    SyncRequest(
      agentVersion: "0.1.0", name: name, models: models, repository: RepositoryVersions(),
      audit: AuditHead(size: size, root: root), outbox: 0, sandbox: "active")
  }
}

/// A growing Merkle log with everything that a witness asks for.
struct TestLog {
  let device: ScriptedDevice
  var hashes: [Digest] = []
  var size: UInt64 = 0

  init(_ device: ScriptedDevice) { self.device = device }

  mutating func append(_ text: String) throws {
    let known = hashes
    hashes += try Merkle.hashesToStore(index: size, leaf: Merkle.leafHash(Array(text.utf8))) { indexes in
      indexes.map { known[Int($0)] }
    }
    size += 1
  }

  func read(_ indexes: [UInt64]) -> [Digest] { indexes.map { hashes[Int($0)] } }

  func checkpoint(at size: UInt64, origin: String? = nil) throws -> Checkpoint {
    Checkpoint(origin: origin ?? device.id.auditOrigin, size: size, root: try Merkle.root(size: size, read: read))
  }

  func body(old: UInt64, new: UInt64, signer: SigningKey? = nil, origin: String? = nil) throws -> [UInt8] {
    let checkpoint = try checkpoint(at: new, origin: origin)
    let note = try SignedNote.sign(text: checkpoint.noteText, name: checkpoint.origin, key: signer ?? device.key)
    let proof = old == 0 || old >= new ? [] : try Merkle.consistencyProof(old: old, new: new, read: read)
    return AddCheckpoint.body(oldSize: old, proof: proof, note: note)
  }
}
