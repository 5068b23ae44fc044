import Fleet
import Storage
import Trust

/// What the boxes' signed requests change. Each runs in one transaction that first takes the sequence number.
extension HubStore {
  /// No more events than these are kept of a box; the oldest go first.
  static let keptItems: Int64 = 1000
  /// Bytes of one event's body as JSON.
  static let largestEvent = 16 << 10
  /// Bytes of one report as JSON.
  static let largestReport = 1 << 20

  public struct SyncFacts: Sendable {
    public let assigned: [String]?
    public let checkpoint: WitnessedHead?
    public let hasReport: Bool
  }

  /// Runs `body` for a box whose signature was checked, as one transaction with its sequence number. Throws
  /// `HubError`: unknown_device, device_revoked, stale_sequence; then nothing has changed.
  func act<T: Sendable>(
    as id: DeviceID, sequence: UInt64, now: Int64, _ body: @escaping @Sendable (Connection, DeviceRecord) throws -> T
  ) async throws -> T {
    let number = try HubStore.storable(sequence)
    return try await database.write { connection in
      guard let device = try HubStore.device(id, connection) else {
        throw HubError(.unknownDevice, "this hub does not know the box \(id)", hint: "enrol it with a token")
      }
      if device.revokedAt != nil { throw HubStore.revoked }
      try HubStore.demandFresh(sequence, after: device.lastSequence)
      try connection.execute(
        "UPDATE devices SET last_sequence = ?, last_seen = ? WHERE id = ?", number, .integer(now), .text(id.hex))
      return try body(connection, device)
    }
  }

  /// Keeps what the box says of itself.
  public func recordSync(_ id: DeviceID, sequence: UInt64, request: SyncRequest, now: Int64) async throws -> SyncFacts {
    try await act(as: id, sequence: sequence, now: now) { connection, device in
      try HubStore.keep(state: request, of: device, connection)
      return SyncFacts(
        assigned: device.assigned, checkpoint: device.checkpoint, hasReport: device.reportedAt != nil)
    }
  }

  /// The same inside a transaction.
  static func keep(state: SyncRequest, of device: DeviceRecord, _ connection: Connection) throws {
    try connection.execute(
      "UPDATE devices SET state = ?, name = ?, agent_version = ? WHERE id = ?",
      .text(try JSONValue(encoding: state).text), .text(state.name), .text(state.agentVersion),
      .text(device.id.hex))
  }

  /// Keeps the items and returns all their ids: a repeated one is known by its id and changes nothing. Bodies beyond
  /// the limits are replaced by a note of their size, so that they don't block what waits behind them.
  public func recordOutbox(
    _ id: DeviceID, sequence: UInt64, items: [OutboxItem], now: Int64
  ) async throws -> [String] {
    try await act(as: id, sequence: sequence, now: now) { connection, device in
      try HubStore.keep(items, of: device, now: now, connection)
      return items.map(\.id)
    }
  }

  /// The same inside a transaction.
  static func keep(_ items: [OutboxItem], of device: DeviceRecord, now: Int64, _ connection: Connection) throws {
    let id = device.id
    for item in items {
      let isReport = item.kind == OutboxItem.report
      var body = item.body.text
      if body.utf8.count > (isReport ? HubStore.largestReport : HubStore.largestEvent) {
        body = JSONValue.object(["dropped": "too large", "bytes": .integer(Int64(body.utf8.count))]).text
      }
      try connection.execute(
        """
        INSERT INTO outbox_items (device_id, id, kind, created_at, received_at, body) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (device_id, id) DO NOTHING
        """, .text(id.hex), .text(item.id), .text(item.kind), .integer(item.created), .integer(now),
        isReport ? .null : .text(body))
      guard connection.changes > 0 else { continue }
      if !isReport { try HubStore.noteBreakGlass(item, of: id, connection) }
      guard isReport else { continue }
      let (content, signed) = HubStore.openReport(body, key: device.key)
      try connection.execute(
        """
        INSERT INTO reports (device_id, created_at, received_at, signed, body) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (device_id) DO UPDATE SET created_at = excluded.created_at, received_at = excluded.received_at,
          signed = excluded.signed, body = excluded.body
        """, .text(id.hex), .integer(item.created), .integer(now), SQLValue(signed), .text(content))
    }
    try connection.execute(
      """
      DELETE FROM outbox_items WHERE device_id = ?1 AND number <= (
        SELECT number FROM outbox_items WHERE device_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)
      """, .text(id.hex), .integer(HubStore.keptItems))
  }

  /// A report out of its DSSE envelope, and whether the box's key signed it; anything else is kept as it came.
  private static func openReport(_ body: String, key: VerifyingKey) -> (body: String, signed: Bool) {
    guard let value = try? JSONValue(parsing: body.utf8), let envelope = try? value.decoded(as: DSSEEnvelope.self),
      envelope.payloadType == ComplianceReport.payloadType,
      let payload = envelope.verifiedPayload(key: key), let report = try? JSONValue(parsing: payload)
    else { return (body, false) }
    return (report.text, true)
  }

  /// The witness's atomic step: compares with the recorded head, and records the new one. When this returns
  /// `.accepted`, the new head is on disk. A refusal changes nothing. Throws `HubError` for a box that is unknown or was
  /// revoked meanwhile.
  public func recordCheckpoint(
    _ id: DeviceID, request: AddCheckpoint, cosign: @escaping @Sendable (SignedNote) -> SignedNote, now: Int64
  ) async throws -> WitnessVerdict {
    try await database.write { connection in
      guard let device = try HubStore.device(id, connection), device.revokedAt == nil else { throw HubStore.revoked }
      let verdict = request.verdict(recorded: device.checkpoint.map { ($0.size, $0.root) })
      guard verdict == .accepted else { return verdict }
      return try HubStore.cosign(request, of: device, cosign: cosign, now: now, connection)
    }
  }

  /// Records a head that was found to continue the recorded one.
  static func cosign(
    _ request: AddCheckpoint, of device: DeviceRecord, cosign: (SignedNote) -> SignedNote, now: Int64,
    _ connection: Connection
  ) throws -> WitnessVerdict {
    let id = device.id
    let size = request.checkpoint.size
    guard size <= UInt64(Int64.max) else { return .malformed("the size is beyond what the hub can store") }
    try connection.execute(
      """
      INSERT INTO checkpoints (device_id, size, root, note, cosigned_at) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (device_id) DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note,
        cosigned_at = excluded.cosigned_at
      """, .text(id.hex), SQLValue(size), .blob(request.checkpoint.root.bytes), .text(cosign(request.note).encoded),
      .integer(now))
    // What the box said of its log when the sync began is older than the head that it shows now.
    if var state = device.state, state.audit.size < size {
      state.audit = AuditHead(size: size, root: request.checkpoint.root)
      try connection.execute(
        "UPDATE devices SET state = ? WHERE id = ?", .text(try JSONValue(encoding: state).text), .text(id.hex))
    }
    return .accepted
  }

  // MARK: - What they told

  public func report(_ id: DeviceID) async throws -> StoredReport? {
    try await database.read { connection in
      guard let row = try connection.query("SELECT * FROM reports WHERE device_id = ?", .text(id.hex)).first else {
        return nil
      }
      return StoredReport(
        createdAt: try row.integer("created_at"), receivedAt: try row.integer("received_at"),
        isSigned: try row.bool("signed"), body: try JSONValue(parsing: row.text("body").utf8))
    }
  }

  /// The newest events first.
  public func events(_ id: DeviceID, limit: Int) async throws -> [StoredEvent] {
    try await database.read { connection in
      try connection.query(
        "SELECT * FROM outbox_items WHERE device_id = ? AND body IS NOT NULL ORDER BY number DESC LIMIT ?",
        .text(id.hex), SQLValue(limit)
      ).map { row in
        StoredEvent(
          id: try row.text("id"), kind: try row.text("kind"), createdAt: try row.integer("created_at"),
          receivedAt: try row.integer("received_at"), body: try JSONValue(parsing: row.text("body").utf8))
      }
    }
  }
}
