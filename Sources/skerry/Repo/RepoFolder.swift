import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// A repository's folder: `metadata/`, `indexes/SHA256.caibx`, `chunks/abcd/ID.cacnk`, `targets/` for whole files, and
/// `staged/` for what waits for signatures.
struct RepoFolder: Sendable {
  let path: String

  var metadata: String { path + "/metadata" }
  var chunks: String { path + "/chunks" }
  var indexes: String { path + "/indexes" }
  var staged: String { path + "/staged" }
  /// There when a hub signs snapshot and timestamp.
  var hubMark: String { path + "/hub-signed" }
  func index(_ digest: Digest) -> String { "\(indexes)/\(digest.hex).caibx" }
  /// The whole file of a model without an index.
  func file(_ manifest: ModelManifest) -> String { "\(path)/targets/\(manifest.filePath)" }
  func chunk(_ id: ChunkID) -> String { path + "/" + RepoFolder.chunkName(id) }
  static func chunkName(_ id: ChunkID) -> String { "chunks/\(id.hex.prefix(4))/\(id.hex).cacnk" }

  func read(_ file: String, limit: Int = 16 << 20) throws -> [UInt8]? {
    try DurableFile.read("\(metadata)/\(file)", limit: limit)
  }

  /// Metadata is public: everybody may read it.
  func write(_ file: String, _ bytes: [UInt8]) throws {
    try DurableFile.replace("\(metadata)/\(file)", with: bytes, mode: 0o644)
  }

  /// What the folder's own metadata says, every signature checked from its first root on. Expiry is not enforced: the
  /// publisher must be able to mend it. What a killed command left half-written is finished first.
  func load() throws -> RepoContents {
    try RepoJournal.recover(self)
    guard let first = try read("1.root.json") else {
      if DurableFile.exists("\(staged)/1.root.json") {
        throw CommandFailure(
          "the first root of \(path) still waits for signatures", hint: "see: skerry repo status \(path)",
          status: .noInput)
      }
      throw CommandFailure(
        "\(path) is no repository: it has no metadata/1.root.json", hint: "make one: skerry repo init \(path)",
        status: .noInput)
    }
    var trusted = try TrustedMetadata(trustedRoot: first)
    while let next = try read("\(trusted.rootVersion + 1).root.json") { try trusted.updateRoot(next) }
    var contents = RepoContents(trusted: trusted)
    var versions: [String: Int64] = [:]
    if let bytes = try read("timestamp.json") {
      let timestamp = try TUFTimestamp(trusted.verified(bytes, as: .timestamp).0)
      let snapshot = try TUFSnapshot(named("snapshot", .snapshot, timestamp.snapshot, trusted))
      contents.timestamp = timestamp
      contents.snapshot = snapshot
      contents.targets = try TUFTargets(named("targets", .targets, snapshot.targets, trusted))
    } else {
      // Where a hub signs snapshot and timestamp, the newest lists are those of the highest versions.
      versions = try newestVersions()
      if let version = versions["targets"], let bytes = try read("\(version).targets.json") {
        contents.targets = try TUFTargets(trusted.verified(bytes, as: .targets).0)
      }
    }
    contents.director = try RepoDirector.load(self)?.root
    if let top = contents.targets { contents.tree = try tree(top, contents.snapshot, versions) }
    return contents
  }

  private func named(
    _ name: String, _ role: TUFRole, _ meta: TUFFileMeta, _ trusted: TrustedMetadata
  ) throws -> TUFDocument {
    let file = "\(meta.version).\(name).json"
    guard let bytes = try read(file) else { throw TUFError.missing(file: file) }
    try meta.check(bytes, file: file)
    return try trusted.verified(bytes, as: role).0
  }

  private func tree(_ top: TUFTargets, _ snapshot: TUFSnapshot?, _ versions: [String: Int64]) throws -> TUFTargetsTree {
    var tree = TUFTargetsTree(top: top)
    while let edge = tree.next() {
      let name = edge.role.name
      let meta = snapshot.map { $0.files["\(name).json"] } ?? versions[name].map { TUFFileMeta(version: $0) }
      do {
        guard let meta, TUFFileName.isRole(name), let bytes = try read("\(meta.version).\(name).json") else {
          throw TUFError.missing(file: "\(name).json")
        }
        try meta.check(bytes, file: "\(name).json")
        tree.add(edge, try edge.role.verified(bytes, delegator: edge.from))
      } catch let error as TUFError {
        tree.fail(edge, error.description)
      }
    }
    return tree
  }

  /// By role: the highest N of `N.ROLE.json`.
  private func newestVersions() throws -> [String: Int64] {
    var newest: [String: Int64] = [:]
    for name in try DurableFile.names(in: metadata) {
      guard let (role, version) = TUFFileName.parse(name) else { continue }
      newest[role] = max(newest[role] ?? 0, version)
    }
    return newest
  }
}
