import FoundationEssentials

/// What a client has on disk from earlier updates, byte for byte as it was trusted.
public struct TUFLocalState: Sendable {
  /// The newest trusted root, or the one that came out of band.
  public var root: [UInt8]
  public var timestamp: [UInt8]?
  public var snapshot: [UInt8]?
  public var targets: [UInt8]?

  public init(root: [UInt8], timestamp: [UInt8]? = nil, snapshot: [UInt8]? = nil, targets: [UInt8]? = nil) {
    self.root = root
    self.timestamp = timestamp
    self.snapshot = snapshot
    self.targets = targets
  }
}

/// TUF's client workflow (specification 1.0.34, section 5) in full order. The caller fetches and keeps the files.
public enum TUFWorkflow {
  /// The most bytes that a file may have when the metadata does not say.
  public struct Limits: Sendable {
    public var root = 512_000
    public var timestamp = 16_384
    public var snapshot = 2_000_000
    public var targets = 8_388_608
    /// The most root versions that one update goes through; the next one goes on from there.
    public var rootRotations = 256
    public init() {}
  }

  /// One update of the metadata. Returns the new trusted set; throws `TUFError` for a file that is not trusted, and
  /// whatever the closures throw. What was trusted up to an error has been kept.
  ///
  /// - `time`: 5.1 "Record the time at which the update began as the fixed update start time." It is asked for once, when
  ///   the root is the newest: what time it is may hang on whose word the root still counts (`TimeFloor`), and what is
  ///   held against an expiry may include the grace that this root allows (`RepositoryPolicy`).
  /// - `fetch`: the bytes of a metadata file ("3.root.json"), nil when the repository has none of that name. It should
  ///   stop reading after the given number of bytes; a longer answer is refused here as well.
  /// - `persist`: keeps a file ("root.json", "timestamp.json", "snapshot.json", "targets.json"), durably, before it
  ///   returns. Called as soon as the file is trusted. Nil bytes: the file is to be removed.
  public static func refresh(
    local: TUFLocalState, limits: Limits = Limits(), time: (TUFRoot) async throws -> Date,
    fetch: (_ file: String, _ maximum: Int) async throws -> [UInt8]?,
    persist: (_ file: String, _ bytes: [UInt8]?) async throws -> Void
  ) async throws -> TrustedMetadata {
    var trusted = try TrustedMetadata(trustedRoot: local.root)
    var local = local
    // 5.3.3 "Try downloading version N+1 of the root metadata file, up to some W number of bytes … If this file is not
    // available, or we have downloaded more than Y number of root metadata files …, then go to step 5.3.10."
    for _ in 0..<limits.rootRotations {
      let file = "\(trusted.rootVersion + 1).root.json"
      guard let bytes = try await fetch(file, limits.root) else { break }
      try demand(bytes, within: limits.root, file)
      let before = trusted
      try trusted.updateRoot(bytes)
      // 5.3.11 comes before 5.3.8 here, so that a crash between the two can't leave fast-forwarded files beside a root
      // that no longer tells of the rotation.
      if before.rotatesOnlineKeys(trusted.root) {
        local.timestamp = nil
        local.snapshot = nil
        try await persist("timestamp.json", nil)
        try await persist("snapshot.json", nil)
      }
      // 5.3.8 "Persist root metadata. The client MUST write the file to non-volatile storage as FILENAME.EXT"
      try await persist("root.json", bytes)
      // 5.3.9 "Repeat steps 5.3.2 to 5.3.9"
    }
    let now = try await time(trusted.root)
    try trusted.finishRoot(now: now)

    // 5.4.1 "Download the timestamp metadata file, up to X number of bytes"
    if let bytes = local.timestamp { _ = trusted.restore(bytes, as: .timestamp) }
    let timestamp = try await demanded("timestamp.json", limits.timestamp, fetch)
    if try trusted.updateTimestamp(timestamp, now: now) {
      // 5.4.5 "Persist timestamp metadata."
      try await persist("timestamp.json", timestamp)
    }

    // 5.5.1 "Download snapshot metadata file, up to either the number of bytes specified in the timestamp metadata
    // file, or some Y number of bytes." The trusted one is not fetched again.
    if let bytes = local.snapshot { _ = trusted.restore(bytes, as: .snapshot) }
    guard let wanted = trusted.snapshotMeta else { throw TUFError.outOfOrder("no timestamp") }
    if let bytes = local.snapshot, (try? trusted.updateSnapshot(bytes, now: now)) != nil {
    } else {
      let file = trusted.fileName("snapshot.json", wanted.version)
      let bytes = try await demanded(file, limit(wanted, limits.snapshot, file), fetch)
      try trusted.updateSnapshot(bytes, now: now)
      // 5.5.7 "Persist snapshot metadata."
      try await persist("snapshot.json", bytes)
    }

    // 5.6.1 "Download the top-level targets metadata file, up to either the number of bytes specified in the snapshot
    // metadata file, or some Z number of bytes."
    guard let wanted = trusted.targetsMeta else { throw TUFError.outOfOrder("no snapshot") }
    if let bytes = local.targets, (try? trusted.updateTargets(bytes, now: now)) != nil {
    } else {
      let file = trusted.fileName("targets.json", wanted.version)
      let bytes = try await demanded(file, limit(wanted, limits.targets, file), fetch)
      try trusted.updateTargets(bytes, now: now)
      // 5.6.6 "Persist targets metadata."
      try await persist("targets.json", bytes)
    }
    return trusted
  }

  /// The same, for a caller who knows what time it is before.
  public static func refresh(
    local: TUFLocalState, now: Date, limits: Limits = Limits(),
    fetch: (_ file: String, _ maximum: Int) async throws -> [UInt8]?,
    persist: (_ file: String, _ bytes: [UInt8]?) async throws -> Void
  ) async throws -> TrustedMetadata {
    try await refresh(local: local, limits: limits, time: { _ in now }, fetch: fetch, persist: persist)
  }

  static func limit(_ meta: TUFFileMeta, _ limit: Int, _ file: String) throws(TUFError) -> Int {
    guard let length = meta.length else { return limit }
    guard length <= UInt64(limit) else { throw .tooLarge(file: file, limit: limit) }
    return Int(length)
  }

  static func demanded(
    _ file: String, _ maximum: Int, _ fetch: (String, Int) async throws -> [UInt8]?
  ) async throws -> [UInt8] {
    guard let bytes = try await fetch(file, maximum) else { throw TUFError.missing(file: file) }
    try demand(bytes, within: maximum, file)
    return bytes
  }

  private static func demand(_ bytes: [UInt8], within limit: Int, _ file: String) throws(TUFError) {
    guard bytes.count <= limit else { throw .tooLarge(file: file, limit: limit) }
  }
}

extension TrustedMetadata {
  /// The name of a metadata file in the repository.
  ///
  /// 5.5.1 "If consistent snapshots are not used, then the filename used to download the snapshot metadata file is of
  /// the fixed form FILENAME.EXT … Otherwise, the filename is of the form VERSION_NUMBER.FILENAME.EXT"
  public func fileName(_ name: String, _ version: Int64) -> String {
    root.consistentSnapshot ? "\(version).\(name)" : name
  }
}
