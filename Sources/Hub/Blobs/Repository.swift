import Fleet
import FoundationEssentials
import Models
import Storage
import Trust

/// Publishes what was staged, and keeps the timestamp fresh. One at a time.
///
/// A commit trusts nobody: the root chain, the targets and what the hub signs itself go through the same trusted set
/// that a box uses, starting from what is published now. Only then are files written, the timestamp last, so that a
/// box sees the old repository or the new one.
public actor Repository {
  /// How long what the hub signs stays valid, in seconds. Half of it later it is signed again.
  static let timestampLifetime = 7.0 * 86400
  static let snapshotLifetime = 90.0 * 86400

  let files: RepositoryFiles
  private let onlineKey: SigningKey
  private let executor = QueueExecutor(label: "skerry.hub.repository")
  /// Known since the last look or change, so that a sync verifies no metadata.
  private var current: RepositoryVersions?

  public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  public init(files: RepositoryFiles, onlineKey: SigningKey) {
    self.files = files
    self.onlineKey = onlineKey
  }

  /// What is to be written, in this order.
  private struct Plan {
    var files: [(name: String, bytes: [UInt8])] = []
    var versions = RepositoryVersions()
  }

  /// The versions that boxes get now; zeros when nothing is published.
  public func versions() throws -> RepositoryVersions {
    if let current { return current }
    let found = try published().map { RepositoryVersions($0) } ?? RepositoryVersions()
    current = found
    return found
  }

  /// Forgets what was uploaded and not committed.
  public func discard() throws {
    for name in try files.stagedNames() { try files.unstage(name) }
  }

  /// Takes away chunks, indexes and signatures that no metadata names any more; see `RepositoryGarbage`. Nothing is
  /// published meanwhile, so that no publication counts on what goes.
  public func collect(grace: Int64, now: Int64, isDryRun: Bool = false) throws -> RepositoryGarbage.Found {
    try RepositoryGarbage(root: files.directory, grace: grace).collect(now: now, isDryRun: isDryRun)
  }

  /// How long removed models stay for readers, and uploads for their metadata, in seconds.
  public static let grace: Int64 = 7 * 86_400

  /// The root that boxes start from.
  public func firstRoot() throws -> [UInt8]? { try files.metadata("1.root.json") }

  /// Publishes what is staged. Throws `HubError` (invalid_metadata, conflict, not_published) and leaves the published
  /// repository as it is.
  public func commit(now: Date) throws -> RepositoryVersions {
    let plan = try plan(now: now)
    // Should the power fail from here on, `recover` finishes it.
    try files.stage("commit", [])
    try write(plan)
    return plan.versions
  }

  /// Finishes a commit that a crash interrupted.
  public func recover(now: Date) throws {
    guard try files.staged("commit") != nil else { return }
    try write(plan(now: now))
  }

  /// Signs the timestamp, and the snapshot when its time has come, once half of its lifetime is over. Returns whether
  /// it did; nothing to do when the root gives these roles to somebody else.
  public func refresh(now: Date) throws -> Bool {
    guard let trusted = try published(), mayFinish(trusted.root), let timestamp = trusted.timestamp,
      let snapshot = trusted.snapshot, let targets = trusted.targetsMetadata
    else { return false }
    func isDue(_ document: TUFDocument, _ lifetime: Double) -> Bool {
      document.expires.timeIntervalSince(now) < lifetime / 2
    }
    let isSnapshotDue = isDue(snapshot.document, Self.snapshotLifetime)
    guard isSnapshotDue || isDue(timestamp.document, Self.timestampLifetime) else { return false }
    var plan = Plan()
    let lists = Lists(targets: targets.document, files: snapshot.files)
    try finish(&plan, trusted: trusted, lists: lists, reuse: isSnapshotDue ? nil : snapshot.document, now)
    current = nil
    for file in plan.files { try files.publish(file.name, file.bytes) }
    return true
  }

  // MARK: - Deciding

  /// The trusted set of a box that has all that is published; nil before the first commit.
  func published() throws -> TrustedMetadata? {
    guard let version = try files.newest(.root, in: "metadata"), let root = try files.metadata("\(version).root.json")
    else { return nil }
    var local = TUFLocalState(root: root)
    local.timestamp = try files.metadata("timestamp.json")
    let trusted = try TrustedMetadata.loadOffline(local)
    if let meta = trusted.snapshotMeta {
      local.snapshot = try files.metadata(trusted.fileName("snapshot.json", meta.version))
    }
    let withSnapshot = try TrustedMetadata.loadOffline(local)
    if let meta = withSnapshot.targetsMeta {
      local.targets = try files.metadata(withSnapshot.fileName("targets.json", meta.version))
    }
    return try TrustedMetadata.loadOffline(local)
  }

  private func plan(now: Date) throws -> Plan {
    do {
      return try planned(now)
    } catch let error as TUFError {
      throw HubError(.invalidMetadata, error.description, hint: "the published repository is unchanged")
    }
  }

  private func planned(_ now: Date) throws -> Plan {
    var plan = Plan()
    let before = try published()
    var trusted = try root(after: before, &plan)
    try trusted.finishRoot(now: now)
    guard trusted.root.consistentSnapshot else {
      throw HubError(.invalidMetadata, "the root must ask for consistent snapshots")
    }
    let targets = try targets(trusted, before: before, &plan, now)
    let delegated = try delegatedLists(TUFTargets(targets), before: before, now)
    plan.files += delegated.staged
    try demandContent(of: delegated.tree.reachable().map(\.target))
    if mayFinish(trusted.root) {
      let isUnchanged = plan.files.isEmpty && before?.timestamp != nil && before?.snapshot != nil
      if isUnchanged, let before, before.expired(at: now).isEmpty {
        plan.versions = RepositoryVersions(before)
        return plan
      }
      try finish(&plan, trusted: trusted, lists: lists(targets, delegated.tree, before: trusted), reuse: nil, now)
    } else {
      try takeFinished(&plan, trusted: trusted, targets: targets, delegated.tree, now)
    }
    return plan
  }

  /// Goes through the staged roots, as a box would.
  private func root(after before: TrustedMetadata?, _ plan: inout Plan) throws -> TrustedMetadata {
    var trusted: TrustedMetadata
    if let before {
      trusted = before
    } else {
      guard let first = try files.staged("1.root.json") else {
        throw HubError(.notPublished, "nothing is published and no 1.root.json is staged", hint: "upload it first")
      }
      trusted = try TrustedMetadata(trustedRoot: first)
      guard trusted.rootVersion == 1 else {
        throw TUFError.versionMismatch(role: "root", expected: 1, got: trusted.rootVersion)
      }
      plan.files.append(("1.root.json", first))
    }
    for name in try files.stagedNames() {
      guard let (role, version) = TUFFileName.parse(name), role == "root", before != nil,
        version <= trusted.rootVersion
      else { continue }
      guard try files.staged(name) == files.metadata(name) else {
        throw HubError(
          .conflict, "\(name) is published already, with other content", hint: "give the new root a higher version")
      }
    }
    while let next = try files.staged("\(trusted.rootVersion + 1).root.json") {
      try trusted.updateRoot(next)
      plan.files.append(("\(trusted.rootVersion).root.json", next))
    }
    return trusted
  }

  /// The staged targets, or the published ones when none are staged.
  private func targets(
    _ trusted: TrustedMetadata, before: TrustedMetadata?, _ plan: inout Plan, _ now: Date
  ) throws -> TUFDocument {
    let have = before?.targetsMetadata?.document
    let staged = try files.newest(.targets, in: "staged")
    guard let version = staged, version > have?.version ?? 0, let bytes = try files.staged("\(version).targets.json")
    else {
      guard let have else {
        throw HubError(.notPublished, "no targets metadata is staged", hint: "upload N.targets.json first")
      }
      if let staged, try files.staged("\(staged).targets.json") != have.bytes {
        throw TUFError.rollback(file: "targets", have: have.version, got: staged)
      }
      let (document, _) = try trusted.verified(have.bytes, as: .targets)
      return document
    }
    let (document, _) = try trusted.verified(bytes, as: .targets)
    guard document.version == version else {
      throw TUFError.versionMismatch(role: "targets", expected: version, got: document.version)
    }
    guard document.expires > now else { throw TUFError.expired(role: "targets", since: document.expires) }
    plan.files.append(("\(version).targets.json", bytes))
    return document
  }

  /// Everything that the targets name must be here before a box hears of it.
  private func demandContent(of targets: [TUFTarget]) throws {
    for target in targets {
      if let signature = target.custom?["skerry"]?["signature"] {
        guard let record = PublisherSignature(signature) else {
          throw HubError(.invalidMetadata, "\(target.path): the record of its publisher's signature is malformed")
        }
        try files.demandSignature(record.sha256, on: target.path)
      }
      if let index = target.custom?["skerry"]?["index"]?["sha256"]?.string {
        guard let digest = Digest(hex: index) else {
          throw HubError(.invalidMetadata, "\(target.path): the digest of its chunk index is malformed")
        }
        try files.demandChunks(of: digest, for: target.path)
      } else {
        let parts = target.path.split(separator: "/", omittingEmptySubsequences: false)
        let name = (parts.dropLast().map(String.init) + ["\(target.hashes.fileNamePrefix).\(parts.last ?? "")"])
          .joined(separator: "/")
        guard let path = files.targetPath(name), RepositoryFiles.size(path) == target.length else {
          throw HubError(.conflict, "the target \(target.path) has no chunk index and no file in targets/")
        }
      }
    }
  }

  // MARK: - Snapshot and timestamp

  /// Whether the root lets the hub's online key alone sign snapshot and timestamp.
  private func mayFinish(_ root: TUFRoot) -> Bool {
    [TUFRole.snapshot, .timestamp].allSatisfy { role in
      let keys = root.roleKeys(role)
      return keys.threshold == 1
        && keys.keyIDs.contains { root.keys[$0]?.verifyingKey == .ed25519(onlineKey.verifyingKey) }
    }
  }

  private func finish(
    _ plan: inout Plan, trusted: TrustedMetadata, lists: Lists, reuse: TUFDocument?, _ now: Date
  ) throws {
    var trusted = trusted
    try trusted.finishRoot(now: now)
    var snapshot: TUFDocument
    if let reuse {
      snapshot = reuse
    } else {
      // After a rotation of the online key the trusted snapshot is gone, but boxes that kept theirs must see no
      // rollback: count on from the newest file.
      let version = try max(trusted.snapshotVersion ?? 0, files.newest(.snapshot, in: "metadata") ?? 0) + 1
      let bytes = try TUFWriter.snapshot(
        version: version, expires: now.addingTimeInterval(Self.snapshotLifetime),
        files: lists.files
      ).signed(by: [onlineKey])
      snapshot = try TUFDocument(parsing: bytes, as: .snapshot)
      plan.files.append(("\(version).snapshot.json", bytes))
    }
    let old = try files.metadata("timestamp.json").flatMap { try? TUFDocument(parsing: $0, as: .timestamp) }
    let timestamp = try TUFWriter.timestamp(
      version: max(trusted.timestampVersion ?? 0, old?.version ?? 0) + 1,
      expires: now.addingTimeInterval(Self.timestampLifetime), snapshot: TUFFileMeta(of: snapshot), signedAt: now
    ).signed(by: [onlineKey])
    plan.files.append(("timestamp.json", timestamp))
    try admit(&plan, &trusted, timestamp: timestamp, snapshot: snapshot.bytes, targets: lists.targets.bytes, now)
  }

  /// Snapshot and timestamp come from the publisher.
  private func takeFinished(
    _ plan: inout Plan, trusted: TrustedMetadata, targets: TUFDocument, _ tree: TUFTargetsTree, _ now: Date
  ) throws {
    var trusted = trusted
    guard let timestamp = try files.staged("timestamp.json") ?? files.metadata("timestamp.json") else {
      throw HubError(
        .conflict, "the root does not delegate to this hub's online key, and no timestamp.json is staged",
        hint: "upload a signed snapshot and timestamp, or create the repository with --online-key")
    }
    let named = try TUFTimestamp(TUFDocument(parsing: timestamp, as: .timestamp))
    let name = "\(named.snapshot.version).snapshot.json"
    guard let snapshot = try files.staged(name) ?? files.metadata(name) else { throw TUFError.missing(file: name) }
    let listed = try TUFSnapshot(TUFDocument(parsing: snapshot, as: .snapshot)).files
    plan.files += try leftOver(listed, besides: Set(plan.files.map(\.name)))
    plan.files.append((name, snapshot))
    plan.files.append(("timestamp.json", timestamp))
    try admit(&plan, &trusted, timestamp: timestamp, snapshot: snapshot, targets: targets.bytes, now)
    for role in tree.roleNames {
      for edge in tree.delegators(of: role) {
        guard let list = tree.delegated[role] else { continue }
        _ = try trusted.updateDelegated(list.document.bytes, role: edge.role, delegator: edge.from, now: now)
      }
    }
  }

  /// The last word: a box that has what is published now must take the new files.
  private func admit(
    _ plan: inout Plan, _ trusted: inout TrustedMetadata, timestamp: [UInt8], snapshot: [UInt8], targets: [UInt8],
    _ now: Date
  ) throws {
    _ = try trusted.updateTimestamp(timestamp, now: now)
    try trusted.updateSnapshot(snapshot, now: now)
    try trusted.updateTargets(targets, now: now)
    plan.versions = RepositoryVersions(trusted)
  }

  // MARK: - Writing

  private func write(_ plan: Plan) throws {
    current = nil
    for file in plan.files { try files.publish(file.name, file.bytes) }
    for name in try files.stagedNames() where name != "commit" { try files.unstage(name) }
    try files.unstage("commit")
  }
}

extension RepositoryVersions {
  init(_ trusted: TrustedMetadata) {
    self.init(
      root: Int(trusted.rootVersion), timestamp: Int(trusted.timestampVersion ?? 0),
      snapshot: Int(trusted.snapshotVersion ?? 0), targets: Int(trusted.targetsVersion ?? 0))
  }
}
