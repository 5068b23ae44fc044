import FoundationEssentials

/// TUF's trusted set: the newest metadata that was verified, and the rules by which newer metadata joins it.
///
/// Pure: bytes and one fixed clock in, a larger trusted set or an error out. After an error the set is unchanged.
/// The steps are those of the TUF specification 1.0.34, section 5, "Detailed client workflow".
public struct TrustedMetadata: Sendable {
  public private(set) var root: TUFRoot
  public private(set) var timestamp: TUFTimestamp?
  public private(set) var snapshot: TUFSnapshot?
  /// The top-level targets role's metadata.
  public private(set) var targetsMetadata: TUFTargets?
  private var rootFinished = false
  private var counted: [TUFRole: [String]] = [:]

  /// 5.2 "Load the trusted root metadata file. … Note that the expiration of the trusted root metadata file does not
  /// matter, because we will attempt to update it in the next step."
  public init(trustedRoot bytes: [UInt8]) throws(TUFError) {
    root = try TUFRoot(parsing: bytes)
    // A trusted root that its own keys did not sign is a damaged file.
    counted[.root] = try root.document.demandSigners(root.roleKeys(.root), keys: root.keys)
  }

  /// 5.3.4 to 5.3.7: takes version N+1 of the root.
  public mutating func updateRoot(_ bytes: [UInt8]) throws(TUFError) {
    guard !rootFinished else { throw .outOfOrder("a root after the check of its expiry") }
    let next = try TUFRoot(parsing: bytes)
    // 5.3.4 "Version N+1 of the root metadata file MUST have been signed by: (1) a THRESHOLD of keys specified in the
    // trusted root metadata file (version N), and (2) a THRESHOLD of keys specified in the new root metadata file
    // being validated (version N+1)."
    _ = try next.document.demandSigners(root.roleKeys(.root), keys: root.keys)
    let signers = try next.document.demandSigners(next.roleKeys(.root), keys: next.keys)
    // Not of the specification: a root of another repository that the same keys sign is no newer version of this one.
    guard TUFBinding(of: next.document).repository == TUFBinding(of: root.document).repository else {
      throw .foreign(role: "root")
    }
    // 5.3.5 "The version number of the new root metadata (version N+1) MUST be exactly the version in the trusted root
    // metadata (version N) incremented by one"
    guard next.document.version == root.document.version + 1 else {
      throw .versionMismatch(role: "root", expected: root.document.version + 1, got: next.document.version)
    }
    // 5.3.11 "If the timestamp and / or snapshot keys have been rotated, then delete the trusted timestamp and snapshot
    // metadata files. This is done in order to recover from fast-forward attacks"
    if rotatesOnlineKeys(next) {
      timestamp = nil
      snapshot = nil
    }
    // 5.3.7 "Set the trusted root metadata file to the new root metadata file."
    root = next
    counted[.root] = signers
  }

  /// True when this root lists other keys for timestamp or snapshot than the trusted one.
  func rotatesOnlineKeys(_ next: TUFRoot) -> Bool {
    [TUFRole.timestamp, .snapshot].contains { role in
      func keys(_ root: TUFRoot) -> Set<TUFKey> { Set(root.roleKeys(role).keyIDs.compactMap { root.keys[$0] }) }
      return keys(root) != keys(next)
    }
  }

  /// 5.3.10 "The expiration timestamp in the trusted root metadata file MUST be higher than the fixed update start
  /// time. If the trusted root metadata file has expired, abort the update cycle, report the potential freeze attack."
  public mutating func finishRoot(now: Date) throws(TUFError) {
    guard root.document.expires > now else { throw .expired(role: "root", since: root.document.expires) }
    rootFinished = true
  }

  /// 5.4.2 to 5.4.4: takes a timestamp. False when it has the trusted version: the trusted one stays.
  public mutating func updateTimestamp(_ bytes: [UInt8], now: Date) throws(TUFError) -> Bool {
    guard rootFinished else { throw .outOfOrder("a timestamp before the root's expiry was checked") }
    // 5.4.2 "The new timestamp metadata file MUST have been signed by a THRESHOLD of keys specified in the trusted root
    // metadata file."
    let (document, signers) = try verified(bytes, as: .timestamp)
    let next = try TUFTimestamp(document)
    if let timestamp {
      // 5.4.3.1 "If the new timestamp metadata version is less than the trusted timestamp metadata version, discard it,
      // abort the update cycle, and report the potential rollback attack."
      let (have, got) = (timestamp.document.version, document.version)
      guard got >= have else { throw .rollback(file: "timestamp", have: have, got: got) }
      // "In case they are equal, discard the new timestamp metadata and abort the update cycle. This is normal and it
      // shouldn't raise any error." The kept one must not have expired, or a frozen repository would pass here.
      guard got > have else {
        try demandFresh(timestamp.document, now)
        return false
      }
      // 5.4.3.2 "The version number of the snapshot metadata file in the trusted timestamp metadata file, if any, MUST
      // be less than or equal to its version number in the new timestamp metadata file."
      guard next.snapshot.version >= timestamp.snapshot.version else {
        throw .rollback(file: "snapshot.json", have: timestamp.snapshot.version, got: next.snapshot.version)
      }
    }
    // 5.4.4 "The expiration timestamp in the new timestamp metadata file MUST be higher than the fixed update start
    // time. If so, the new timestamp metadata file becomes the trusted timestamp metadata file."
    try demandFresh(document, now)
    timestamp = next
    counted[.timestamp] = signers
    return true
  }

  /// 5.5.2 to 5.5.6: takes the snapshot that the trusted timestamp names.
  public mutating func updateSnapshot(_ bytes: [UInt8], now: Date) throws(TUFError) {
    guard rootFinished, let timestamp else { throw .outOfOrder("a snapshot before the timestamp") }
    // 5.5.2 "The hashes of the new snapshot metadata file MUST match the hashes, if any, listed in the trusted
    // timestamp metadata."
    try timestamp.snapshot.check(bytes, file: "snapshot.json")
    // 5.5.3 "The new snapshot metadata file MUST have been signed by a THRESHOLD of keys specified in the trusted root
    // metadata file."
    let (document, signers) = try verified(bytes, as: .snapshot)
    let next = try TUFSnapshot(document)
    // 5.5.4 "The version number of the new snapshot metadata file MUST match the version number listed in the trusted
    // timestamp metadata."
    guard document.version == timestamp.snapshot.version else {
      throw .versionMismatch(role: "snapshot", expected: timestamp.snapshot.version, got: document.version)
    }
    // 5.5.5 "The version number of the targets metadata file, and all delegated targets metadata files, if any, in the
    // trusted snapshot metadata file, if any, MUST be less than or equal to its version number in the new snapshot
    // metadata file. Furthermore, any targets metadata filename that was listed in the trusted snapshot metadata file,
    // if any, MUST continue to be listed in the new snapshot metadata file."
    for (file, have) in snapshot?.files ?? [:] {
      guard let got = next.files[file] else { throw .removed(file: file) }
      guard got.version >= have.version else {
        throw .rollback(file: file, have: have.version, got: got.version)
      }
    }
    // 5.5.6 "The expiration timestamp in the new snapshot metadata file MUST be higher than the fixed update start
    // time. If so, the new snapshot metadata file becomes the trusted snapshot metadata file."
    try demandFresh(document, now)
    snapshot = next
    counted[.snapshot] = signers
  }

  /// 5.6.2 to 5.6.5: takes the targets metadata that the trusted snapshot names.
  public mutating func updateTargets(_ bytes: [UInt8], now: Date) throws(TUFError) {
    guard rootFinished, let timestamp, let snapshot, snapshot.document.version == timestamp.snapshot.version else {
      throw .outOfOrder("targets before the snapshot")
    }
    // 5.6.2 "The hashes of the new targets metadata file MUST match the hashes, if any, listed in the trusted snapshot
    // metadata."
    try snapshot.targets.check(bytes, file: "targets.json")
    // 5.6.3 "The new targets metadata file MUST have been signed by a THRESHOLD of keys specified in the trusted root
    // metadata file."
    let (document, signers) = try verified(bytes, as: .targets)
    let next = try TUFTargets(document)
    // 5.6.4 "The version number of the new targets metadata file MUST match the version number listed in the trusted
    // snapshot metadata."
    guard document.version == snapshot.targets.version else {
      throw .versionMismatch(role: "targets", expected: snapshot.targets.version, got: document.version)
    }
    // 5.6.5 "The expiration timestamp in the new targets metadata file MUST be higher than the fixed update start
    // time. If so, the new targets metadata file becomes the trusted targets metadata file."
    try demandFresh(document, now)
    targetsMetadata = next
    counted[.targets] = signers
  }

  /// A file of a role, its signatures checked against the trusted root and nothing else: no expiry, no version.
  /// The hub checks staged targets with it, before it signs a snapshot over them.
  public func verified(_ bytes: [UInt8], as role: TUFRole) throws(TUFError) -> (TUFDocument, signers: [String]) {
    let document = try TUFDocument(parsing: bytes, as: role)
    return (document, try document.demandSigners(root.roleKeys(role), keys: root.keys))
  }

  private func demandFresh(_ document: TUFDocument, _ now: Date) throws(TUFError) {
    guard document.expires > now else { throw .expired(role: document.role.rawValue, since: document.expires) }
  }
}

// MARK: - What was trusted before

extension TrustedMetadata {
  /// Takes a file that an earlier update trusted: its signatures must still be the trusted root's, but it may have
  /// expired, and for a snapshot or targets it need not be the one now named. False when it is not trusted any more.
  mutating func restore(_ bytes: [UInt8], as role: TUFRole) -> Bool {
    guard let (document, signers) = try? verified(bytes, as: role) else { return false }
    switch role {
    case .root: return false
    case .timestamp:
      guard let value = try? TUFTimestamp(document) else { return false }
      timestamp = value
    case .snapshot:
      guard let value = try? TUFSnapshot(document) else { return false }
      snapshot = value
    case .targets:
      guard let value = try? TUFTargets(document) else { return false }
      targetsMetadata = value
    }
    counted[role] = signers
    return true
  }

  /// The last trusted set as it lies on disk, for a box that is offline: nothing expires here, `expiries` tells.
  /// Files that the root does not vouch for (any more) are left out, so that their targets are not there either.
  public static func loadOffline(_ local: TUFLocalState) throws(TUFError) -> TrustedMetadata {
    var trusted = try TrustedMetadata(trustedRoot: local.root)
    for (bytes, role) in [(local.timestamp, TUFRole.timestamp), (local.snapshot, .snapshot), (local.targets, .targets)]
    {
      if let bytes { _ = trusted.restore(bytes, as: role) }
    }
    return trusted
  }
}

// MARK: - What it says

extension TrustedMetadata {
  public var rootVersion: Int64 { root.document.version }
  public var timestampVersion: Int64? { timestamp?.document.version }
  public var snapshotVersion: Int64? { snapshot?.document.version }
  public var targetsVersion: Int64? { targetsMetadata?.document.version }
  /// The snapshot that the trusted timestamp names.
  public var snapshotMeta: TUFFileMeta? { timestamp?.snapshot }
  /// The targets metadata that the trusted snapshot names.
  public var targetsMeta: TUFFileMeta? { snapshot?.targets }

  /// Every target, sorted by path.
  public var targets: [TUFTarget] { targetsMetadata?.targets ?? [] }
  public func target(_ path: String) -> TUFTarget? { targets.first { $0.path == path } }

  /// The ids of the keys whose signature on the role's metadata counted.
  public func signers(of role: String) -> [String] { TUFRole(rawValue: role).flatMap { counted[$0] } ?? [] }

  private var documents: [TUFDocument] {
    [root.document] + [timestamp?.document, snapshot?.document, targetsMetadata?.document].compactMap(\.self)
  }

  /// When each role's trusted metadata expires.
  public var expiries: [String: Date] {
    Dictionary(uniqueKeysWithValues: documents.map { ($0.role.rawValue, $0.expires) })
  }

  /// The roles whose trusted metadata has expired, in the order of the workflow.
  public func expired(at now: Date) -> [String] {
    documents.filter { $0.expires <= now }.map(\.role.rawValue)
  }
}

extension TrustedMetadata: CustomStringConvertible {
  public var description: String { documents.map(\.description).joined(separator: "; ") }
}
