import Access
import Storage
import Trust

/// Bindings and tokens in agent.sqlite.
enum AccessTable {
  static let schema = """
    CREATE TABLE bindings (
      role TEXT NOT NULL,
      subject TEXT NOT NULL,
      PRIMARY KEY (role, subject)
    ) STRICT;
    CREATE TABLE tokens (
      name TEXT PRIMARY KEY,
      digest TEXT NOT NULL UNIQUE,
      created INTEGER NOT NULL,
      created_by TEXT NOT NULL,
      expires INTEGER,
      last_use INTEGER
    ) STRICT;
    """

  /// A token that was once seen to have expired, and when.
  static let ended = "ALTER TABLE tokens ADD COLUMN ended INTEGER;"

  /// What a token is narrowed to: a JSON array of words.
  static let scopes = "ALTER TABLE tokens ADD COLUMN scope TEXT;"

  static func bindings(_ connection: Connection) throws -> [Binding] {
    try connection.query("SELECT role, subject FROM bindings").map {
      Binding(role: try $0.text("role"), subject: try $0.text("subject"))
    }
  }

  static func tokens(_ connection: Connection) throws -> [TokenRecord] {
    try connection.query("SELECT * FROM tokens ORDER BY name").compactMap { row in
      guard let digest = Digest(hex: try row.text("digest")) else { return nil }
      return TokenRecord(
        name: try row.text("name"), digest: digest, created: try row.integer("created"),
        createdBy: try row.text("created_by"), expires: try row.optionalInteger("expires"),
        lastUse: try row.optionalInteger("last_use"), ended: try row.optionalInteger("ended"),
        scope: try scope(row))
    }
  }

  /// A scope that can't be read leaves nothing: whoever damaged it must not have widened the token.
  private static func scope(_ row: Row) throws -> Scope? {
    guard let text = try row.optionalText("scope") else { return nil }
    let words = (try? JSONValue(parsing: text.utf8))?.array?.compactMap(\.string) ?? []
    return (try? Scope(words: words)) ?? Scope([])
  }

  static func insert(_ binding: Binding, _ connection: Connection) throws {
    try connection.execute(
      "INSERT OR IGNORE INTO bindings (role, subject) VALUES (?, ?)", .text(binding.role), .text(binding.subject))
  }

  static func delete(_ binding: Binding, _ connection: Connection) throws {
    try connection.execute(
      "DELETE FROM bindings WHERE role = ? AND subject = ?", .text(binding.role), .text(binding.subject))
  }

  static func insert(_ token: TokenRecord, _ connection: Connection) throws {
    let scope = token.scope.map { scope in
      String(decoding: JSONValue.array(scope.words.map(JSONValue.string)).encoded(), as: UTF8.self)
    }
    try connection.execute(
      "INSERT INTO tokens (name, digest, created, created_by, expires, scope) VALUES (?, ?, ?, ?, ?, ?)",
      .text(token.name), .text(token.digest.hex), .integer(token.created), .text(token.createdBy),
      SQLValue(token.expires), SQLValue(scope))
  }

  /// The token and every binding that names it: a later token of the same name starts with nothing.
  static func deleteToken(_ name: String, _ connection: Connection) throws {
    try connection.execute("DELETE FROM tokens WHERE name = ?", .text(name))
    try connection.execute("DELETE FROM bindings WHERE subject = ?", .text(Subject.token(name).description))
  }

  /// Nil: it is good again.
  static func setEnded(_ digest: Digest, _ time: Int64?, _ connection: Connection) throws {
    try connection.execute("UPDATE tokens SET ended = ? WHERE digest = ?", SQLValue(time), .text(digest.hex))
  }

  static func setLastUse(_ digest: Digest, _ time: Int64, _ connection: Connection) throws {
    try connection.execute("UPDATE tokens SET last_use = ? WHERE digest = ?", .integer(time), .text(digest.hex))
  }
}
