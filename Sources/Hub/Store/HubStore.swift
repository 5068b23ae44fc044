import Fleet
import Storage
import Trust

/// The hub's database. Every request of a box takes its sequence number in the transaction of its effect, so that
/// a crash leaves both or neither, and a replayed request changes nothing.
public final class HubStore: Sendable {
  let database: Database

  public init(path: String) throws {
    database = try Database(path: path, migrations: hubSchema)
  }

  public func close() { database.close() }

  // MARK: - Administrators

  public func setAdminToken(_ token: String, name: String, now: Int64) async throws {
    let digest = Digest(of: Array(token.utf8)).bytes
    try await database.write { connection in
      try connection.execute(
        "INSERT OR REPLACE INTO admin_tokens (digest, name, created_at) VALUES (?, ?, ?)", .blob(digest), .text(name),
        .integer(now))
    }
  }

  // MARK: - Devices

  private static let columns = """
    d.id, d.public_key, d.name, d.agent_version, d.enrolled_at, d.last_seen, d.last_sequence, d.revoked_at, d.assigned,
    d.state, c.size, c.root, c.note, c.cosigned_at, r.received_at AS reported_at
    FROM devices d LEFT JOIN checkpoints c ON c.device_id = d.id LEFT JOIN reports r ON r.device_id = d.id
    """

  public func device(_ id: DeviceID) async throws -> DeviceRecord? {
    try await database.read { try HubStore.device(id, $0) }
  }

  static func device(_ id: DeviceID, _ connection: Connection) throws -> DeviceRecord? {
    try connection.query("SELECT \(columns) WHERE d.id = ?", .text(id.hex)).first.flatMap { try record($0) }
  }

  /// All boxes by name, the revoked ones too.
  public func devices() async throws -> [DeviceRecord] {
    try await database.read { connection in
      try connection.query("SELECT \(HubStore.columns) ORDER BY d.name, d.id").compactMap { try HubStore.record($0) }
    }
  }

  /// False when there is no such box.
  public func revoke(_ id: DeviceID, now: Int64) async throws -> Bool {
    try await database.write { connection in
      try connection.execute(
        "UPDATE devices SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", .integer(now), .text(id.hex))
      return connection.changes > 0
    }
  }

  /// The box of an administrator's request. Throws `HubError` (notFound).
  func known(_ text: String) async throws -> DeviceRecord {
    guard let id = DeviceID(text), let device = try await device(id) else {
      throw HubError(.notFound, "this hub has no box \(text)", hint: "see: skerry hub device list")
    }
    return device
  }

  /// Nil assigns all models. False when there is no such box.
  public func assign(_ id: DeviceID, models: [String]?) async throws -> Bool {
    let text = models.map { JSONValue.array($0.map { .string($0) }).text }
    return try await database.write { connection in
      try connection.execute("UPDATE devices SET assigned = ? WHERE id = ?", SQLValue(text), .text(id.hex))
      return connection.changes > 0
    }
  }

  private static func record(_ row: Row) throws -> DeviceRecord? {
    guard let id = DeviceID(try row.text("id")), let key = VerifyingKey(bytes: try row.blob("public_key")) else {
      return nil
    }
    var checkpoint: WitnessedHead?
    if let size = try row.optionalInteger("size"), let root = Digest(bytes: try row.blob("root")) {
      checkpoint = WitnessedHead(
        size: UInt64(size), root: root, cosignedAt: try row.integer("cosigned_at"), note: try row.text("note"))
    }
    func json(_ column: String) throws -> JSONValue? {
      try row.optionalText(column).flatMap { try? JSONValue(parsing: $0.utf8) }
    }
    return DeviceRecord(
      id: id, key: key, name: try row.text("name"), agentVersion: try row.text("agent_version"),
      enrolledAt: try row.integer("enrolled_at"), lastSeen: try row.integer("last_seen"),
      lastSequence: UInt64(try row.integer("last_sequence")), revokedAt: try row.optionalInteger("revoked_at"),
      assigned: try json("assigned")?.array?.compactMap(\.string), state: try? json("state")?.decoded(),
      checkpoint: checkpoint, reportedAt: try row.optionalInteger("reported_at"))
  }
}
