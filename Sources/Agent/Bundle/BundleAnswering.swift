import Fleet
import Storage
import Trust

/// What the hub's answer in a bundle means for this box: that it belongs to the fleet, what of its outbox has arrived,
/// how far its audit log is cosigned, and whom to seal to.
extension BundleService {
  func answer(_ staged: Staged, actor: String, _ outcome: inout BundleOutcome) async throws {
    let answer = try read(staged)
    if await sync.currentEnrolment() == nil {
      try await join(staged, answer, actor: actor)
      outcome.enrolled = true
    }
    guard let answer else { return }
    guard let witness = try? NoteVerifier(vkey: answer.witness), witness.algorithm == NoteVerifier.cosignatureV1 else {
      throw BundleError.malformed("the witness key in the hub's answer is no cosigner's key")
    }
    try await sync.learn(sealTo: answer.sealTo, witness: answer.witness)
    outcome.acknowledged = try await tables.remove(answer.accepted)
    if let text = answer.cosigned { try keep(text, by: witness, &outcome) }
    try await tables.remember(log)
  }

  private func read(_ staged: Staged) throws -> BundleAnswer? {
    guard let bytes = try staged.stage.read(.answer, identity.id.hex, limit: Int(BundleKind.answer.limit)) else {
      return nil
    }
    guard let answer = try? JSONValue(parsing: bytes).decoded(as: BundleAnswer.self), answer.deviceID == identity.id,
      SealingKey(hex: answer.sealTo) != nil
    else { throw BundleError.malformed("the hub's answer to this box can't be read") }
    return answer
  }

  /// An older head than the kept one is passed over; one that is not this log's goes on record and stops nothing else.
  private func keep(_ text: String, by witness: NoteVerifier, _ outcome: inout BundleOutcome) throws {
    do {
      let note = try SignedNote(parsing: Array(text.utf8))
      try log.store(cosigned: note, by: witness)
      outcome.cosignedSize = log.cosigned()?.size
    } catch let error as StorageError {
      throw error
    } catch {
      outcome.failures.append(SyncOutcome.Failure(model: "", message: "the cosigned audit head: \(error)"))
    }
  }

  // MARK: joining

  private func join(_ staged: Staged, _ answer: BundleAnswer?, actor: String) async throws {
    guard let pending = staged.pending, let root = staged.firstRoot, let answer, let said = answer.enrollment,
      said.proof == pending.proof
    else { throw BundleFailure.notAnswered }
    guard said.pin == pending.pin else {
      throw BundleError.malformed("the hub has another key than the enrolment token names")
    }
    try await registry.trust(root: root)
    let enrolment = Enrolment(
      hub: pending.hub, pin: pending.pin, root: pending.root, deviceID: identity.id, witness: answer.witness,
      sealTo: answer.sealTo, enrolledAt: sync.surroundings.clock.now())
    try await audit(
      .enroll, actor,
      [
        "event": "enrolled", "hub": .string(pending.hub), "root": .string(pending.root.hex),
        "witness": .string(answer.witness), "way": "bundle",
      ])
    try await sync.join(enrolment)
    try PendingEnrollment.remove(from: stateDirectory)
  }

  /// The request to join a fleet, as a bundle for its hub. The box remembers it until the answer comes. Throws
  /// `SyncError`, and what the disk and the audit log throw.
  func enrollmentRequest(token text: String, actor: String) async throws -> [UInt8] {
    let token: EnrollmentToken
    do { token = try EnrollmentToken(parsing: text) } catch { throw SyncError.token(error) }
    let hub = token.hub.hasSuffix("/") ? String(token.hub.dropLast()) : token.hub
    guard HubAddress(url: hub) != nil else { throw SyncError.token(.malformed("the hub's address can't be read")) }
    if let enrolment = await sync.currentEnrolment() { throw SyncError.alreadyEnrolled(hub: enrolment.hub) }

    let request = BundleEnrollment(
      secret: token.secret, key: identity.key.verifyingKey, name: sync.configuration.name,
      agentVersion: sync.configuration.agentVersion)
    try await audit(
      .enroll, actor,
      ["event": "requested", "hub": .string(hub), "root": .string(token.root.hex), "way": "bundle"])
    try PendingEnrollment(hub: hub, pin: token.pin, root: token.root, proof: request.proof).save(in: stateDirectory)
    let content = try SmallBundle.content([
      (.enrollment, identity.id.hex, try JSONValue(encoding: request).encoded())
    ])
    let signed = try await signed(hub: hub, content.entries, content.length, content.sha256)
    return BundleFormat.head(signed) + content.bytes
  }

  /// A manifest of this box's, under its next sequence number.
  func signed(
    hub: String, _ entries: UInt64, _ length: UInt64, _ sha256: Digest
  ) async throws -> SignedBundleManifest {
    let manifest = BundleManifest(
      origin: .box, serial: Int64(clamping: try await tables.nextSequence()), created: sync.surroundings.clock.now(),
      devices: [identity.id], hub: hub, key: identity.key.verifyingKey, entries: entries, length: length,
      sha256: sha256)
    return SignedBundleManifest(manifest, key: identity.key, keyID: identity.id.hex)
  }
}
