import Fleet
import FoundationEssentials
import Trust

/// Why the director's word can't be taken. Nothing new comes in then; what is installed goes on running.
enum DirectorError: Error, Sendable, CustomStringConvertible {
  /// The source has no director for this box.
  case missing
  /// Its root is not signed by the keys of the image repository's root.
  case unanchored(TUFError)

  var description: String {
    switch self {
    case .missing:
      "the hub has no director, so no model can be installed or changed: let the repository's publisher run "
        + "`skerry repo renew DIR --root --online-key HEX` and `skerry repo publish DIR` again"
    case .unanchored:
      "the director's root is not signed by the root keys of the image repository: let the publisher run "
        + "`skerry repo renew DIR --root` and `skerry repo publish DIR` again, or find out who put it on the hub"
    }
  }

  var report: AttackReport {
    switch self {
    case .missing: AttackReport(.withheld, role: "director/root", reason: "the source has no director for this box")
    case .unanchored:
      AttackReport(.badSignature, role: "director/root", reason: "not signed by the image root's root keys")
    }
  }
}

/// One update of the director's metadata: TUF's client workflow, and three rules of our own. A root that is new to the
/// box is signed by a threshold of the image root's root keys; every file is bound to the director and to this box; and
/// no version number leaps.
struct DirectorRefresh: Sendable {
  let registry: ModelRegistry
  let device: DeviceID
  let image: TrustedMetadata
  let started: Date

  /// A box's statement is small, so that nobody fills a box through its director.
  static let limits: TUFWorkflow.Limits = {
    var limits = TUFWorkflow.Limits()
    limits.root = 131_072
    limits.snapshot = 65_536
    limits.targets = 2_097_152
    return limits
  }()

  /// Throws `DirectorError`, `TUFError`, and what the source and the disk throw.
  func run(from source: any FleetSource) async throws -> TrustedMetadata {
    let (local, roots) = try await roots(from: source)
    let limits = DirectorRefresh.limits
    return try await TUFWorkflow.refresh(local: local, now: started, limits: limits) { file, limit in
      if file.hasSuffix(".root.json") { return roots[file] }
      return try await source.directorMetadata(file, limit: limit)
    } persist: { file, bytes in
      if let bytes { try check(file, bytes, local) }
      try await registry.persistDirector(file, bytes)
    }
  }

  /// The newest root that the source has, verified in sequence and anchored; nothing is kept.
  func newestRoot(from source: any FleetSource) async throws -> TUFRoot? {
    guard try await registry.directorState() != nil else { return nil }
    let (local, roots) = try await roots(from: source)
    var chain = try TrustedMetadata(trustedRoot: local.root)
    while let next = roots["\(chain.rootVersion + 1).root.json"] { try chain.updateRoot(next) }
    return chain.root
  }

  /// Fetches the roots that are new here, all of them before one is kept: the newest must be anchored.
  private func roots(from source: any FleetSource) async throws -> (TUFLocalState, [String: [UInt8]]) {
    let limits = DirectorRefresh.limits
    let kept = try await registry.directorState()
    var roots: [String: [UInt8]] = [:]
    var chain: TrustedMetadata
    var newest: [UInt8]
    if let kept {
      chain = try TrustedMetadata(trustedRoot: kept.root)
      newest = kept.root
    } else {
      guard let first = try await source.directorMetadata("1.root.json", limit: limits.root) else {
        throw DirectorError.missing
      }
      guard first.count <= limits.root else { throw TUFError.tooLarge(file: "1.root.json", limit: limits.root) }
      chain = try TrustedMetadata(trustedRoot: first)
      newest = first
      guard chain.rootVersion == 1 else {
        throw TUFError.versionMismatch(role: "root", expected: 1, got: chain.rootVersion)
      }
    }
    for _ in 0..<limits.rootRotations {
      let file = "\(chain.rootVersion + 1).root.json"
      guard let bytes = try await source.directorMetadata(file, limit: limits.root) else { break }
      guard bytes.count <= limits.root else { throw TUFError.tooLarge(file: file, limit: limits.root) }
      try chain.updateRoot(bytes)
      roots[file] = bytes
      newest = bytes
    }
    guard TUFBinding(of: chain.root.document).repository == TUFBinding.director else {
      throw TUFError.foreign(role: "root")
    }
    if let kept, roots.isEmpty { return (kept, [:]) }
    do {
      try image.demandAnchor(of: chain.root)
    } catch {
      throw DirectorError.unanchored(error)
    }
    if let kept { return (kept, roots) }
    // The first contact: the chain up to the newest was verified just now, and only the newest is anchored.
    try await registry.persistDirector("root.json", newest)
    return (TUFLocalState(root: newest), [:])
  }

  /// The last look before a trusted file is kept.
  private func check(_ file: String, _ bytes: [UInt8], _ local: TUFLocalState) throws {
    guard let role = TUFRole(rawValue: AttackReport.role(file)), role != .root else { return }
    let document = try TUFDocument(parsing: bytes, as: role)
    guard TUFBinding(of: document).device == device.hex else { throw TUFError.foreign(role: role.rawValue) }
    try VersionLeap.check(document, before: local, in: .director)
  }
}

/// A fast-forward attack raises version numbers so far that they can't be followed. What is signed correctly and leaps
/// by more than anybody publishes in a box's life is not kept.
enum VersionLeap {
  /// Enough for a repository that takes the time in seconds for its versions.
  static let longest: Int64 = 1 << 32

  /// Throws an `AttackReport` for a file that leaps, compared with the kept one of its role.
  static func check(_ document: TUFDocument, before local: TUFLocalState, in repository: FleetRepository) throws {
    let role = document.role
    let kept: [UInt8]? =
      switch role {
      case .root: local.root
      case .timestamp: local.timestamp
      case .snapshot: local.snapshot
      case .targets: local.targets
      }
    let before = try kept.map { try TUFDocument(parsing: $0, as: role) }
    func demand(_ got: Int64, after have: Int64) throws {
      guard got - max(have, 0) <= longest else {
        throw AttackReport(
          .fastForward, role: "\(repository.rawValue)/\(role.rawValue)", reason: "version \(got) after \(have)")
      }
    }
    try demand(document.version, after: before?.version ?? 0)
    // What it lists must be followed as well.
    let meta = document.signed["meta"]?.object ?? [:]
    for (file, value) in meta {
      guard let version = value["version"]?.integer else { continue }
      try demand(version, after: before?.signed["meta"]?[file]?["version"]?.integer ?? 0)
    }
  }
}
