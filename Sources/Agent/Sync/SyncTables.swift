import Fleet
import Storage
import Trust

/// What the sync keeps in agent.sqlite: numbers and words by key, and the outbox.
struct SyncTables: Sendable {
  static let schema = """
    CREATE TABLE sync_state (
      key TEXT NOT NULL PRIMARY KEY,
      value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outbox (
      id TEXT NOT NULL PRIMARY KEY,
      kind TEXT NOT NULL,
      priority INTEGER NOT NULL,
      created INTEGER NOT NULL,
      body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX outbox_order ON outbox (priority, created, id);
    """

  let database: Database

  // MARK: sequence

  /// The next number for a signed request, durable before it is used.
  func nextSequence() async throws -> UInt64 {
    try await database.write { connection in
      let next = try SyncTables.sequence(connection) + 1
      try SyncTables.set("sequence", String(next), connection)
      return next
    }
  }

  /// The hub has seen numbers up to `last`: the next one is above it.
  func jumpSequence(past last: UInt64) async throws {
    try await database.write { connection in
      let now = try SyncTables.sequence(connection)
      if last > now { try SyncTables.set("sequence", String(last), connection) }
    }
  }

  private static func sequence(_ connection: Connection) throws -> UInt64 {
    try get("sequence", connection).flatMap { UInt64($0) } ?? 0
  }

  // MARK: values

  func value(_ key: String) async throws -> String? { try await database.read { try SyncTables.get(key, $0) } }

  /// nil removes the key.
  func setValue(_ key: String, _ value: String?) async throws {
    try await database.write { try SyncTables.set(key, value, $0) }
  }

  private static func get(_ key: String, _ connection: Connection) throws -> String? {
    try connection.query("SELECT value FROM sync_state WHERE key = ?", .text(key)).first?.text("value")
  }

  private static func set(_ key: String, _ value: String?, _ connection: Connection) throws {
    guard let value else {
      try connection.execute("DELETE FROM sync_state WHERE key = ?", .text(key))
      return
    }
    try connection.execute(
      "INSERT INTO sync_state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
      .text(key), .text(value))
  }

  // MARK: outbox

  /// Keeps an item until the hub has it. A report says all that an older one said and replaces it.
  func add(_ item: OutboxItem) async throws {
    try await database.write { try SyncTables.insert(item, $0) }
  }

  /// The same inside a transaction, with what the hub is to hear of.
  static func insert(_ item: OutboxItem, _ connection: Connection) throws {
    if item.kind == OutboxItem.report {
      try connection.execute("DELETE FROM outbox WHERE kind = ?", .text(item.kind))
    }
    try connection.execute(
      "INSERT OR REPLACE INTO outbox (id, kind, priority, created, body) VALUES (?, ?, ?, ?, ?)", .text(item.id),
      .text(item.kind), SQLValue(item.priority), .integer(item.created),
      .text(String(decoding: item.body.encoded(), as: UTF8.self)))
  }

  func pending() async throws -> Int {
    try await database.read { try Int($0.query("SELECT count(*) AS n FROM outbox").first?.integer("n") ?? 0) }
  }

  /// The items that go first, at most `limit` of them and about `bytes` of bodies, but one at least.
  func batch(limit: Int, bytes: Int) async throws -> [OutboxItem] {
    try await database.read { connection in
      var room = bytes
      var items: [OutboxItem] = []
      let rows = try connection.query(
        "SELECT * FROM outbox ORDER BY priority, created, id LIMIT ?", SQLValue(limit))
      for row in rows {
        let body = try row.text("body")
        room -= body.utf8.count
        if room < 0, !items.isEmpty { break }
        items.append(
          OutboxItem(
            id: try row.text("id"), kind: try row.text("kind"), priority: Int(try row.integer("priority")),
            created: try row.integer("created"), body: try JSONValue(parsing: body.utf8)))
      }
      return items
    }
  }

  /// Forgets items that are on the hub's disk; returns how many there were.
  func remove(_ ids: [String]) async throws -> Int {
    try await database.write { connection in
      var count = 0
      for id in ids {
        try connection.execute("DELETE FROM outbox WHERE id = ?", .text(id))
        count += connection.changes
      }
      return count
    }
  }
}
