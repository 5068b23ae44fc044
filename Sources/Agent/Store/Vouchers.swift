import Fleet
import Host
import Models
import Storage
import Trust

/// By what the registry tells whether somebody signed for a model.
public struct Vouching: Sendable {
  public let device: DeviceID
  /// The digest of the root that the box was enrolled with; nil before enrolment: then nobody vouches for anything.
  public let anchor: @Sendable () -> Digest?

  public init(device: DeviceID, anchor: @escaping @Sendable () -> Digest?) {
    self.device = device
    self.anchor = anchor
  }
}

/// Which kept files make up a model's voucher, by their digests: a row of `vouchers`. The files lie in
/// `registry/admitted`, each once however many models it vouches for.
struct VoucherNote: Sendable, Hashable {
  static let schema = """
    CREATE TABLE vouchers (
      path TEXT NOT NULL,
      sha256 TEXT NOT NULL,
      note TEXT NOT NULL,
      PRIMARY KEY (path, sha256)
    ) STRICT, WITHOUT ROWID;
    """

  struct Key: Sendable, Hashable {
    let path: String
    let sha256: String

    init(_ manifest: ModelManifest) { (path, sha256) = (manifest.targetPath, manifest.sha256.hex) }
    init(_ policy: PolicyTarget) { (path, sha256) = (policy.path, policy.sha256.hex) }
    init(path: String, sha256: String) { (self.path, self.sha256) = (path, sha256) }
  }

  /// The version of the root that was trusted.
  var root: Int64
  var roles: [String]
  var lists: [Digest]
  var directorRoot: Digest
  var directorTargets: Digest

  var files: [Digest] { lists + [directorRoot, directorTargets] }

  var json: JSONValue {
    [
      "root": .integer(root), "roles": .array(roles.map { .string($0) }),
      "lists": .array(lists.map { .string($0.hex) }), "directorRoot": .string(directorRoot.hex),
      "directorTargets": .string(directorTargets.hex),
    ]
  }

  init(root: Int64, roles: [String], lists: [Digest], directorRoot: Digest, directorTargets: Digest) {
    self.root = root
    self.roles = roles
    self.lists = lists
    self.directorRoot = directorRoot
    self.directorTargets = directorTargets
  }

  /// Nil for what is no note; whoever can write the database can write anything here, so nothing of it is believed but
  /// what the files' signatures bear out.
  init?(parsing bytes: [UInt8]) {
    guard bytes.count <= 1 << 16, let json = try? JSONValue(parsing: bytes), let root = json["root"]?.integer, root > 0,
      let roles = json["roles"]?.array?.compactMap(\.string),
      let lists = json["lists"]?.array?.compactMap({ $0.string.flatMap { Digest(hex: $0) } }), !lists.isEmpty,
      roles.count == lists.count, lists.count <= 64,
      let directorRoot = json["directorRoot"]?.string.flatMap({ Digest(hex: $0) }),
      let directorTargets = json["directorTargets"]?.string.flatMap({ Digest(hex: $0) })
    else { return nil }
    self.init(root: root, roles: roles, lists: lists, directorRoot: directorRoot, directorTargets: directorTargets)
  }

  static func all(_ connection: Connection) throws -> [Key: VoucherNote] {
    var notes: [Key: VoucherNote] = [:]
    for row in try connection.query("SELECT path, sha256, note FROM vouchers") {
      notes[Key(path: try row.text("path"), sha256: try row.text("sha256"))] = VoucherNote(
        parsing: Array(try row.text("note").utf8))
    }
    return notes
  }

  static func put(_ note: VoucherNote, _ key: Key, _ connection: Connection) throws {
    try connection.execute(
      "INSERT OR REPLACE INTO vouchers (path, sha256, note) VALUES (?, ?, ?)", .text(key.path), .text(key.sha256),
      .text(String(decoding: note.json.encoded(), as: UTF8.self)))
  }

  static func remove(_ key: Key, _ connection: Connection) throws {
    try connection.execute("DELETE FROM vouchers WHERE path = ? AND sha256 = ?", .text(key.path), .text(key.sha256))
  }
}

extension ModelRegistry {
  private nonisolated var admitted: String { store.root + "/admitted" }

  /// Keeps the metadata that admits a model, before the model becomes active. Throws `RegistryError.unvouched` when the
  /// metadata on disk does not: in a dispute between the two repositories nothing newer takes the old voucher's place.
  func vouch(for manifest: ModelManifest) async throws {
    try await vouch(VoucherNote.Key(manifest), label: manifest.label) { (try? ModelManifest($0)) == manifest }
  }

  /// The same for a policy of the fleet's.
  func vouch(for policy: PolicyTarget) async throws {
    try await vouch(VoucherNote.Key(policy), label: policy.path) { PolicyTarget($0) == policy }
  }

  private func vouch(
    _ key: VoucherNote.Key, label: String, isMeant: @escaping @Sendable (TUFTarget) -> Bool
  ) async throws {
    guard let vouching else { return }
    let (metadata, admitted) = (metadata, admitted)
    @Sendable func unvouched(_ reason: String) -> RegistryError { .unvouched(label, reason: reason) }
    guard let anchor = vouching.anchor() else { throw unvouched(Voucher.Failure.unanchored.description) }
    guard let trusted, let director, let chosen = director.targetsMetadata else {
      throw unvouched("there is no signed metadata on this box")
    }
    let note = try await offPool { () -> VoucherNote in
      guard let lists = try Voucher.lists(naming: key.path, in: trusted, kept: { try metadata.role($0) })
      else { throw unvouched("no kept list of models names it") }
      let voucher = Voucher(
        roots: try metadata.roots(through: trusted.rootVersion), lists: lists,
        directorRoot: director.root.document.bytes, directorTargets: chosen.document.bytes)
      do {
        try voucher.demand(key.path, device: vouching.device, anchor: anchor, isMeant: isMeant)
      } catch let failure as Voucher.Failure { throw unvouched(failure.description) }
      let files = lists.map(\.bytes) + [voucher.directorRoot, voucher.directorTargets]
      try DurableFile.makeDirectory(admitted)
      for bytes in files {
        let place = "\(admitted)/\(Digest(of: bytes).hex).json"
        if try DurableFile.read(place) != bytes { try DurableFile.replace(place, with: bytes) }
      }
      let digests = files.map { Digest(of: $0) }
      return VoucherNote(
        root: trusted.rootVersion, roles: lists.map(\.role), lists: Array(digests.prefix(lists.count)),
        directorRoot: digests[lists.count], directorTargets: digests[lists.count + 1])
    }
    guard notes[key] != note else { return }
    try await database.write { try VoucherNote.put(note, key, $0) }
    notes[key] = note
  }

  /// Takes over newer metadata that vouches for a model which stays; the older goes on vouching where there is none.
  func renewVoucher(_ manifest: ModelManifest) async throws {
    do { try await vouch(for: manifest) } catch RegistryError.unvouched {}
  }

  /// The same for a policy.
  func renewVoucher(_ policy: PolicyTarget) async throws {
    do { try await vouch(for: policy) } catch RegistryError.unvouched {}
  }

  /// Why no kept, signed metadata names this policy for this box; nil: it does.
  func voucherFailure(of path: String, _ sha256: Digest) throws -> String? {
    guard let vouching else { return nil }
    do {
      guard let anchor = vouching.anchor() else { throw Voucher.Failure.unanchored }
      guard let voucher = try voucher(VoucherNote.Key(path: path, sha256: sha256.hex)) else {
        throw Voucher.Failure.notNamed
      }
      try voucher.demand(path, device: vouching.device, anchor: anchor) { PolicyTarget($0)?.sha256 == sha256 }
      return nil
    } catch let failure as Voucher.Failure {
      return "a row names a policy for which nobody vouches: \(failure)"
    }
  }

  /// Forgets what vouched for the policies before this one.
  func forgetVouchers(allBut policy: PolicyTarget) async throws {
    let stale = notes.keys.filter { $0.path.hasPrefix(PolicyTarget.folder) && $0 != VoucherNote.Key(policy) }
    guard !stale.isEmpty else { return }
    try await database.write { connection in
      for key in stale { try VoucherNote.remove(key, connection) }
    }
    for key in stale { notes[key] = nil }
  }

  /// Whether kept, signed metadata names this very model for this box. A row alone admits nothing.
  private func voucher(_ key: VoucherNote.Key) throws -> Voucher? {
    guard let note = notes[key] else { return nil }
    func file(_ digest: Digest) throws -> [UInt8]? {
      try DurableFile.read("\(admitted)/\(digest.hex).json").flatMap { Digest(of: $0) == digest ? $0 : nil }
    }
    var lists: [Voucher.List] = []
    for (role, digest) in zip(note.roles, note.lists) {
      guard let bytes = try file(digest) else { return nil }
      lists.append(Voucher.List(role: role, bytes: bytes))
    }
    guard let root = try file(note.directorRoot), let targets = try file(note.directorTargets) else { return nil }
    return Voucher(
      roots: try metadata.roots(through: note.root), lists: lists, directorRoot: root, directorTargets: targets)
  }

  /// Throws `RegistryError.unvouched` for a model that nobody signed for; it is then out of use, and on record as an
  /// attack.
  func demandVoucher(of model: InstalledModel) async throws {
    guard let vouching else { return }
    let reason: String
    do {
      guard let anchor = vouching.anchor() else { throw Voucher.Failure.unanchored }
      guard !isLeftBehind(model.manifest) else { throw Voucher.Failure.leftBehind }
      guard let voucher = try voucher(VoucherNote.Key(model.manifest)) else { throw Voucher.Failure.notNamed }
      return try voucher.demand(model.manifest, device: vouching.device, anchor: anchor)
    } catch let failure as Voucher.Failure {
      reason = failure.description
    }
    let report =
      isLeftBehind(model.manifest)
      ? AttackReport(.rollback, role: "store", reason: "a row names an older model than the box has had")
      : AttackReport(.foreignImage, role: "store", reason: "a row names a model that no kept signed metadata names")
    try await report.record(to: audit)
    try await markCorrupt(model, event: "refused", problem: "nobody vouches for it: \(reason)")
    throw RegistryError.unvouched(model.manifest.label, reason: reason)
  }

  /// At the start: rows that nobody vouches for are out of use before anybody asks.
  public func checkVouchers() async {
    for model in models where model.state == .active && !model.isRetired {
      do { try await demandVoucher(of: model) } catch {
        Log.shared.error("a model is refused", ["model": model.manifest.label, "reason": "\(error)"])
      }
    }
  }

  /// Forgets vouchers of models that are gone, and the files that no other needs.
  func sweepVouchers() async throws {
    let rows = Set(models.map { VoucherNote.Key($0.manifest) })
    let stale = notes.keys.filter { !rows.contains($0) && !$0.path.hasPrefix(PolicyTarget.folder) }
    if !stale.isEmpty {
      try await database.write { connection in
        for key in stale { try VoucherNote.remove(key, connection) }
      }
      for key in stale { notes[key] = nil }
    }
    let named = Set(notes.values.flatMap(\.files).map { $0.hex + ".json" })
    let admitted = admitted
    try await offPool {
      for name in try DurableFile.names(in: admitted) where !named.contains(name) {
        try DurableFile.remove("\(admitted)/\(name)")
      }
    }
  }
}
