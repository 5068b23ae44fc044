import Trust

/// Which of the signed models a box is to hold.
public struct ModelSelection: Sendable {
  /// Sorted by name and version.
  public let wanted: [ModelManifest]
  /// Names of `desired` that no signed target bears.
  public let unknown: [String]
  /// Targets under `models/` that are no model as Skerry publishes them.
  public let malformed: [ManifestError]

  /// Chooses among signed targets. `desired` holds names (`smollm2`, the newest version) and names with a version
  /// (`smollm2:1.0`); nil means the newest version of every name.
  public init(targets: [TUFTarget], desired: [String]?) {
    var manifests: [ModelManifest] = []
    var malformed: [ManifestError] = []
    for target in targets where target.path.hasPrefix("models/") {
      do {
        manifests.append(try ModelManifest(target))
      } catch {
        malformed.append(error)
      }
    }
    manifests.sort { ($0.name, $0.version, $0.fileName) < ($1.name, $1.version, $1.fileName) }
    // Sorted, so that the last of a key is the newest.
    let newest = Dictionary(manifests.map { ($0.name.description, $0) }, uniquingKeysWith: { _, last in last })
    let exact = Dictionary(manifests.map { ($0.label, $0) }, uniquingKeysWith: { _, last in last })

    var chosen: [String: ModelManifest] = [:]
    var unknown: [String] = []
    for name in desired ?? Array(newest.keys) {
      if let manifest = newest[name] ?? exact[name] {
        chosen[manifest.label] = manifest
      } else {
        unknown.append(name)
      }
    }
    wanted = chosen.values.sorted { ($0.name, $0.version) < ($1.name, $1.version) }
    self.unknown = unknown.sorted()
    self.malformed = malformed
  }
}
