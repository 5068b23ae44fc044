import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// A repository's folder: `metadata/`, `indexes/SHA256.caibx`, `chunks/abcd/ID.cacnk`.
struct RepoFolder {
  let path: String

  var metadata: String { path + "/metadata" }
  var chunks: String { path + "/chunks" }
  var indexes: String { path + "/indexes" }
  func index(_ digest: Digest) -> String { "\(indexes)/\(digest.hex).caibx" }
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
  /// publisher must be able to mend it.
  func load() throws -> RepoContents {
    guard let first = try read("1.root.json") else {
      throw CommandFailure(
        "\(path) is no repository: it has no metadata/1.root.json", hint: "make one: skerry repo init \(path)",
        status: .noInput)
    }
    var trusted = try TrustedMetadata(trustedRoot: first)
    while let next = try read("\(trusted.rootVersion + 1).root.json") { try trusted.updateRoot(next) }
    var contents = RepoContents(trusted: trusted)
    if let bytes = try read("timestamp.json") {
      let timestamp = try TUFTimestamp(trusted.verified(bytes, as: .timestamp).0)
      let snapshot = try TUFSnapshot(named("snapshot", .snapshot, timestamp.snapshot, trusted))
      contents.timestamp = timestamp
      contents.snapshot = snapshot
      contents.targets = try TUFTargets(named("targets", .targets, snapshot.targets, trusted))
    } else if let version = try newestTargets(), let bytes = try read("\(version).targets.json") {
      contents.targets = try TUFTargets(trusted.verified(bytes, as: .targets).0)
    }
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

  /// Where a hub signs snapshot and timestamp, the newest list is the one of the highest version.
  private func newestTargets() throws -> Int64? {
    try DurableFile.names(in: metadata).compactMap { name -> Int64? in
      name.hasSuffix(".targets.json") ? Int64(name.dropLast(".targets.json".count)) : nil
    }.max()
  }
}

/// What a repository's folder holds, as far as its own root vouches for it.
struct RepoContents {
  var trusted: TrustedMetadata
  var targets: TUFTargets?
  var snapshot: TUFSnapshot?
  var timestamp: TUFTimestamp?

  var models: [TUFTarget] { targets?.targets ?? [] }
  /// Whether snapshot and timestamp are signed elsewhere, by a hub.
  var isSignedOnline: Bool { timestamp == nil }
  func document(_ role: TUFRole) -> TUFDocument? {
    switch role {
    case .root: trusted.root.document
    case .timestamp: timestamp?.document
    case .snapshot: snapshot?.document
    case .targets: targets?.document
    }
  }

  /// The files that make up the current repository, in the order in which a reader may see them appear.
  var files: [String] {
    var files = (1...trusted.rootVersion).map { "\($0).root.json" }
    if let targets { files.append("\(targets.document.version).targets.json") }
    if let snapshot { files.append("\(snapshot.document.version).snapshot.json") }
    if timestamp != nil { files.append("timestamp.json") }
    return files
  }
}

/// How long new metadata is good.
struct RepoExpiry {
  let root: Date
  let targets: Date
  let online: Date

  init(_ command: ParsedCommand, now: Date) throws {
    func after(_ option: String, _ days: Int64) throws -> Date {
      now.addingTimeInterval(Double(try command.seconds(option) ?? days * 86_400))
    }
    root = try after("root-expires", 365)
    targets = try after("targets-expires", 90)
    online = try after("online-expires", 7)
  }
}

extension RepoFolder {
  /// Signs a new list of models; then snapshot and timestamp, where their keys are here. The last file written makes
  /// the others current, so that a crash leaves the old repository.
  func sign(
    _ models: [TUFTarget], after contents: RepoContents, keys: RepoKeys, expiry: RepoExpiry
  ) throws -> RepoContents {
    let trusted = contents.trusted
    func signed(_ value: TUFSigned, _ role: TUFRole) throws -> (bytes: [UInt8], document: TUFDocument) {
      let bytes = try value.signed(by: [keys.key(role)])
      do {
        return (bytes, try trusted.verified(bytes, as: role).0)
      } catch TUFError.signature {
        throw CommandFailure(
          "\(keys.file(role)) is not a key that this repository's root lists for \(role.rawValue)", status: .data)
      }
    }
    let version = (contents.targets?.document.version ?? 0) + 1
    let targets = try signed(
      TUFWriter.targets(version: version, expires: expiry.targets, targets: models), .targets)
    var next = RepoContents(trusted: trusted)
    next.targets = try TUFTargets(targets.document)
    if contents.isSignedOnline, contents.targets != nil || !keys.has(.timestamp) {
      try write("\(version).targets.json", targets.bytes)
      return next
    }
    let snapshotVersion = (contents.snapshot?.document.version ?? 0) + 1
    let snapshot = try signed(
      TUFWriter.snapshot(
        version: snapshotVersion, expires: expiry.online, files: ["targets.json": TUFFileMeta(of: targets.document)]),
      .snapshot)
    let timestamp = try signed(
      TUFWriter.timestamp(
        version: (contents.timestamp?.document.version ?? 0) + 1, expires: expiry.online,
        snapshot: TUFFileMeta(of: snapshot.document), signedAt: Date()), .timestamp)
    next.snapshot = try TUFSnapshot(snapshot.document)
    next.timestamp = try TUFTimestamp(timestamp.document)
    try write("\(version).targets.json", targets.bytes)
    try write("\(snapshotVersion).snapshot.json", snapshot.bytes)
    try write("timestamp.json", timestamp.bytes)
    return next
  }
}
