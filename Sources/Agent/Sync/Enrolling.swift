import Fleet
import Storage
import Trust
import Web

extension SyncService {
  /// Joins the fleet that a token names. The box's key was durable before; the root of trust is taken only with the
  /// digest that the token carries; the enrolment is saved last and in one step. Whatever fails on the way, the same
  /// token can be given again: the hub knows the key that used it.
  ///
  /// Throws `SyncError`, and what the disk and the audit log throw.
  @discardableResult
  public func enroll(token text: String, actor: String = "system") async throws -> Enrolment {
    let token: EnrollmentToken
    do {
      token = try EnrollmentToken(parsing: text)
    } catch {
      throw SyncError.token(error)
    }
    let hub = token.hub.hasSuffix("/") ? String(token.hub.dropLast()) : token.hub
    guard HubAddress(url: hub) != nil else { throw SyncError.token(.malformed("the hub's address can't be read")) }
    // The hub decides over it by its own clock. That it is over for certain, this box knows by the floor alone; and the
    // box that used it may give it again.
    if enrolment?.root != token.root, token.expires <= surroundings.clock.judgement().floor {
      throw SyncError.token(.expired)
    }
    if let enrolment, enrolment.hub != hub || enrolment.root != token.root {
      throw SyncError.alreadyEnrolled(hub: enrolment.hub)
    }

    try await audit(
      .enroll, actor: actor, ["event": "requested", "hub": .string(hub), "root": .string(token.root.hex)])
    do {
      let enrolment = try await join(hub, token)
      try await audit(
        .enroll, actor: actor,
        [
          "event": "enrolled", "hub": .string(hub), "root": .string(token.root.hex),
          "witness": .string(enrolment.witness),
        ])
      try enrolment.save(in: configuration.stateDirectory)
      enrolled(enrolment)
      return enrolment
    } catch {
      try await audit(
        .enroll, actor: actor, ["event": "failed", "hub": .string(hub), "reason": .string("\(error)".brief)])
      throw error
    }
  }

  /// Everything but the last step.
  private func join(_ hub: String, _ token: EnrollmentToken) async throws -> Enrolment {
    let path = "/v1/enroll"
    let request = EnrollRequest(
      secret: token.secret, publicKey: identity.key.verifyingKey.hex, name: configuration.name,
      agentVersion: configuration.agentVersion)
    let answer = try await client(hub, token.pin).post(path, request, as: EnrollResponse.self)

    guard answer.deviceID == identity.id else { throw SyncError.wrongIdentity }
    guard let root = Base64.decode(answer.root) else {
      throw SyncError.garbage(what: path, reason: "the root is not base64")
    }
    guard Digest(of: root) == token.root else { throw SyncError.wrongRoot }
    guard let witness = try? NoteVerifier(vkey: answer.witness), witness.algorithm == NoteVerifier.cosignatureV1 else {
      throw SyncError.garbage(what: path, reason: "the witness key is no cosigner's key")
    }
    // The same fleet again keeps the metadata that it has.
    if enrolment?.root != token.root { try await registry.trust(root: root) }
    return Enrolment(
      hub: hub, pin: token.pin, root: token.root, deviceID: identity.id, witness: answer.witness,
      sealTo: answer.sealTo, enrolledAt: surroundings.clock.now())
  }
}
