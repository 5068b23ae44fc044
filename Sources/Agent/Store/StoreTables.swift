import FoundationEssentials
import Models
import Storage
import Trust

/// What the box remembers of its store besides the models' rows: who pinned what, what was asked for when, what had to
/// make room, and how far the scrubber is. Counts of references are never among it.
struct StoreMarks: Sendable {
  static let schema = """
    CREATE TABLE pins (
      name TEXT NOT NULL,
      version TEXT NOT NULL,
      pinned_at INTEGER NOT NULL,
      PRIMARY KEY (name, version)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE last_uses (
      sha256 TEXT NOT NULL PRIMARY KEY,
      used_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE evictions (
      path TEXT NOT NULL PRIMARY KEY,
      manifest TEXT NOT NULL,
      evicted_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE scrubs (
      key TEXT NOT NULL PRIMARY KEY,
      value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """

  /// A model that went to make room, and is still wanted.
  struct Eviction: Sendable, Hashable {
    let manifest: ModelManifest
    /// Unix seconds.
    let at: Int64
  }

  /// `NAME:VERSION`.
  var pins: Set<String> = []
  /// Unix seconds.
  var uses: [Digest: Int64] = [:]
  /// By the target's path.
  var evictions: [String: Eviction] = [:]

  func isEvicted(_ manifest: ModelManifest) -> Bool { evictions[manifest.targetPath]?.manifest == manifest }

  static func all(_ connection: Connection) throws -> StoreMarks {
    var marks = StoreMarks()
    for row in try connection.query("SELECT name, version FROM pins") {
      marks.pins.insert("\(try row.text("name")):\(try row.text("version"))")
    }
    for row in try connection.query("SELECT sha256, used_at FROM last_uses") {
      if let digest = Digest(hex: try row.text("sha256")) { marks.uses[digest] = try row.integer("used_at") }
    }
    for row in try connection.query("SELECT path, manifest, evicted_at FROM evictions") {
      // One that can't be read is forgotten: its model comes back.
      guard
        let manifest = try? JSONDecoder().decode(ModelManifest.self, from: Data(try row.text("manifest").utf8))
      else { continue }
      marks.evictions[try row.text("path")] = Eviction(manifest: manifest, at: try row.integer("evicted_at"))
    }
    return marks
  }

  static func pin(_ model: InstalledModel, at now: Int64, _ connection: Connection) throws {
    try connection.execute(
      "INSERT OR REPLACE INTO pins (name, version, pinned_at) VALUES (?, ?, ?)", .text(model.name.description),
      .text(model.version.description), .integer(now))
  }

  static func unpin(_ model: InstalledModel, _ connection: Connection) throws {
    try connection.execute(
      "DELETE FROM pins WHERE name = ? AND version = ?", .text(model.name.description),
      .text(model.version.description))
  }

  static func use(_ digest: Digest, at now: Int64, _ connection: Connection) throws {
    try connection.execute(
      "INSERT OR REPLACE INTO last_uses (sha256, used_at) VALUES (?, ?)", .text(digest.hex), .integer(now))
  }

  static func evict(_ eviction: Eviction, _ connection: Connection) throws {
    let manifest = String(decoding: try JSONValue(encoding: eviction.manifest).encoded(), as: UTF8.self)
    try connection.execute(
      "INSERT OR REPLACE INTO evictions (path, manifest, evicted_at) VALUES (?, ?, ?)",
      .text(eviction.manifest.targetPath), .text(manifest), .integer(eviction.at))
  }

  static func recall(_ path: String, _ connection: Connection) throws {
    try connection.execute("DELETE FROM evictions WHERE path = ?", .text(path))
  }

  // MARK: the scrubber's place

  static func scrub(_ key: String, _ connection: Connection) throws -> String? {
    try connection.query("SELECT value FROM scrubs WHERE key = ?", .text(key)).first?.text("value")
  }

  static func setScrub(_ key: String, _ value: String, _ connection: Connection) throws {
    try connection.execute("INSERT OR REPLACE INTO scrubs (key, value) VALUES (?, ?)", .text(key), .text(value))
  }
}
