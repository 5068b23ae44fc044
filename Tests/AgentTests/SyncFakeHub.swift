import Fleet
import FoundationEssentials
import Storage
import Synchronization
import Trust
import Web

@testable import Agent

/// A hub over real TLS on loopback, which keeps to the protocol or breaks it as told.
final class FakeHub: Sendable {
  enum Mode: Sendable {
    case honest
    /// 200 and bytes that are no JSON.
    case garbage
    /// 200, a length, and half of the body.
    case half
    /// Takes the request and never answers.
    case silent
    /// An error of its own.
    case failing(Int)
    /// An error with far too much to say.
    case rambling
    /// Claims to have seen this sequence number.
    case ahead(UInt64)
    /// JSON of another shape.
    case otherShape
    /// Hands over another root at enrolment.
    case otherRoot
    /// Cosigns with a key that is not the witness's.
    case falseWitness
    /// Accepts outbox items that nobody sent.
    case deafOutbox
  }

  enum Forgery: Sendable {
    case bytes([UInt8])
    case gone
    /// Bytes without end.
    case endless
    /// A byte now and then.
    case trickle
  }

  struct State: Sendable {
    var mode = Mode.honest
    var files: [String: [UInt8]] = [:]
    var timestampVersion = 0
    /// What the director tells every box to have, in an assignment's words.
    var desired: [String]?
    /// What was published last, and what the director says of it, by device.
    var released: [TUFTarget] = []
    var directors: [String: (version: Int64, targets: [TUFTarget], files: [String: [UInt8]])] = [:]
    /// A hub of before there were directors.
    var hasDirector = true
    /// What a thief puts in a file's place, by "metadata/NAME", "director/NAME" or "chunks".
    var forged: [String: Forgery] = [:]
    /// Added to the versions that the hub tells, so that boxes come and look.
    var lie = 0
    var devices: [String: VerifyingKey] = [:]
    /// By device.
    var lastSequence: [String: UInt64] = [:]
    var usedBy: String?
    var paths: [String] = []
    var syncs: [SyncRequest] = []
    var items: [OutboxItem] = []
    var head: Checkpoint?
    var wants: [String] = []
    /// Its answer to a box's nonce; nil: a hub that signs no time.
    var signTime: (@Sendable (_ device: String, _ nonce: String) -> DSSEEnvelope)?
    var badSignatures = 0
  }

  let state = Mutex(State())
  let identity: TLSIdentity
  let witnessKey = SigningKey.generate()
  let publisher = Publisher()
  /// The hub's online key in the director's root; a publisher's thief does not have it.
  let directorKey = SigningKey.generate()
  let witnessName = "hub.test/witness"
  private let running = Mutex<(server: HTTPServer?, port: Int)>((nil, 0))

  init() throws { identity = try TLSIdentity.selfSigned(commonName: "127.0.0.1", addresses: ["127.0.0.1"]) }

  var url: String { "https://127.0.0.1:\(running.withLock(\.port))" }

  /// Listens, on the same port as before when it has listened before.
  func start() throws {
    let port = running.withLock(\.port)
    var configuration = HTTPServer.Configuration(listeners: [.tcp(host: "127.0.0.1", port: port)])
    configuration.tls = (identity.keyPEM, identity.certificatePEM)
    let server = HTTPServer(configuration) { [weak self] request in
      guard let self else { throw HTTPFailure(503, "gone", "gone") }
      return try await self.answer(request)
    }
    try server.start()
    running.withLock { $0 = (server, server.boundPorts[0]) }
  }

  func stop() async {
    let server = running.withLock { running in
      defer { running.server = nil }
      return running.server
    }
    await server?.stop(drain: .zero)
  }

  func set(_ mode: Mode) { state.withLock { $0.mode = mode } }

  /// Publishes what the publisher has, as a new version of the metadata.
  func release(
    expires: Date = Date(timeIntervalSince1970: 4_000_000_000), online: SigningKey? = nil, signedAt: Date? = nil
  ) throws {
    let files = try publisher.metadata(expires: expires, online: online, signedAt: signedAt)
    let targets = publisher.state.withLock(\.targets)
    state.withLock { state in
      state.released = targets
      for (name, bytes) in files { state.files[name] = bytes }
      state.timestampVersion += 1
    }
  }

  func token(hub: String? = nil, pin: String? = nil) throws -> String {
    EnrollmentToken(
      hub: hub ?? url, pin: pin ?? identity.pin, root: Digest(of: try publisher.root()), secret: "secret",
      expires: 4_000_000_000
    ).encoded
  }

  // MARK: answers

  private func answer(_ request: HTTPRequest) async throws -> HTTPResponse {
    let body = try await request.body.collect(upTo: 8 << 20)
    let mode = state.withLock { state in
      state.paths.append(request.path)
      return state.mode
    }
    if request.method == "POST" || !request.path.hasPrefix("/repo/") {
      switch mode {
      case .garbage: return .text(200, "<html>captive portal</html>", type: "text/html")
      case .otherShape: return .json(200, ["hello": ["world"]])
      case .failing(let status): return .text(status, "no")
      case .ahead(let last): return try error(409, HubError(.staleSequence, "stale", last: last))
      case .rambling: return try error(400, HubError(.malformed, String(repeating: "no, ", count: 200_000)))
      case .silent:
        try await Task.sleep(for: .seconds(600))
        return .empty(200)
      case .half:
        return .streaming(200, headers: [:]) { writer in
          try await writer.write("{\"hubTime\": 1, \"timesta")
          throw HTTPFailure(500, "cut", "cut")
        }
      default: break
      }
    }
    switch (request.method, request.path) {
    case ("POST", "/v1/enroll"): return try enroll(request, body, mode)
    case ("POST", "/v1/sync"):
      if let refusal = check(request, body) { return refusal }
      return try sync(request, body)
    case ("POST", "/v1/outbox"):
      if let refusal = check(request, body) { return refusal }
      return try outbox(body, mode)
    case ("POST", "/v1/audit/add-checkpoint"):
      if let refusal = check(request, body) { return refusal }
      return try checkpoint(body, mode)
    case ("GET", _): return try await file(request.path)
    default: return .empty(404)
    }
  }

  private func error(_ status: Int, _ error: HubError) throws -> HTTPResponse {
    .json(status, try JSONValue(encoding: error))
  }

  /// The signature, and a sequence number above the last; nil when both are right.
  private func check(_ request: HTTPRequest, _ body: [UInt8], key given: VerifyingKey? = nil) -> HTTPResponse? {
    let id = HTTPMessageSignature.keyID(request.headers) ?? ""
    guard let key = given ?? state.withLock({ $0.devices[id] }) else {
      return try? error(401, HubError(.unknownDevice, "unknown device"))
    }
    do {
      try HTTPMessageSignature.verify(
        method: request.method, authority: request.headers["Host"] ?? "", target: request.target,
        headers: request.headers, body: body, key: key)
    } catch {
      state.withLock { $0.badSignatures += 1 }
      return try? self.error(401, HubError(.badSignature, "\(error)"))
    }
    let sequence = HTTPMessageSignature.sequence(request.headers) ?? 0
    let last = state.withLock { state in
      let last = state.lastSequence[id] ?? 0
      if sequence > last { state.lastSequence[id] = sequence }
      return last
    }
    return sequence > last ? nil : try? error(409, HubError(.staleSequence, "stale", last: last))
  }

  private func enroll(_ request: HTTPRequest, _ body: [UInt8], _ mode: Mode) throws -> HTTPResponse {
    let wish = try JSONValue(parsing: body).decoded(as: EnrollRequest.self)
    guard let key = Hex.decode(wish.publicKey).flatMap({ VerifyingKey(bytes: $0) }) else { return .empty(400) }
    if let refusal = check(request, body, key: key) { return refusal }
    let id = DeviceID(key: key)
    let isFree = state.withLock { state in
      guard state.usedBy == nil || state.usedBy == id.hex else { return false }
      state.usedBy = id.hex
      state.devices[id.hex] = key
      return true
    }
    guard isFree, wish.secret == "secret" else {
      return try error(409, HubError(.tokenUsed, "used", hint: "make another"))
    }
    var root = try publisher.root()
    if case .otherRoot = mode { root = try Publisher().root() }
    let witness = NoteVerifier(
      name: witnessName, key: witnessKey.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    return .json(
      200,
      try JSONValue(
        encoding: EnrollResponse(deviceID: id, root: Base64.encode(root), witness: witness.vkey, hubTime: 1_800_000_000)
      ))
  }

  /// The director's files for a device, one version further when what it says has changed.
  private func director(_ id: DeviceID) throws -> (version: Int64, files: [String: [UInt8]]) {
    try state.withLock { state in
      guard state.hasDirector else { return (0, [:]) }
      let targets = Assignment(state.desired).choose(among: state.released).map {
        DirectorStatement.target($0.target, isRollback: $0.isRollback)
      }
      if let said = state.directors[id.hex], said.targets == targets { return (said.version, said.files) }
      var next = DirectorFiles(publisher, device: id, targets: targets)
      next.onlineKey = directorKey
      next.version = (state.directors[id.hex]?.version ?? 0) + 1
      var files = try state.directors[id.hex]?.files ?? ["1.root.json": next.root()]
      files.merge(try next.files()) { _, new in new }
      state.directors[id.hex] = (next.version, targets, files)
      return (next.version, files)
    }
  }

  private func sync(_ http: HTTPRequest, _ body: [UInt8]) throws -> HTTPResponse {
    let device = HTTPMessageSignature.keyID(http.headers) ?? ""
    let director = try DeviceID(device).map { try self.director($0) }
    let request = try JSONValue(parsing: body).decoded(as: SyncRequest.self)
    let answer = state.withLock { state in
      state.syncs.append(request)
      return SyncResponse(
        hubTime: 1_800_000_000, timestampVersion: state.timestampVersion + state.lie,
        directorVersion: director.map { Int($0.version) + state.lie },
        audit: .init(cosignedSize: state.head?.size ?? 0), wants: state.wants,
        time: request.nonce.flatMap { nonce in state.signTime.map { $0(device, nonce) } })
    }
    return .json(200, try JSONValue(encoding: answer))
  }

  private func outbox(_ body: [UInt8], _ mode: Mode) throws -> HTTPResponse {
    let batch = try JSONValue(parsing: body).decoded(as: OutboxBatch.self)
    if case .deafOutbox = mode { return .json(200, ["accepted": ["somebody else's"]]) }
    state.withLock { state in
      for item in batch.items where !state.items.contains(where: { $0.id == item.id }) { state.items.append(item) }
    }
    return .json(200, try JSONValue(encoding: OutboxReply(accepted: batch.items.map(\.id))))
  }

  private func checkpoint(_ body: [UInt8], _ mode: Mode) throws -> HTTPResponse {
    let all = body.split(separator: 0x0A, omittingEmptySubsequences: false)
    guard let gap = all.firstIndex(where: \.isEmpty) else { return .empty(400) }
    let lines = all[..<gap].map { String(decoding: $0, as: UTF8.self) }
    let note = try SignedNote(parsing: Array(all[(gap + 1)...].joined(separator: [0x0A])))
    let head = try Checkpoint(noteText: note.text)
    guard let device = state.withLock({ $0.devices.values.first }),
      note.verified(by: NoteVerifier(name: DeviceID(key: device).auditOrigin, key: device))
    else { return .empty(403) }
    let old = UInt64(lines[0].dropFirst(4)) ?? 0
    let proof = lines.dropFirst().compactMap { Base64.decode($0).flatMap { Digest(bytes: $0) } }
    let known = state.withLock(\.head)
    guard old == known?.size ?? 0 else {
      return .text(409, "\(known?.size ?? 0)\n", type: "text/x.tlog.size")
    }
    if let known, known.size > 0 {
      guard
        Merkle.verifyConsistency(
          oldSize: known.size, oldRoot: known.root, newSize: head.size, newRoot: head.root, proof: proof)
      else { return .empty(422) }
    }
    state.withLock { $0.head = head }
    var key = witnessKey
    if case .falseWitness = mode { key = SigningKey.generate() }
    return .text(200, note.cosigned(name: witnessName, key: key, time: 1_800_000_000).line + "\n")
  }

  private func file(_ path: String) async throws -> HTTPResponse {
    let name = String(path.split(separator: "/").last ?? "")
    let folder = String(path.split(separator: "/").dropFirst().first ?? "")
    if let forgery = state.withLock({ $0.forged["\(folder)/\(name)"] ?? $0.forged[folder] }) {
      return forged(forgery)
    }
    if path.hasPrefix("/repo/metadata/") {
      guard let bytes = state.withLock({ $0.files[name] }) else { return .empty(404) }
      return HTTPResponse(status: 200, body: .bytes(bytes))
    }
    if path.hasPrefix("/repo/director/") {
      let id = path.split(separator: "/").dropLast().last.flatMap { DeviceID($0) }
      guard let bytes = try id.flatMap({ try director($0).files[name] }) else { return .empty(404) }
      return HTTPResponse(status: 200, body: .bytes(bytes))
    }
    guard let digest = Digest(hex: name.prefix(64)) else { return .empty(404) }
    do {
      let bytes =
        try await
        (path.hasPrefix("/repo/indexes/")
        ? publisher.index(digest, limit: 1 << 20) : publisher.chunk(digest, limit: 1 << 20))
      return HTTPResponse(status: 200, body: .bytes(bytes))
    } catch is RegistryError {
      return .empty(404)
    }
  }
}

extension FakeHub {
  fileprivate func forged(_ forgery: Forgery) -> HTTPResponse {
    switch forgery {
    case .bytes(let bytes): return HTTPResponse(status: 200, body: .bytes(bytes))
    case .gone: return .empty(404)
    case .endless:
      return .streaming(200, headers: [:]) { writer in
        while true { try await writer.write([UInt8](repeating: 0x7B, count: 65536)) }
      }
    case .trickle:
      return .streaming(200, headers: [:]) { writer in
        while true {
          try await writer.write([0x7B])
          try await Task.sleep(for: .milliseconds(50))
        }
      }
    }
  }
}

/// The system's clocks as a test sets them.
final class ClockHands: Sendable {
  private let reading = Mutex(TrustedClock.Reading(wall: 1_800_000_000, monotonic: 100, boot: "one"))

  var wall: Int64 {
    get { reading.withLock(\.wall) }
    set { reading.withLock { $0.wall = newValue } }
  }
  func pass(_ seconds: Int64) { reading.withLock { $0.monotonic += seconds } }
  func reboot(after seconds: Int64) {
    reading.withLock { $0 = TrustedClock.Reading(wall: $0.wall, monotonic: seconds, boot: $0.boot + "+") }
  }
  @Sendable func read() -> TrustedClock.Reading { reading.withLock { $0 } }
}

/// A box with everything that a sync needs, in a folder of its own.
final class SyncBox: Sendable {
  let scratch: Scratch
  let identity: DeviceIdentity
  let log: AuditLog
  let registry: ModelRegistry
  let service: SyncService
  let http = HTTPClient()
  let database: Database
  let hands = ClockHands()
  let clock: TrustedClock

  init(
    scratch: Scratch? = nil, probeSeconds: Double = 0.2, intervalSeconds: Double = 900,
    report: (@Sendable () async throws -> JSONValue)? = nil,
    network: (@Sendable () throws -> AsyncStream<Void>)? = nil, transfer: TransferRules = TransferRules(),
    transferReading: (@Sendable () -> TransferGate.Reading)? = nil
  ) async throws {
    let scratch = try scratch ?? Scratch()
    self.scratch = scratch
    let identity = try DeviceIdentity.open(directory: scratch.path + "/keys")
    self.identity = identity
    let log = try AuditLog(directory: scratch.path + "/audit", key: identity.key, origin: identity.auditOrigin)
    self.log = log
    database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    clock = TrustedClock(path: scratch.path + "/time.json", read: hands.read)
    registry = try await ModelRegistry.open(
      database: database, directory: scratch.path + "/registry",
      audit: { kind, actor, fields in _ = try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields)) },
      now: { 1_800_000_000 })
    var surroundings = SyncService.Surroundings(
      sandbox: { "active" }, report: report, network: network, clock: clock)
    surroundings.transferReading = transferReading
    service = try await SyncService(
      configuration: .init(
        stateDirectory: scratch.path, name: "box", agentVersion: "0.1", probeSeconds: probeSeconds,
        intervalSeconds: intervalSeconds, transfer: transfer),
      surroundings: surroundings,
      identity: identity, database: database, registry: registry, log: log, http: http)
  }

  func events(_ kind: String) throws -> [String] {
    try log.entries(from: 0, limit: 1000).filter { $0["kind"]?.string == kind }.compactMap { $0["event"]?.string }
  }

  /// Every record of the kind.
  func records(_ kind: String) throws -> [JSONValue] {
    try log.entries(from: 0, limit: 1000).filter { $0["kind"]?.string == kind }
  }

  /// As a stop of the agent does.
  func close() async {
    await service.stop()
    await http.close()
    log.close()
    database.close()
  }
}
