import Fleet
import FoundationEssentials
import Host
import Trust
import Web

/// What boxes call.
struct DeviceAPI: Sendable {
  let state: HubState
  let repository: Repository
  let director: Director
  let authentication: DeviceAuthentication
  /// Enrolments from one address: nobody guesses a 256-bit secret, but trying must cost the hub little.
  private let strangers = RateLimiter(rate: 5, burst: 50)
  /// New heads of one log, each with a valid signature and proof.
  private let witnessing = RateLimiter(rate: 10, burst: 100)
  /// Heads from one address that are not new, or whose proof is wrong.
  private let replaying = RateLimiter(rate: 10, burst: 100)

  init(state: HubState, repository: Repository, director: Director) {
    self.state = state
    self.repository = repository
    self.director = director
    authentication = DeviceAuthentication(store: state.store)
  }

  func add(to router: inout Router) {
    router.on("GET", "/v1/health", handler: Answers.wrap { _, _ in HTTPResponse.json(200, ["ok": true]) })
    router.on("POST", "/v1/enroll", handler: Answers.wrap { request, _ in try await enroll(request) })
    router.on("POST", "/v1/sync", handler: Answers.wrap { request, _ in try await sync(request) })
    router.on("POST", "/v1/outbox", handler: Answers.wrap { request, _ in try await outbox(request) })
    router.on(
      "POST", "/v1/audit/add-checkpoint", handler: Answers.wrap { request, _ in try await addCheckpoint(request) })
  }

  private func enroll(_ request: HTTPRequest) async throws -> HTTPResponse {
    guard strangers.allows(address(request.peer), at: Clock.monotonic()) else {
      throw HubError(.busy, "too many enrolments from this address at once")
    }
    let body = try await request.body.collect(upTo: 16 << 10)
    let message = try Decode.message(EnrollRequest.self, from: body)
    guard let bytes = Hex.decode(message.publicKey), let key = VerifyingKey(bytes: bytes) else {
      throw HubError(.malformed, "publicKey is not 64 hexadecimal digits")
    }
    let name = try Decode.deviceName(message.name)
    guard message.agentVersion.utf8.count <= 64 else { throw HubError(.malformed, "agentVersion is too long") }
    guard HTTPMessageSignature.keyID(request.headers) == DeviceID(key: key).hex else {
      throw HubError(.badSignature, "the request is not signed with the key it brings")
    }
    let sequence = try DeviceAuthentication.verify(request, body: body, key: key)
    guard let root = try await repository.firstRoot() else {
      throw HubError(.notPublished, "the hub has no repository yet")
    }
    let now = Clock.unixTime()
    let id = try await state.store.enroll(
      key: key, secret: message.secret, name: name, agentVersion: message.agentVersion, sequence: sequence, now: now)
    Log.shared.notice("box enrolled", ["device": id.hex, "name": name])
    return try Answers.json(
      200,
      EnrollResponse(
        deviceID: id, root: Base64.encode(root), witness: state.witness.verifier.vkey,
        sealTo: state.sealKey.sealingKey.hex, hubTime: now))
  }

  private func sync(_ request: HTTPRequest) async throws -> HTTPResponse {
    let signed = try await authentication.authenticate(request, limit: 256 << 10)
    var message = try Decode.message(SyncRequest.self, from: signed.body)
    message.name = try Decode.deviceName(message.name)
    guard message.agentVersion.utf8.count <= 64, message.models.count <= 1000 else {
      throw HubError(.malformed, "agentVersion or models is too long")
    }
    let nonce = message.nonce
    // It is signed and forgotten: kept, it would make each state of a box differ from the last.
    message.nonce = nil
    guard (nonce?.utf8.count ?? 0) <= TimeReply.longestNonce else { throw HubError(.malformed, "nonce is too long") }
    let now = Clock.unixTime()
    let facts = try await state.store.recordSync(
      signed.device.id, sequence: signed.sequence, request: message, now: now)
    let cosigned = facts.checkpoint?.size ?? 0
    var wants: [String] = []
    if message.audit.size > cosigned { wants.append(SyncResponse.auditHead) }
    if !facts.hasReport { wants.append(SyncResponse.report) }
    let said = try await director.statement(
      for: signed.device.id, words: facts.assigned, seen: message.director, now: Date())
    return try Answers.json(
      200,
      SyncResponse(
        hubTime: now, timestampVersion: try await repository.versions().timestamp, directorVersion: said.timestamp,
        audit: SyncResponse.Audit(cosignedSize: cosigned), wants: wants,
        time: nonce.map {
          TimeReply.signed(device: signed.device.id.hex, nonce: $0, time: Clock.unixTime(), key: state.onlineKey)
        }))
  }

  private func outbox(_ request: HTTPRequest) async throws -> HTTPResponse {
    let signed = try await authentication.authenticate(request, limit: 2 << 20)
    let batch = try Decode.message(OutboxBatch.self, from: signed.body)
    guard batch.items.count <= OutboxBatch.maximumItems else {
      throw HubError(.malformed, "a batch has at most \(OutboxBatch.maximumItems) items")
    }
    for item in batch.items {
      guard Hex.decode(item.id)?.count == 16, (1...32).contains(item.kind.utf8.count) else {
        throw HubError(.malformed, "an item's id is not 32 hexadecimal digits, or its kind not 1 to 32 bytes")
      }
    }
    let accepted = try await state.store.recordOutbox(
      signed.device.id, sequence: signed.sequence, items: batch.items, now: Clock.unixTime())
    return try Answers.json(200, OutboxReply(accepted: accepted))
  }

  /// C2SP tlog-witness, "add-checkpoint". "There is no authentication of requests beyond the validation of the signature
  /// on the checkpoint", so that any program that speaks the protocol can hand over a box's head.
  private func addCheckpoint(_ request: HTTPRequest) async throws -> HTTPResponse {
    let body = try await request.body.collect(upTo: AddCheckpoint.maximumLength)
    let message: AddCheckpoint
    do { message = try AddCheckpoint(parsing: body) } catch {
      throw HubError(.malformed, error.description)
    }
    // "If the checkpoint origin is unknown, the witness MUST respond with a "404 Not Found" HTTP status code."
    let origin = message.checkpoint.origin
    guard let id = DeviceID(auditOrigin: origin), let device = try await state.store.device(id) else {
      throw HubError(.notFound, "this witness knows no log \(origin.prefix(200))")
    }
    // "If none of the signatures verify against a trusted public key, the witness MUST respond with a "403 Forbidden""; a
    // revoked box's key is trusted no more.
    guard device.revokedAt == nil else { return HTTPResponse.text(403, "the box was removed from this hub\n") }
    guard message.note.verified(by: NoteVerifier(name: origin, key: device.key)) else {
      return HTTPResponse.text(403, "the checkpoint is not signed by the box's key\n")
    }
    try demandRoom(for: message, of: device, from: request.peer)
    let now = Clock.unixTime()
    let witness = state.witness
    let verdict = try await state.store.recordCheckpoint(
      id, request: message,
      cosign: { note in
        var note = note
        note.signatures = note.signatures.filter { $0.name == origin } + [witness.cosign(note, time: now)]
        return note
      }, now: now)
    switch verdict {
    case .accepted:
      // The state is on disk before this answer: "The witness MUST persist the new checkpoint before returning".
      return HTTPResponse.text(200, witness.cosign(message.note, time: now).line + "\n")
    case .malformed(let reason): throw HubError(.malformed, reason)
    case .conflict(let size):
      var response = HTTPResponse.text(409, "\(size)\n")
      response.headers["Content-Type"] = "text/x.tlog.size"
      return response
    case .inconsistent:
      Log.shared.error(
        "a box's audit log does not contain what it showed before",
        ["device": id.hex, "size": String(message.checkpoint.size)])
      return HTTPResponse.text(422, "the proof does not verify\n")
    }
  }

  /// A head that makes the log grow only the box can have signed, once: it counts against the log. Heads that were signed
  /// before are in every export, and count against whoever brings them.
  private func demandRoom(for message: AddCheckpoint, of device: DeviceRecord, from peer: Peer) throws(HubError) {
    let recorded = device.checkpoint.map { ($0.size, $0.root) }
    if message.verdict(recorded: recorded) == .accepted, message.checkpoint.size > message.oldSize {
      guard witnessing.allows(device.id.hex, at: Clock.monotonic()) else {
        throw HubError(.busy, "this log grows too often")
      }
    } else {
      guard replaying.allows(address(peer), at: Clock.monotonic()) else {
        throw HubError(.busy, "too many heads from this address that are not new")
      }
    }
  }

  private func address(_ peer: Peer) -> String {
    if case .tcp(let address) = peer { return address }
    return "local"
  }
}
