public import Trust

/// What a box's store holds and who needs it. What may go is decided here, purely; reference counts are counted from it
/// each time, and kept nowhere.
public struct StoreInventory: Sendable {
  /// One row: a name and version for a stored file. Several may stand for one file.
  public struct Holding: Hashable, Sendable {
    public var manifest: ModelManifest
    /// Its file was whole and verified, and callers were given it.
    public var isActive: Bool
    /// No longer wanted.
    public var isRetired: Bool
    public var isPinned: Bool
    /// An engine has the file open.
    public var isInUse: Bool
    /// When somebody last asked for it, or when it was activated, in Unix seconds; the later of both.
    public var lastUse: Int64
    /// When it was last activated, in Unix seconds.
    public var activatedAt: Int64?

    public init(
      _ manifest: ModelManifest, isActive: Bool, isRetired: Bool, isPinned: Bool = false, isInUse: Bool = false,
      lastUse: Int64 = 0, activatedAt: Int64? = nil
    ) {
      self.manifest = manifest
      self.isActive = isActive
      self.isRetired = isRetired
      self.isPinned = isPinned
      self.isInUse = isInUse
      self.lastUse = lastUse
      self.activatedAt = activatedAt
    }
  }

  public var holdings: [Holding]
  /// Whether the version before the active one stays, so that a signed rollback needs no network.
  public var keepsPrevious: Bool

  public init(_ holdings: [Holding], keepsPrevious: Bool) {
    self.holdings = holdings
    self.keepsPrevious = keepsPrevious
  }

  /// Why a retired model stays.
  public enum Reason: String, Sendable, Hashable {
    case pinned
    case inUse = "in use by an engine"
    case previous = "the last good version of its name, kept for a rollback"
  }

  /// The last good version of each name that has a newer one: of the retired that were active, the one activated last.
  /// A name of which nothing is wanted any more has none.
  public var previous: Set<Holding> {
    guard keepsPrevious else { return [] }
    let wanted = Set(holdings.filter { !$0.isRetired }.map(\.manifest.name))
    let candidates = holdings.filter { $0.isRetired && $0.isActive && wanted.contains($0.manifest.name) }
    return Set(
      Dictionary(grouping: candidates, by: \.manifest.name).values.compactMap { versions in
        versions.max { ($0.activatedAt ?? 0, $0.manifest.version) < ($1.activatedAt ?? 0, $1.manifest.version) }
      })
  }

  /// Why this holding stays although it is retired; nil: nothing keeps it.
  public func reason(toKeep holding: Holding) -> Reason? {
    if holding.isPinned { return .pinned }
    if holding.isInUse { return .inUse }
    if previous.contains(holding) { return .previous }
    return nil
  }

  /// The retired that nothing keeps: what a garbage collector takes away. Never what is active and wanted, pinned, in
  /// use, or the last good version of a name.
  public var garbage: [Holding] {
    let previous = previous
    return holdings.filter { holding in
      holding.isRetired && !holding.isPinned && !holding.isInUse && !previous.contains(holding)
    }
  }

  /// The holdings that name a file.
  public func references(to digest: Digest) -> [Holding] { holdings.filter { $0.manifest.sha256 == digest } }

  /// What is to go so that `needed` more bytes fit, least recently used first: garbage, then kept earlier versions, then
  /// active models that nobody pinned and no engine has open. Nil when even all of that is too little: then nothing is
  /// to go.
  ///
  /// - incoming: the model that room is made for; no version of its name goes, so that the name never stands empty.
  /// - before: what was used at this time or later, in Unix seconds, stays: two models never push each other out in turn.
  /// - excess: bytes by which the store is over its limit without the new model.
  public func room(_ excess: UInt64, for incoming: ModelManifest?, before: Int64) -> [Holding]? {
    guard excess > 0 else { return [] }
    let (garbage, previous) = (Set(garbage), previous)
    func rank(_ holding: Holding) -> Int { garbage.contains(holding) ? 0 : previous.contains(holding) ? 1 : 2 }
    func mayGo(_ holding: Holding) -> Bool {
      if holding.isPinned || holding.isInUse { return false }
      if garbage.contains(holding) { return true }
      // What lies at the incoming model's own place is a download that goes on.
      if holding.manifest.sha256 == incoming?.sha256 { return false }
      if previous.contains(holding) { return true }
      if holding.manifest.name == incoming?.name || holding.manifest.sha256 == incoming?.base { return false }
      return holding.isActive && holding.lastUse < before
    }
    // A file goes when all its names may; it ranks as the one of them that is needed most.
    let files = Dictionary(grouping: holdings, by: \.manifest.sha256).values.filter { $0.allSatisfy(mayGo) }
    let ordered = files.sorted { left, right in
      func key(_ names: [Holding]) -> (Int, Int64, String) {
        (
          names.map(rank).max() ?? 0, names.map(\.lastUse).max() ?? 0, names.map(\.manifest.label).min() ?? ""
        )
      }
      return key(left) < key(right)
    }
    var (going, freed): ([Holding], UInt64) = ([], 0)
    for names in ordered where freed < excess {
      going += names.sorted { $0.manifest.label < $1.manifest.label }
      freed += names.first?.manifest.length ?? 0
    }
    return freed >= excess ? going : nil
  }
}

extension ModelManifest {
  /// The digest of the chunk index, where there is one.
  public var indexDigest: Digest? { index?.sha256 }
}
