import Fleet
import Storage
import Trust

extension HubStore {
  /// Remembers a token by the digest of its secret.
  public func addEnrollmentToken(secret: String, expires: Int64, now: Int64) async throws {
    let digest = Digest(of: Array(secret.utf8)).bytes
    try await database.write { connection in
      // Tokens that expired a month ago unused are of no use even for a good error message.
      try connection.execute(
        "DELETE FROM enrollment_tokens WHERE used_by IS NULL AND expires_at < ?", .integer(now - 30 * 86400))
      try connection.execute(
        "INSERT INTO enrollment_tokens (digest, created_at, expires_at) VALUES (?, ?, ?)", .blob(digest),
        .integer(now), .integer(expires))
    }
  }

  /// Takes a box in and uses the token up. The same box with the same token may repeat it: its first answer may have
  /// been lost. Throws `HubError`: token_unknown, token_used, token_expired, stale_sequence, device_revoked.
  public func enroll(
    key: VerifyingKey, secret: String, name: String, agentVersion: String, sequence: UInt64, now: Int64
  ) async throws -> DeviceID {
    let digest = Digest(of: Array(secret.utf8)).bytes
    return try await database.write { connection in
      try HubStore.enroll(
        key, token: digest, name: name, agentVersion: agentVersion, sequence: sequence, now: now, connection)
    }
  }

  /// The same inside a transaction; `token` is the digest of the token's secret.
  static func enroll(
    _ key: VerifyingKey, token digest: [UInt8], name: String, agentVersion: String, sequence: UInt64, now: Int64,
    _ connection: Connection
  ) throws -> DeviceID {
    let id = DeviceID(key: key)
    let number = try HubStore.storable(sequence)
    guard
      let token = try connection.query(
        "SELECT used_by, expires_at FROM enrollment_tokens WHERE digest = ?", .blob(digest)
      ).first
    else {
      throw HubError(
        .tokenUnknown, "this hub did not make this enrolment token", hint: "ask its operator for a new one")
    }
    let usedBy = try token.optionalText("used_by")
    if let usedBy, usedBy != id.hex {
      throw HubError(
        .tokenUsed, "another box has used this enrolment token; each is good for one box",
        hint: "ask the hub's operator for a new one")
    }
    if usedBy == nil, try token.integer("expires_at") <= now {
      throw HubError(
        .tokenExpired, "this enrolment token has expired", hint: "ask the hub's operator for a new one")
    }
    if let known = try HubStore.device(id, connection) {
      // A token that was used before the box was revoked must not bring it back; a fresh one does.
      if known.revokedAt != nil, usedBy != nil { throw HubStore.revoked }
      try HubStore.demandFresh(sequence, after: known.lastSequence)
    }
    try connection.execute(
      """
      INSERT INTO devices (id, public_key, name, agent_version, enrolled_at, last_seen, last_sequence)
      VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (id) DO UPDATE SET name = excluded.name, agent_version = excluded.agent_version,
        last_seen = excluded.last_seen, last_sequence = excluded.last_sequence, revoked_at = NULL
      """, .text(id.hex), .blob(key.bytes), .text(name), .text(agentVersion), .integer(now), .integer(now), number)
    try connection.execute(
      "UPDATE enrollment_tokens SET used_by = ?, used_at = coalesce(used_at, ?) WHERE digest = ?", .text(id.hex),
      .integer(now), .blob(digest))
    return id
  }

  static let revoked = HubError(
    .deviceRevoked, "this box was revoked on the hub", hint: "enrol it again with a new token if it shall come back")

  static func demandFresh(_ sequence: UInt64, after last: UInt64) throws {
    guard sequence > last else {
      throw HubError(
        .staleSequence, "sequence number \(sequence) was used or passed already; the last one is \(last)",
        hint: "repeat the request with a higher number", last: last)
    }
  }

  static func storable(_ sequence: UInt64) throws -> SQLValue {
    guard let number = Int64(exactly: sequence) else {
      throw HubError(.malformed, "sequence numbers end at \(Int64.max)")
    }
    return .integer(number)
  }
}
