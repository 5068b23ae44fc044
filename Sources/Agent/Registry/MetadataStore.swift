import Storage
import Trust

/// The trusted metadata of one TUF repository on disk, byte for byte as it was trusted: `{root,timestamp,…}.json`, and
/// under `roles` that of delegated roles.
struct MetadataStore: Sendable {
  let directory: String

  private static let names = ["root.json", "timestamp.json", "snapshot.json", "targets.json"]
  private static let limit = 16 << 20

  /// What was trusted last; nil before the first root.
  func load() throws -> TUFLocalState? {
    guard let root = try read("root.json") else { return nil }
    return TUFLocalState(
      root: root, timestamp: try read("timestamp.json"), snapshot: try read("snapshot.json"),
      targets: try read("targets.json"))
  }

  /// Keeps a trusted file of a top-level role durably; nil bytes remove it.
  func persist(_ file: String, _ bytes: [UInt8]?) throws {
    guard MetadataStore.names.contains(file) else { return }
    // Every root stays: together they lead from the one that the box was enrolled with to the newest.
    if file == "root.json", let bytes {
      let version = try TUFDocument(parsing: bytes, as: .root).version
      try write("\(directory)/roots/\(version).root.json", in: "\(directory)/roots", bytes)
    }
    try write("\(directory)/\(file)", in: directory, bytes)
  }

  /// Forgets all of it.
  func clear() throws {
    for file in MetadataStore.names { try persist(file, nil) }
    try pruneRoles(keeping: [])
    for file in try DurableFile.names(in: "\(directory)/roots") { try DurableFile.remove("\(directory)/roots/\(file)") }
  }

  /// The kept roots, oldest first, up to this version.
  func roots(through version: Int64) throws -> [[UInt8]] {
    let numbers = try DurableFile.names(in: "\(directory)/roots").compactMap { name in
      name.hasSuffix(".root.json") ? Int64(name.dropLast(".root.json".count)) : nil
    }
    return try numbers.sorted().filter { $0 <= version }.compactMap { try read("roots/\($0).root.json") }
  }

  // MARK: delegated roles

  /// What is kept of a delegated role; `file` is its percent-encoded name and `.json`.
  func role(_ file: String) throws -> [UInt8]? { try MetadataStore.isFile(file) ? read("roles/\(file)") : nil }

  func persistRole(_ file: String, _ bytes: [UInt8]?) throws {
    // A name that is no file's is fetched again each time.
    guard MetadataStore.isFile(file) else { return }
    try write("\(directory)/roles/\(file)", in: "\(directory)/roles", bytes)
  }

  /// Removes what is kept of roles that no snapshot lists any more.
  func pruneRoles(keeping files: Set<String>) throws {
    guard DurableFile.exists("\(directory)/roles") else { return }
    for file in try DurableFile.names(in: "\(directory)/roles") where !files.contains(file) {
      try DurableFile.remove("\(directory)/roles/\(file)")
    }
  }

  private static func isFile(_ name: String) -> Bool {
    name.utf8.count <= 200 && !name.hasPrefix(".") && !name.contains("/") && name.hasSuffix(".json")
  }

  private func write(_ path: String, in folder: String, _ bytes: [UInt8]?) throws {
    if let bytes {
      try DurableFile.makeDirectory(folder, mode: 0o700)
      try DurableFile.replace(path, with: bytes, mode: 0o600)
    } else {
      try DurableFile.remove(path)
    }
  }

  private func read(_ file: String) throws -> [UInt8]? {
    try DurableFile.read("\(directory)/\(file)", limit: MetadataStore.limit)
  }
}
