import Storage
import Trust

/// The fleet's policy that this box took over last: one row of agent.sqlite. With the row it is in force; the document's
/// file beside the database was there before.
struct FleetPolicyRow: Sendable, Hashable {
  static let schema = """
    CREATE TABLE fleet_policy (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      name TEXT NOT NULL,
      path TEXT NOT NULL,
      sha256 TEXT NOT NULL,
      serial INTEGER NOT NULL,
      document BLOB NOT NULL,
      adopted_at INTEGER NOT NULL,
      replayed INTEGER NOT NULL,
      changed INTEGER NOT NULL
    ) STRICT;
    """

  var name: String
  /// Of the target.
  var path: String
  var sha256: Digest
  var serial: Int64
  /// The same bytes as in the file: what a damaged file is compared with, and its stale roles are known by.
  var document: [UInt8]
  /// Unix seconds.
  var adoptedAt: Int64
  /// How many recorded decisions it was tried on, and how many of them come out otherwise.
  var replayed: Int
  var changed: Int

  static func load(_ connection: Connection) throws -> FleetPolicyRow? {
    guard let row = try connection.query("SELECT * FROM fleet_policy").first,
      let sha256 = Digest(hex: try row.text("sha256"))
    else { return nil }
    return FleetPolicyRow(
      name: try row.text("name"), path: try row.text("path"), sha256: sha256, serial: try row.integer("serial"),
      document: try row.blob("document"), adoptedAt: try row.integer("adopted_at"),
      replayed: Int(clamping: try row.integer("replayed")), changed: Int(clamping: try row.integer("changed")))
  }

  func save(_ connection: Connection) throws {
    try connection.execute(
      """
      INSERT OR REPLACE INTO fleet_policy (id, name, path, sha256, serial, document, adopted_at, replayed, changed)
      VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)
      """, .text(name), .text(path), .text(sha256.hex), .integer(serial), .blob(document), .integer(adoptedAt),
      SQLValue(replayed), SQLValue(changed))
  }
}

/// The highest serial of each policy's name that the box has had, and which policy it was, in a file beside the database:
/// an older database in its place brings no older policy back, and one without the row no box without a policy.
struct SerialFile: Sendable {
  /// A policy that the box has had.
  struct Had: Sendable, Hashable {
    var serial: Int64
    /// Nil: an agent wrote this down that kept the serial alone.
    var sha256: Digest?

    /// Whether a policy is this one or a newer one: no serial stands for two.
    func admits(_ serial: Int64, _ sha256: Digest) -> Bool {
      serial > self.serial || (serial == self.serial && (self.sha256 ?? sha256) == sha256)
    }
  }

  let path: String

  /// What can't be read counts as nothing.
  func load() -> [String: Had] {
    guard let bytes = try? DurableFile.read(path, limit: 1 << 16),
      let members = (try? JSONValue(parsing: bytes))?.object
    else { return [:] }
    return members.compactMapValues { member in
      (member["serial"]?.integer ?? member.integer).map {
        Had(serial: $0, sha256: member["sha256"]?.string.flatMap { Digest(hex: $0) })
      }
    }
  }

  func save(_ serials: [String: Had]) throws(StorageError) {
    let members = serials.mapValues { had -> JSONValue in
      ["serial": .integer(had.serial), "sha256": had.sha256.map { .string($0.hex) } ?? .null]
    }
    try DurableFile.replace(path, with: JSONValue.object(members).encoded())
  }
}
