import Models
import Storage

/// The newest version of each name that the box has had, in agent.sqlite. It outlives the models, so that nobody takes a
/// box back by first withdrawing a model; a signed rollback lowers it.
enum VersionFloors {
  static let schema = """
    CREATE TABLE version_floors (
      name TEXT NOT NULL PRIMARY KEY,
      version TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """

  static func all(_ connection: Connection) throws -> [ModelName: ModelVersion] {
    var floors: [ModelName: ModelVersion] = [:]
    for row in try connection.query("SELECT name, version FROM version_floors") {
      guard let name = ModelName(try row.text("name")), let version = ModelVersion(try row.text("version")) else {
        continue
      }
      floors[name] = version
    }
    return floors
  }

  static func put(_ version: ModelVersion, of name: ModelName, _ connection: Connection) throws {
    try connection.execute(
      """
      INSERT INTO version_floors (name, version) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version
      """, .text(name.description), .text(version.description))
  }

  static func clear(_ connection: Connection) throws { try connection.execute("DELETE FROM version_floors") }
}
