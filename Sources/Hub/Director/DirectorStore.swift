import Storage
import Trust

/// What the director follows, in the hub's database: the models of the last publication that came through the admin API.
/// Files that somebody puts into the repository's folder, however well they are signed, are none of its business.
extension HubStore {
  static let directorSchema = """
    CREATE TABLE director_source (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      pending INTEGER NOT NULL,
      targets TEXT NOT NULL
    ) STRICT;
    """

  /// The models that the director may name; nil before the first publication. `isPending` tells of a commit that a
  /// crash interrupted.
  func directed() async throws -> (targets: [TUFTarget], isPending: Bool)? {
    try await database.read { connection in
      guard let row = try connection.query("SELECT pending, targets FROM director_source WHERE id = 1").first else {
        return nil
      }
      let listed = try JSONValue(parsing: row.text("targets").utf8).array ?? []
      return (listed.compactMap(HubStore.target), try row.bool("pending"))
    }
  }

  /// A commit begins, or has ended without effect.
  func setDirectorPending(_ isPending: Bool) async throws {
    try await database.write { connection in
      try connection.execute(
        """
        INSERT INTO director_source (id, pending, targets) VALUES (1, ?1, '[]')
        ON CONFLICT (id) DO UPDATE SET pending = ?1
        """, SQLValue(isPending))
    }
  }

  /// From now on the director names these models and no others.
  func direct(_ targets: [TUFTarget]) async throws {
    let text = JSONValue.array(targets.compactMap(HubStore.json)).text
    try await database.write { connection in
      try connection.execute(
        """
        INSERT INTO director_source (id, pending, targets) VALUES (1, 0, ?1)
        ON CONFLICT (id) DO UPDATE SET pending = 0, targets = ?1
        """, .text(text))
    }
  }

  /// A target without a SHA-256 is none that a box could take.
  private static func json(_ target: TUFTarget) -> JSONValue? {
    guard let digest = target.sha256 else { return nil }
    return [
      "path": .string(target.path), "length": .integer(Int64(clamping: target.length)), "sha256": .string(digest.hex),
      "custom": target.custom ?? .null,
    ]
  }

  private static func target(_ value: JSONValue) -> TUFTarget? {
    guard let path = value["path"]?.string, let length = value["length"]?.integer, length >= 0,
      let digest = value["sha256"]?.string.flatMap({ Digest(hex: $0) })
    else { return nil }
    let custom = value["custom"].flatMap { $0 == .null ? nil : $0 }
    return TUFTarget(path: path, length: UInt64(length), sha256: digest, custom: custom)
  }
}
