import Fleet
import Storage
import Trust

/// A grant as the hub knows it. Times are seconds since 1970.
public struct BreakGlassRecord: Sendable {
  public let grant: BreakGlassGrant
  public let revokedAt: Int64?
  /// What the box told of its use; nil: nothing yet.
  public let used: JSONValue?
  /// What the box told when the door was shut again.
  public let closed: JSONValue?
}

extension HubStore {
  /// The codes themselves are nowhere; a grant has their digests.
  static let breakGlassSchema = """
    CREATE TABLE break_glass (
      id TEXT PRIMARY KEY,
      device_id TEXT NOT NULL REFERENCES devices (id),
      issued INTEGER NOT NULL,
      expires INTEGER NOT NULL,
      body TEXT NOT NULL,
      revoked_at INTEGER,
      used TEXT,
      closed TEXT
    ) STRICT;
    CREATE INDEX break_glass_device ON break_glass (device_id, issued);
    """

  /// What a box may open now, in a fixed order: neither used nor revoked nor expired.
  func breakGlass(_ device: DeviceID, now: Int64) async throws -> [BreakGlassGrant] {
    try await database.read { try HubStore.breakGlass(device, now: now, $0) }
  }

  private static func breakGlass(
    _ device: DeviceID, now: Int64, _ connection: Connection
  ) throws -> [BreakGlassGrant] {
    try connection.query(
      """
      SELECT body FROM break_glass WHERE device_id = ? AND revoked_at IS NULL AND used IS NULL AND expires > ?
      ORDER BY issued, id
      """, .text(device.hex), .integer(now)
    ).map { try JSONValue(parsing: $0.text("body").utf8).decoded(as: BreakGlassGrant.self) }
  }

  /// All grants of a box, the newest first.
  func breakGlassRecords(_ device: DeviceID) async throws -> [BreakGlassRecord] {
    try await database.read { connection in
      try connection.query(
        "SELECT * FROM break_glass WHERE device_id = ? ORDER BY issued DESC, id LIMIT 1000", .text(device.hex)
      ).map { row in
        func told(_ column: String) throws -> JSONValue? {
          try row.optionalText(column).map { try JSONValue(parsing: $0.utf8) }
        }
        return BreakGlassRecord(
          grant: try JSONValue(parsing: row.text("body").utf8).decoded(as: BreakGlassGrant.self),
          revokedAt: try row.optionalInteger("revoked_at"), used: try told("used"), closed: try told("closed"))
      }
    }
  }

  /// Throws `HubError` (conflict) when the box would have more than a statement may list.
  func add(_ grants: [BreakGlassGrant], for device: DeviceID, now: Int64) async throws {
    try await database.write { connection in
      let live = try HubStore.breakGlass(device, now: now, connection).count
      guard live + grants.count <= BreakGlassGrant.most else {
        throw HubError(
          .conflict, "the box has \(live) of at most \(BreakGlassGrant.most) grants that are neither used nor over",
          hint: "revoke some: skerry hub break-glass revoke DEVICE ID")
      }
      for grant in grants {
        try connection.execute(
          "INSERT INTO break_glass (id, device_id, issued, expires, body) VALUES (?, ?, ?, ?, ?)", .text(grant.id),
          .text(device.hex), .integer(grant.issued), .integer(grant.expires),
          .text(try JSONValue(encoding: grant).text))
      }
    }
  }

  /// False when the box has no such grant that could still be used.
  func revokeBreakGlass(_ id: String, of device: DeviceID, now: Int64) async throws -> Bool {
    try await database.write { connection in
      try connection.execute(
        "UPDATE break_glass SET revoked_at = ? WHERE id = ? AND device_id = ? AND revoked_at IS NULL AND used IS NULL",
        .integer(now), .text(id), .text(device.hex))
      return connection.changes > 0
    }
  }

  /// What a box tells of its doors, inside the transaction that takes its outbox. Of another box's grant it tells nothing.
  static func noteBreakGlass(_ item: OutboxItem, of device: DeviceID, _ connection: Connection) throws {
    guard item.body["event"]?.string == BreakGlassEvent.name, let id = item.body["id"]?.string,
      let column = ["opened": "used", "closed": "closed"][item.body["did"]?.string ?? ""]
    else { return }
    let body = item.body.text
    guard body.utf8.count <= HubStore.largestEvent else { return }
    try connection.execute(
      "UPDATE break_glass SET \(column) = coalesce(\(column), ?) WHERE id = ? AND device_id = ?", .text(body),
      .text(id), .text(device.hex))
  }
}
