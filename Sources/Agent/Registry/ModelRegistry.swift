import Fleet
import Models
import Storage
import Trust

/// The models on this box: which there are, how far each is, and the way from signed metadata to a file that an engine
/// may load. State is written before each step, so that a kill at any point leaves the last good model or the next.
public actor ModelRegistry {
  let database: Database
  let store: ContentStore
  let metadata: MetadataStore
  let directorMetadata: MetadataStore
  let audit: AuditWriter
  let isInUse: @Sendable (ModelManifest) async -> Bool
  let now: @Sendable () -> Int64
  let policy: StorePolicy
  /// Nil: rows are taken for what they say, for whoever tries out the machinery alone.
  let vouching: Vouching?

  /// The rows of the table, as they are on disk.
  private(set) var models: [InstalledModel]
  /// The signed metadata that was trusted last; nil before enrolment.
  public private(set) var trusted: TrustedMetadata?
  /// The director's metadata for this box that was trusted last; nil before the first.
  public private(set) var director: TrustedMetadata?
  /// The newest version of each name that the box has had, as on disk.
  private var floors: [ModelName: ModelVersion]
  /// Pins, uses and evictions, as on disk.
  var marks: StoreMarks
  /// Which kept metadata vouches for which model.
  var notes: [VoucherNote.Key: VoucherNote]
  /// The floors as the file beside the database has them.
  var keptFloors: [ModelName: ModelVersion]
  var isReconciling = false
  /// Who takes in the fleet's policy; nil: nobody.
  private(set) var policies: FleetPolicies?
  /// Called before a model takes the place of an older version, with its file complete and verified.
  var warmUp: (@Sendable (InstalledModel, ModelRegistry) async -> Void)?

  /// Opens the registry as the last run left it, without any network.
  ///
  /// - Parameters:
  ///   - database: agent.sqlite, with `ModelTable.schema` among its migrations.
  ///   - directory: `registry` in the state directory; `tuf` and `director` in it hold the metadata.
  ///   - audit: makes a durable record; nothing takes effect when it throws.
  ///   - isInUse: whether an engine has this file open, so that it must not be removed.
  ///   - policy: how much it may keep.
  ///   - vouching: who must have signed for a model that an engine gets.
  ///   - now: Unix seconds.
  public static func open(
    database: Database, directory: String, audit: @escaping AuditWriter,
    isInUse: @escaping @Sendable (ModelManifest) async -> Bool = { _ in false }, policy: StorePolicy = StorePolicy(),
    vouching: Vouching? = nil, now: @escaping @Sendable () -> Int64
  ) async throws -> ModelRegistry {
    let store = try ContentStore(root: directory)
    let metadata = MetadataStore(directory: directory + "/tuf")
    let directorMetadata = MetadataStore(directory: directory + "/director")
    let keptFloors = FloorFile(path: directory + "/floors.json").load()
    let (models, floors, marks, notes) = try await database.read {
      (try ModelTable.all($0), try VersionFloors.all($0), try StoreMarks.all($0), try VoucherNote.all($0))
    }
    // Metadata that can't be read leaves the installed models working; the next sync fetches it anew.
    let trusted = try metadata.load().flatMap { try? TrustedMetadata.loadOffline($0) }
    let director = try directorMetadata.load().flatMap { try? TrustedMetadata.loadOffline($0) }
    return ModelRegistry(
      database: database, store: store, metadata: metadata, directorMetadata: directorMetadata, audit: audit,
      isInUse: isInUse, now: now, policy: policy, vouching: vouching, models: models,
      floors: floors.merging(keptFloors, uniquingKeysWith: max), marks: marks,
      notes: notes, keptFloors: keptFloors, trusted: trusted, director: director)
  }

  private init(
    database: Database, store: ContentStore, metadata: MetadataStore, directorMetadata: MetadataStore,
    audit: @escaping AuditWriter, isInUse: @escaping @Sendable (ModelManifest) async -> Bool,
    now: @escaping @Sendable () -> Int64, policy: StorePolicy, vouching: Vouching?,
    models: [InstalledModel], floors: [ModelName: ModelVersion], marks: StoreMarks,
    notes: [VoucherNote.Key: VoucherNote], keptFloors: [ModelName: ModelVersion],
    trusted: TrustedMetadata?, director: TrustedMetadata?
  ) {
    self.database = database
    self.store = store
    self.metadata = metadata
    self.directorMetadata = directorMetadata
    self.audit = audit
    self.isInUse = isInUse
    self.now = now
    self.policy = policy
    self.vouching = vouching
    self.marks = marks
    self.notes = notes
    self.keptFloors = keptFloors
    self.models = models
    self.floors = floors
    self.trusted = trusted
    self.director = director
  }

  func setPolicies(_ policies: FleetPolicies) { self.policies = policies }

  func setWarmUp(_ warmUp: @escaping @Sendable (InstalledModel, ModelRegistry) async -> Void) { self.warmUp = warmUp }

  /// Every model that is wanted, whatever its state, by name and version.
  public func installed() -> [InstalledModel] { models.filter { !$0.isRetired } }

  /// The model that a caller means by `smollm2` (its newest active version) or `smollm2:1.0`.
  /// Throws `RegistryError.unknownModel`, `.notReady`, `.evicted` or `.corrupt`.
  public func resolve(_ name: String) throws -> InstalledModel {
    let named = models.filter { !$0.isRetired && ($0.name.description == name || $0.manifest.label == name) }
    guard let newest = named.max(by: { $0.version < $1.version }) else {
      let evicted = marks.evictions.values.filter {
        $0.manifest.name.description == name || $0.manifest.label == name
      }
      if let last = evicted.max(by: { $0.manifest.version < $1.manifest.version }) {
        throw RegistryError.evicted(last.manifest.label)
      }
      throw RegistryError.unknownModel(name)
    }
    if let active = named.filter({ $0.state == .active }).max(by: { $0.version < $1.version }) { return active }
    if newest.state == .corrupt {
      throw RegistryError.corrupt(newest.manifest.label, reason: newest.problem ?? "digest mismatch")
    }
    throw RegistryError.notReady(newest.manifest.label, newest.state)
  }

  /// A model's file, opened and hashed: what an engine is given. A file that does not match its signed digest, or that
  /// others can change, is marked corrupt, audited as `digest_mismatch`, and refused until it is mended.
  ///
  /// `sha256` is the file that the caller decided on: by now the name may stand for another one, and an engine would run
  /// what neither the request nor its record names.
  public func verifiedFile(_ name: String, sha256: Digest? = nil) async throws -> VerifiedFile {
    let model = try resolve(name)
    if let sha256, sha256 != model.manifest.sha256 { throw RegistryError.replaced(model.manifest.label) }
    return try await open(model)
  }

  /// The path of a verified file, for who reads it at once.
  public func verifiedPath(_ name: String, sha256: Digest? = nil) async throws -> String {
    try await verifiedFile(name, sha256: sha256).path
  }

  /// Hashes a model's whole file against the signed digest. False when it does not match; it is then corrupt.
  public func verify(_ name: String, progress: ProgressHandler? = nil) async throws -> Bool {
    let model = try resolve(name)
    do {
      _ = try await open(model, progress: progress)
      return true
    } catch RegistryError.corrupt {
      return false
    }
  }

  func open(_ model: InstalledModel, progress: ProgressHandler? = nil) async throws -> VerifiedFile {
    let (store, digest, total) = (store, model.manifest.sha256, model.manifest.length)
    let label = model.manifest.label
    try await demandVoucher(of: model)
    let problem: String
    do {
      return try await offPool {
        try store.open(digest) { done, _ in
          progress?(SyncProgress(.verify, model: label, done: done, total: total))
        }
      }
    } catch StorageError.busy {
      let reason = "somebody has a model's file open for writing"
      try await AttackReport(.tamperedContent, role: "store", reason: reason).record(to: audit)
      throw RegistryError.touched(label)
    } catch StorageError.wrongDigest {
      problem = "its digest is not the signed one"
    } catch StorageError.damaged(_, let reason) {
      problem = reason
    } catch StorageError.notFound {
      problem = "its file is gone"
    }
    try await markCorrupt(model, event: "digest_mismatch", problem: problem)
    throw RegistryError.corrupt(label, reason: problem)
  }

  // MARK: metadata

  /// What was trusted last of the image repository, for the workflow that refreshes it; nil before enrolment.
  public func metadataState() throws -> TUFLocalState? { try metadata.load() }

  /// What was trusted last of the director; nil before its first root.
  public func directorState() throws -> TUFLocalState? { try directorMetadata.load() }

  /// Keeps a file of the image repository's that the workflow trusts.
  public func persistMetadata(_ file: String, _ bytes: [UInt8]?) async throws {
    let metadata = metadata
    try await offPool { try metadata.persist(file, bytes) }
  }

  /// Keeps a file of the director's that the workflow trusts.
  public func persistDirector(_ file: String, _ bytes: [UInt8]?) async throws {
    let metadata = directorMetadata
    try await offPool { try metadata.persist(file, bytes) }
  }

  /// What is kept of a delegated role of the image repository.
  func delegated(_ file: String) throws -> [UInt8]? { try metadata.role(file) }

  func persistDelegated(_ file: String, _ bytes: [UInt8]?) async throws {
    let metadata = metadata
    try await offPool { try metadata.persistRole(file, bytes) }
  }

  /// Forgets delegated roles that the snapshot no longer lists.
  func pruneDelegated(_ trusted: TrustedMetadata) async throws {
    let names = (trusted.snapshot?.files.keys).map(Array.init) ?? []
    let files = Set(names.map { PercentEncoding.encode($0.hasSuffix(".json") ? String($0.dropLast(5)) : $0) + ".json" })
    let metadata = metadata
    try await offPool { try metadata.pruneRoles(keeping: files) }
  }

  /// Begins with this root, whose digest the enrolment token carried. Metadata of an earlier root is dropped, and with
  /// it what that fleet's director said and which versions it had brought.
  public func trust(root: [UInt8]) async throws {
    let trusted = try TrustedMetadata(trustedRoot: root)
    guard TUFBinding(of: trusted.root.document) == .image else { throw TUFError.foreign(role: "root") }
    let (metadata, directorMetadata) = (metadata, directorMetadata)
    try await database.write { try VersionFloors.clear($0) }
    try await offPool {
      try directorMetadata.clear()
      try metadata.clear()
      try metadata.persist("root.json", root)
    }
    floors = [:]
    try await keepFloors()
    self.trusted = trusted
    director = nil
  }

  func setDirector(_ director: TrustedMetadata) { self.director = director }

  func setTrusted(_ trusted: TrustedMetadata) { self.trusted = trusted }

  // MARK: rows

  /// Writes a row, then remembers it.
  func put(_ model: InstalledModel) async throws { try await put([model]) }

  /// Writes rows in one transaction, then remembers them.
  func put(_ changed: [InstalledModel]) async throws {
    try await database.write { connection in
      for model in changed { try ModelTable.put(model, connection) }
    }
    remember(changed)
  }

  private func remember(_ changed: [InstalledModel]) {
    for model in changed {
      models.removeAll { $0.isSameFile(as: model) }
      models.append(model)
    }
    models.sort { ($0.name, $0.version) < ($1.name, $1.version) }
  }

  /// Makes a model active, retires those that it replaces and moves its name's floor, in one transaction.
  func activate(_ model: InstalledModel, replacing retired: [InstalledModel], floor: ModelVersion) async throws {
    try await database.write { connection in
      for changed in [model] + retired { try ModelTable.put(changed, connection) }
      try VersionFloors.put(floor, of: model.name, connection)
    }
    floors[model.name] = floor
    remember([model] + retired)
    try await keepFloors()
  }

  /// The newest version of each name that the box has had, or has stepped back to. Models of before there was such a
  /// table count by themselves.
  public func versionFloors() -> [ModelName: ModelVersion] {
    var found = floors
    for model in models where !model.isRetired && (model.state == .active || model.state == .corrupt) {
      if floors[model.name] == nil { found[model.name] = max(found[model.name] ?? model.version, model.version) }
    }
    return found
  }

  /// Forgets rows in one transaction.
  func forget(_ gone: [InstalledModel]) async throws {
    try await database.write { connection in
      for model in gone { try ModelTable.remove(model, connection) }
    }
    dropRows(gone)
  }

  /// Rows that are gone from the disk.
  func dropRows(_ gone: [InstalledModel]) {
    models.removeAll { model in gone.contains { $0.isSameFile(as: model) } }
  }

  /// No engine gets the file from here on, whether or not the record can be made.
  func markCorrupt(_ model: InstalledModel, event: String, problem: String) async throws {
    var changed = model
    changed.state = .corrupt
    changed.problem = problem
    try await put(changed)
    try await audit(
      .model, "system", fields(of: model, event: event).merging(["problem": .string(problem)]) { _, new in new })
  }

  nonisolated func fields(of model: InstalledModel, event: String) -> [String: JSONValue] {
    [
      "event": .string(event), "model": .string(model.name.description), "version": .string(model.version.description),
      "sha256": .string(model.manifest.sha256.hex),
    ]
  }
}

extension InstalledModel {
  /// The table's key is the same.
  func isSameFile(as other: InstalledModel) -> Bool {
    name == other.name && version == other.version && manifest.sha256 == other.manifest.sha256
  }

  /// The same, no longer wanted.
  var retired: InstalledModel {
    var model = self
    model.isRetired = true
    return model
  }
}
