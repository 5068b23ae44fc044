import Storage
import Trust

/// The trusted TUF metadata on disk, byte for byte as it was trusted: `registry/tuf/{root,timestamp,…}.json`.
struct MetadataStore: Sendable {
  let directory: String

  private static let names = ["root.json", "timestamp.json", "snapshot.json", "targets.json"]
  private static let limit = 16 << 20

  /// What was trusted last; nil before enrolment.
  func load() throws -> TUFLocalState? {
    guard let root = try read("root.json") else { return nil }
    return TUFLocalState(
      root: root, timestamp: try read("timestamp.json"), snapshot: try read("snapshot.json"),
      targets: try read("targets.json"))
  }

  /// Keeps a trusted file durably; nil bytes remove it.
  func persist(_ file: String, _ bytes: [UInt8]?) throws {
    guard MetadataStore.names.contains(file) else { return }
    try DurableFile.makeDirectory(directory, mode: 0o700)
    if let bytes {
      try DurableFile.replace("\(directory)/\(file)", with: bytes, mode: 0o600)
    } else {
      try DurableFile.remove("\(directory)/\(file)")
    }
  }

  private func read(_ file: String) throws -> [UInt8]? {
    try DurableFile.read("\(directory)/\(file)", limit: MetadataStore.limit)
  }
}
