import Models
import Storage
import Trust

/// The newest version of each name that the box has had, in `registry/floors.json`: outside the database, so that an
/// older database put back in its place brings no older model back.
struct FloorFile: Sendable {
  let path: String

  /// What can't be read counts as nothing: the database's own floors stand beside it.
  func load() -> [ModelName: ModelVersion] {
    guard let bytes = try? DurableFile.read(path, limit: 1 << 20),
      let members = (try? JSONValue(parsing: bytes))?.object
    else { return [:] }
    var floors: [ModelName: ModelVersion] = [:]
    for (name, version) in members {
      guard let name = ModelName(name), let version = version.string.flatMap({ ModelVersion($0) }) else { continue }
      floors[name] = version
    }
    return floors
  }

  func save(_ floors: [ModelName: ModelVersion]) throws(StorageError) {
    let members = Dictionary(uniqueKeysWithValues: floors.map { ($0.key.description, JSONValue.string("\($0.value)")) })
    try DurableFile.replace(path, with: JSONValue.object(members).encoded())
  }
}

extension ModelRegistry {
  /// After the database has them: a crash in between leaves a floor that is too low, which the next start raises.
  func keepFloors() async throws {
    let (file, floors) = (FloorFile(path: store.root + "/floors.json"), versionFloors())
    guard floors != keptFloors else { return }
    try await offPool { try file.save(floors) }
    keptFloors = floors
  }

  /// A model that the box has had a newer version of since, and that the director does not name now. After a signed
  /// rollback, and beside a newer version that it names too, it does.
  func isLeftBehind(_ manifest: ModelManifest) -> Bool {
    guard let floor = keptFloors[manifest.name], manifest.version < floor else { return false }
    return director?.targetsMetadata?.targets.contains {
      $0.path == manifest.targetPath && $0.sha256 == manifest.sha256
    } != true
  }
}
