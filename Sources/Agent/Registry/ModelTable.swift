import Models
import Storage
import Trust

/// The registry's table in agent.sqlite: one row a model file, by name, version and digest.
enum ModelTable {
  /// The step of the database's migrations that makes it.
  static let schema = """
    CREATE TABLE models (
      name TEXT NOT NULL,
      version TEXT NOT NULL,
      sha256 TEXT NOT NULL,
      path TEXT NOT NULL,
      length INTEGER NOT NULL,
      custom TEXT NOT NULL,
      signers TEXT NOT NULL,
      state TEXT NOT NULL CHECK (state IN ('fetching', 'staged', 'active', 'corrupt')),
      installed_at INTEGER,
      problem TEXT,
      failures INTEGER NOT NULL DEFAULT 0,
      retired INTEGER NOT NULL DEFAULT 0,
      PRIMARY KEY (name, version, sha256)
    ) STRICT;
    """

  static func all(_ connection: Connection) throws -> [InstalledModel] {
    try connection.query("SELECT * FROM models ORDER BY name, version").compactMap(model)
  }

  /// A row that this program can't read is left out: its model is fetched again.
  private static func model(_ row: Row) throws -> InstalledModel? {
    guard let digest = Digest(hex: try row.text("sha256")), let state = ModelState(rawValue: try row.text("state")),
      let custom = try? JSONValue(parsing: row.text("custom").utf8),
      let manifest = try? ModelManifest(
        target: row.text("path"), length: UInt64(clamping: row.integer("length")), sha256: digest, custom: custom)
    else { return nil }
    return InstalledModel(
      manifest: manifest, state: state, signers: try row.text("signers").split(separator: " ").map(String.init),
      installedAt: try row.optionalInteger("installed_at"), problem: try row.optionalText("problem"),
      failures: Int(clamping: try row.integer("failures")), isRetired: try row.bool("retired"))
  }

  static func put(_ model: InstalledModel, _ connection: Connection) throws {
    let manifest = model.manifest
    try connection.execute(
      """
      INSERT INTO models (name, version, sha256, path, length, custom, signers, state, installed_at, problem, failures, retired)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (name, version, sha256) DO UPDATE SET path = excluded.path, length = excluded.length,
        custom = excluded.custom, signers = excluded.signers, state = excluded.state,
        installed_at = excluded.installed_at, problem = excluded.problem, failures = excluded.failures, retired = excluded.retired
      """,
      .text(manifest.name.description), .text(manifest.version.description), .text(manifest.sha256.hex),
      .text(manifest.targetPath), SQLValue(manifest.length),
      .text(String(decoding: manifest.customJSON.encoded(), as: UTF8.self)),
      .text(model.signers.joined(separator: " ")), .text(model.state.rawValue), SQLValue(model.installedAt),
      SQLValue(model.problem), SQLValue(model.failures), SQLValue(model.isRetired))
  }

  static func remove(_ model: InstalledModel, _ connection: Connection) throws {
    try connection.execute(
      "DELETE FROM models WHERE name = ? AND version = ? AND sha256 = ?", .text(model.name.description),
      .text(model.version.description), .text(model.manifest.sha256.hex))
  }
}
