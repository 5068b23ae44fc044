import Fleet
import Host
import Storage
import Trust

/// Takes in what a box wrote on a stick for this hub, as if it had come online: once, whole, or not at all.
struct BundleTaker: Sendable {
  let state: HubState

  /// A bundle on the disk, checked to its last byte and signed by the box that it names.
  private struct Received: Sendable {
    let spool: SpoolFile
    let signed: SignedBundleManifest
    let key: VerifyingKey
    let entry: BundleEntry
    /// Where the only entry's bytes are.
    let offset: UInt64

    var device: DeviceID { DeviceID(key: key) }
  }

  private var directory: String { state.directory + "/bundles" }

  /// Takes a bundle from `pieces`. Throws `HubError`: malformed, bad_signature, unknown_device, device_revoked,
  /// stale_sequence, conflict, and those of an enrolment. A bundle that was taken before changes nothing.
  func take(_ pieces: some AsyncSequence<[UInt8], any Error> & Sendable, now: Int64) async throws -> JSONValue {
    let path = "\(directory)/incoming-\(Hex.encode(SecureRandom.bytes(8)))"
    let spool = try SpoolFile(path)
    defer { spool.remove() }
    do {
      let received = try await receive(pieces, spool)
      let manifest = Digest(of: received.signed.encoded)
      if var before = try await state.store.takenBundle(received.device, manifest: manifest)?.object {
        before["again"] = true
        return .object(before)
      }
      let outcome =
        received.entry.kind == .enrollment
        ? try await enroll(received, now) : try await apply(received, now)
      Log.shared.notice(
        "bundle taken", ["device": received.device.hex, "serial": "\(received.signed.manifest.serial)"])
      return outcome
    } catch {
      Log.shared.warning("a bundle was refused", ["reason": "\(error)"])
      switch error {
      case let error as BundleError:
        throw HubError(
          error == .badSignature ? .badSignature : .malformed, error.description, hint: "nothing of it was taken")
      case let error as HPKEError:
        throw HubError(
          .malformed, error.description, hint: "it is sealed to another hub, or altered by who can sign it")
      case let error as HubError where error.code == .staleSequence:
        throw HubError(
          .staleSequence, "the bundle is older than what this box has told the hub since",
          hint: "nothing is lost: what the hub lacks still waits on the box; export again there")
      case let error as AuditSegmentError: throw HubError(.conflict, error.description)
      default: throw error
      }
    }
  }

  private func receive(
    _ pieces: some AsyncSequence<[UInt8], any Error> & Sendable, _ spool: SpoolFile
  ) async throws -> Received {
    var reader = BundleReader()
    var signed: SignedBundleManifest?
    var entry: BundleEntry?
    var (written, position): (UInt64, UInt64) = (0, 0)
    for try await piece in pieces {
      try reader.push(piece) { event in
        switch event {
        case .manifest(let found):
          guard found.manifest.origin == .box else {
            throw BundleError.malformed("a hub made it for boxes; import it there")
          }
          guard found.isSignedByItsBox else { throw BundleError.badSignature }
          let needed = found.manifest.length
          guard try needed <= spool.freeSpace() else { throw StorageError.full(path: spool.path) }
          signed = found
          position = UInt64(BundleFormat.headLength + found.encoded.count)
        case .entry(let found):
          guard entry == nil, found.kind == .sealed || found.kind == .enrollment else {
            throw BundleError.malformed("a box's bundle has one entry, sealed or an enrolment")
          }
          entry = found
          position += UInt64(found.header.count)
        case .bytes, .end: break
        }
      }
      try spool.write(piece, at: written)
      written += UInt64(piece.count)
    }
    try reader.finish()
    guard let signed, let key = signed.manifest.key, let entry, entry.name == DeviceID(key: key).hex else {
      throw BundleError.malformed("it has no entry of its box")
    }
    return Received(spool: spool, signed: signed, key: key, entry: entry, offset: position)
  }

  // MARK: enrolment

  private func enroll(_ received: Received, _ now: Int64) async throws -> JSONValue {
    let bytes = try received.spool.read(at: received.offset, count: Int(received.entry.length))
    let request = try Decode.message(BundleEnrollment.self, from: bytes)
    _ = try Decode.deviceName(request.name)
    guard request.agentVersion.utf8.count <= 64 else { throw HubError(.malformed, "agentVersion is too long") }
    let outcome: JSONValue = [
      "device": .string(received.device.hex), "name": .string(request.name), "enrolled": true,
      "serial": .integer(received.signed.manifest.serial),
    ]
    let id = try await state.store.enroll(
      request, received.signed, key: received.key, outcome: outcome, now: now)
    Log.shared.notice("box enrolled", ["device": id.hex, "name": request.name, "way": "bundle"])
    return outcome
  }

  // MARK: what a box tells

  /// What is found on a first pass, before anything is changed.
  private struct Found: Sendable {
    var state: SyncRequest?
    var items = 0
    var request: AddCheckpoint?
    var from: UInt64 = 0
    var segment: SpoolFile?
  }

  private func apply(_ received: Received, _ now: Int64) async throws -> JSONValue {
    let id = received.device
    guard let device = try await state.store.device(id) else {
      throw HubError(.unknownDevice, "this hub does not know the box \(id)", hint: "take its enrolment first")
    }
    if device.revokedAt != nil { throw HubStore.revoked }
    let recorded = device.checkpoint
    let found = try await offPool { try look(received, recorded) }
    defer { found.segment?.remove() }
    guard let said = found.state, let request = found.request, let segment = found.segment else {
      throw BundleError.malformed("its sealed part lacks state, checkpoint or records")
    }
    let size = request.checkpoint.size
    let kept = try keep(segment, id, from: found.from, size: size)
    let outcome: JSONValue = [
      "device": .string(id.hex), "name": .string(said.name), "serial": .integer(received.signed.manifest.serial),
      "items": .integer(Int64(found.items)), "records": .integer(Int64(clamping: size - found.from)),
      "cosignedSize": .integer(Int64(clamping: size)),
    ]
    let (hub, witness) = (self, state.witness)
    let (origin, sequence) = (id.auditOrigin, UInt64(received.signed.manifest.serial))
    do {
      try await state.store.act(as: id, sequence: sequence, now: now) { connection, device in
        guard device.checkpoint?.size == recorded?.size, device.checkpoint?.root == recorded?.root else {
          throw HubError(.busy, "the box synced at the same moment; take the bundle again")
        }
        try HubStore.keep(state: said, of: device, connection)
        try hub.entries(of: received, upTo: .outbox) { entry, bytes in
          guard entry.kind == .outbox else { return }
          try HubStore.keep(try hub.items(bytes), of: device, now: now, connection)
        }
        let verdict = try HubStore.cosign(
          request, of: device,
          cosign: { note in
            var note = note
            note.signatures = note.signatures.filter { $0.name == origin } + [witness.cosign(note, time: now)]
            return note
          }, now: now, connection)
        guard verdict == .accepted else { throw HubError(.malformed, "the size is beyond what the hub can store") }
        try connection.execute(
          "INSERT OR IGNORE INTO audit_segments (device_id, first, size, taken_at) VALUES (?, ?, ?, ?)",
          .text(id.hex), SQLValue(found.from), SQLValue(size), .integer(now))
        try HubStore.noteTaken(received.signed, id, outcome: outcome, now: now, connection)
      }
    } catch {
      if kept.isNew { try DurableFile.remove(kept.path) }
      throw error
    }
    return outcome
  }

  /// Opens the sealed part and checks all of it: every message, and that the records lead from the head that the hub
  /// cosigned last to the one that the box signed. Nothing is changed but a file that the caller removes.
  private func look(_ received: Received, _ recorded: WitnessedHead?) throws -> Found {
    var found = Found()
    var verifier: AuditSegmentVerifier?
    var written: UInt64 = 0
    let origin = received.device.auditOrigin
    try open(received) { event in
      guard case .bytes(let entry, let part) = event else { return }
      guard entry.kind == .records else { return }
      if verifier == nil {
        guard let request = found.request else { throw BundleError.malformed("records before the checkpoint") }
        verifier = AuditSegmentVerifier(
          recorded: recorded.map { ($0.size, $0.root) }, checkpoint: request.checkpoint)
        found.segment = try SpoolFile("\(directory)/segment-\(Hex.encode(SecureRandom.bytes(8)))")
      }
      try verifier?.push(part)
      try found.segment?.write(Array(part), at: written)
      written += UInt64(part.count)
    } whole: { entry, bytes in
      switch entry.kind {
      case .state:
        var message = try Decode.message(SyncRequest.self, from: bytes)
        message.name = try Decode.deviceName(message.name)
        guard message.agentVersion.utf8.count <= 64, message.models.count <= 1000 else {
          throw HubError(.malformed, "agentVersion or models is too long")
        }
        message.nonce = nil
        found.state = message
      case .outbox: found.items += try items(bytes).count
      case .checkpoint:
        let request: AddCheckpoint
        do { request = try AddCheckpoint(parsing: bytes) } catch { throw HubError(.malformed, "\(error)") }
        guard request.checkpoint.origin == origin,
          request.note.verified(by: NoteVerifier(name: origin, key: received.key))
        else { throw HubError(.malformed, "the checkpoint is not of this box's log") }
        found.request = request
      default: throw BundleError.malformed("an entry of kind \(entry.kind) in a sealed part")
      }
    }
    try verifier?.finish()
    found.from = verifier?.from ?? 0
    return found
  }

  private func items(_ bytes: [UInt8]) throws -> [OutboxItem] {
    let batch = try Decode.message(OutboxBatch.self, from: bytes)
    guard batch.items.count <= OutboxBatch.maximumItems else {
      throw HubError(.malformed, "a batch has at most \(OutboxBatch.maximumItems) items")
    }
    for item in batch.items {
      guard Hex.decode(item.id)?.count == 16, (1...32).contains(item.kind.utf8.count) else {
        throw HubError(.malformed, "an item's id is not 32 hexadecimal digits, or its kind not 1 to 32 bytes")
      }
    }
    return batch.items
  }

  /// Puts a verified segment where auditors find it: `audit/DEVICE/FROM-SIZE.jsonl`.
  private func keep(_ segment: SpoolFile, _ id: DeviceID, from: UInt64, size: UInt64) throws -> (
    path: String, isNew: Bool
  ) {
    let folder = "\(state.directory)/audit/\(id.hex)"
    try DurableFile.makeDirectory(folder)
    let path = "\(folder)/\(from)-\(size).jsonl"
    // The same records again: the tree vouches for them.
    if DurableFile.exists(path) { return (path, false) }
    try segment.sync()
    try DurableFile.move(segment.path, to: path)
    return (path, true)
  }

  // MARK: the sealed part

  private enum Opened {
    case bytes(BundleEntry, ArraySlice<UInt8>)
  }

  /// The entries up to a kind, each whole; for small ones.
  private func entries(
    of received: Received, upTo last: BundleKind, _ take: (BundleEntry, [UInt8]) throws -> Void
  ) throws {
    struct Enough: Error {}
    do {
      try open(received) { event in
        if case .bytes(let entry, _) = event, entry.kind.rawValue > last.rawValue { throw Enough() }
      } whole: { entry, bytes in
        if entry.kind.rawValue <= last.rawValue { try take(entry, bytes) }
      }
    } catch is Enough {}
  }

  /// Opens the sealed entry and reads what is in it; `whole` gets each entry but records, which come in pieces alone.
  private func open(
    _ received: Received, _ part: (Opened) throws -> Void, whole: (BundleEntry, [UInt8]) throws -> Void
  ) throws {
    guard let length = SealedStream.plaintextLength(of: received.entry.length) else { throw HPKEError.notAuthentic }
    var opener = SealedStream.Opener(key: state.sealKey, info: BundleSeal.info(received.device))
    var reader = BundleReader(entriesOf: length)
    var current: BundleEntry?
    var gathered: [UInt8] = []
    func push(_ plaintext: [UInt8]) throws {
      try reader.push(plaintext) { event in
        switch event {
        case .manifest: break
        case .entry(let entry): (current, gathered) = (entry, [])
        case .bytes(let bytes):
          guard let current else { return }
          try part(.bytes(current, bytes))
          if current.kind != .records { gathered += bytes }
        case .end(let entry): if entry.kind != .records { try whole(entry, gathered) }
        }
      }
    }
    var offset: UInt64 = 0
    while offset < received.entry.length {
      let count = Int(min(UInt64(1 << 18), received.entry.length - offset))
      let piece = try received.spool.read(at: received.offset + offset, count: count)
      guard !piece.isEmpty else { throw BundleError.cut }
      try push(try opener.push(piece))
      offset += UInt64(piece.count)
    }
    try push(try opener.finish())
    try reader.finish()
  }
}
