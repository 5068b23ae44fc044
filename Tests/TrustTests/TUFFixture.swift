import FoundationEssentials

@testable import Trust

/// A repository in memory, with its keys, that tests bend out of shape.
struct TUFFixture {
  static let now = Date(timeIntervalSince1970: 1_800_000_000)
  static func days(_ count: Double) -> Date { now.addingTimeInterval(count * 86_400) }

  var rootKeys = [SigningKey.generate()]
  var rootThreshold = 1
  var timestampKey = SigningKey.generate()
  var snapshotKey = SigningKey.generate()
  var targetsKey = SigningKey.generate()
  var rootVersion: Int64 = 1
  var timestampVersion: Int64 = 1
  var snapshotVersion: Int64 = 1
  var targetsVersion: Int64 = 1
  var rootExpires = TUFFixture.days(365)
  var timestampExpires = TUFFixture.days(7)
  var snapshotExpires = TUFFixture.days(7)
  var targetsExpires = TUFFixture.days(90)
  var consistent = true
  var targets = [
    TUFTarget(path: "models/tiny/1/tiny.gguf", length: 4, sha256: Digest(of: [1, 2, 3, 4]), custom: ["a": 1])
  ]
  var otherFiles: [String: TUFFileMeta] = [:]
  var files: [String: [UInt8]] = [:]

  init() throws {
    try signRoot(by: rootKeys)
    try publish()
  }

  var rootSigned: TUFSigned {
    TUFWriter.root(
      version: rootVersion, expires: rootExpires,
      roles: [
        .root: (rootKeys.map { TUFKey(ed25519: $0.verifyingKey) }, rootThreshold),
        .timestamp: ([TUFKey(ed25519: timestampKey.verifyingKey)], 1),
        .snapshot: ([TUFKey(ed25519: snapshotKey.verifyingKey)], 1),
        .targets: ([TUFKey(ed25519: targetsKey.verifyingKey)], 1),
      ], consistentSnapshot: consistent)
  }

  mutating func signRoot(by keys: [SigningKey]) throws {
    files["\(rootVersion).root.json"] = try rootSigned.signed(by: keys)
  }

  func name(_ version: Int64, _ file: String) -> String { consistent ? "\(version).\(file)" : file }
  func bytes(_ file: String) throws -> [UInt8] {
    guard let bytes = files[file] else { throw TUFError.missing(file: file) }
    return bytes
  }

  /// Signs targets, snapshot and timestamp as the fields say.
  mutating func publish() throws {
    files[name(targetsVersion, "targets.json")] = try TUFWriter.targets(
      version: targetsVersion, expires: targetsExpires, targets: targets
    ).signed(by: [targetsKey])
    try publishSnapshot()
  }

  mutating func publishSnapshot() throws {
    var listed = otherFiles
    let document = try TUFDocument(parsing: bytes(name(targetsVersion, "targets.json")), as: .targets)
    listed["targets.json"] = TUFFileMeta(of: document)
    files[name(snapshotVersion, "snapshot.json")] = try TUFWriter.snapshot(
      version: snapshotVersion, expires: snapshotExpires, files: listed
    ).signed(by: [snapshotKey])
    try publishTimestamp()
  }

  mutating func publishTimestamp() throws {
    let document = try TUFDocument(parsing: bytes(name(snapshotVersion, "snapshot.json")), as: .snapshot)
    files["timestamp.json"] = try TUFWriter.timestamp(
      version: timestampVersion, expires: timestampExpires, snapshot: TUFFileMeta(of: document)
    ).signed(by: [timestampKey])
  }

  /// The next version of all three, published.
  mutating func publishNext() throws {
    targetsVersion += 1
    snapshotVersion += 1
    timestampVersion += 1
    try publish()
  }
}

/// A client's disk and what it asked the repository for.
final class TUFTestClient {
  var disk: [String: [UInt8]]
  var asked: [String] = []

  init(root: [UInt8]) { disk = ["root.json": root] }

  var local: TUFLocalState {
    TUFLocalState(
      root: disk["root.json"] ?? [], timestamp: disk["timestamp.json"], snapshot: disk["snapshot.json"],
      targets: disk["targets.json"])
  }

  @discardableResult
  func refresh(
    _ repository: TUFFixture, now: Date = TUFFixture.now, limits: TUFWorkflow.Limits = .init()
  ) async throws -> TrustedMetadata {
    asked = []
    return try await TUFWorkflow.refresh(
      local: local, now: now, limits: limits,
      fetch: { file, _ in
        asked.append(file)
        return repository.files[file]
      },
      persist: { file, bytes in disk[file] = bytes })
  }
}
