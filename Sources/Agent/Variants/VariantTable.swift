import Models
import Storage
import Trust

/// A variant as it is kept.
struct StoredVariant: Sendable, Hashable {
  let variant: ModelVariant
  /// The label of the caller who made it.
  let createdBy: String
  /// Unix seconds.
  let createdAt: Int64

  var name: String { variant.name }
}

/// The variants' table in agent.sqlite.
enum VariantTable {
  static let schema = """
    CREATE TABLE variants (
      name TEXT NOT NULL PRIMARY KEY,
      base TEXT NOT NULL,
      system TEXT,
      parameters TEXT NOT NULL,
      messages TEXT NOT NULL,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    """

  static func all(_ connection: Connection) throws -> [StoredVariant] {
    try connection.query("SELECT * FROM variants ORDER BY name").compactMap(stored)
  }

  /// A row that this program can't read is left out: nobody can ask it.
  private static func stored(_ row: Row) throws -> StoredVariant? {
    guard let parameters = try? JSONValue(parsing: row.text("parameters").utf8).object,
      let messages = try? JSONValue(parsing: row.text("messages").utf8).array,
      let variant = try? ModelVariant(
        name: row.text("name"), base: row.text("base"), system: row.optionalText("system"), parameters: parameters,
        messages: messages.map {
          ModelVariant.Message(role: $0["role"]?.string ?? "", content: $0["content"]?.string ?? "")
        })
    else { return nil }
    return StoredVariant(
      variant: variant, createdBy: try row.text("created_by"), createdAt: try row.integer("created_at"))
  }

  static func put(_ stored: StoredVariant, _ connection: Connection) throws {
    let variant = stored.variant
    func text(_ value: JSONValue) -> SQLValue { .text(String(decoding: value.encoded(), as: UTF8.self)) }
    try connection.execute(
      """
      INSERT OR REPLACE INTO variants (name, base, system, parameters, messages, created_by, created_at)
      VALUES (?, ?, ?, ?, ?, ?, ?)
      """,
      .text(variant.name), .text(variant.base), SQLValue(variant.system), text(.object(variant.parameters)),
      text(variant.messagesJSON), .text(stored.createdBy), .integer(stored.createdAt))
  }

  static func remove(_ name: String, _ connection: Connection) throws {
    try connection.execute("DELETE FROM variants WHERE name = ?", .text(name))
  }
}
