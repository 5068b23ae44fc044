import CommandLine
import FoundationEssentials
import Storage
import Trust

/// The next state of a repository: what is current, and what is staged upon it.
struct RepoDraft {
  let folder: RepoFolder
  /// Nil as long as the first root is not signed.
  let contents: RepoContents?
  var staging: TUFStaging
  /// Whether a hub signs snapshot and timestamp.
  var isHubSigned: Bool

  /// What lies in the folder. Throws when a staged file was altered after a signature.
  init(_ folder: RepoFolder) throws {
    try RepoJournal.recover(folder)
    let isFirst = !DurableFile.exists(folder.metadata + "/1.root.json")
    let names = try DurableFile.names(in: folder.staged)
    contents = isFirst && names.contains("1.root.json") ? nil : try folder.load()
    staging = TUFStaging(base: contents?.documents ?? [:])
    for name in names {
      guard let role = RepoDraft.role(staged: name),
        let bytes = try DurableFile.read("\(folder.staged)/\(name)")
      else { continue }
      staging.put(try TUFStagedFile(role: role, parsing: bytes))
    }
    let isLegacy = contents.map { $0.targets != nil && $0.isSignedOnline } ?? false
    self.folder = folder
    isHubSigned = isLegacy || DurableFile.exists(folder.hubMark) || names.contains("hub-signed")
    try staging.refuseAltered()
  }

  /// The names of staged files: as in the repository, with a hyphen for a slash.
  private static func stagedName(_ fileName: String) -> String { fileName.replacing("/", with: "-") }
  private static func role(staged name: String) -> String? {
    if name == "timestamp.json" { return "timestamp" }
    if name.hasPrefix("director-"), name.hasSuffix(".root.json") { return TUFStagedFile.director }
    return TUFFileName.parse(name)?.role
  }

  /// A repository that begins.
  init(new folder: RepoFolder, isHubSigned: Bool) {
    self.folder = folder
    contents = nil
    staging = TUFStaging(base: [:])
    self.isHubSigned = isHubSigned
  }

  // MARK: - Editing

  /// Changes the next version of a role's file. One that carries signatures already is not changed.
  mutating func edit(_ role: String, expires: Date, _ change: (inout TUFSigned) throws -> Void) throws {
    if let file = staging.files[role], !file.document.signatures.isEmpty {
      throw CommandFailure(
        "\(file.fileName) is staged and carries \(file.document.signatures.count) signatures already",
        hint: "finish it with 'skerry repo commit', or drop it with 'skerry repo stage \(folder.path) --discard'",
        status: .data)
    }
    guard let before = staging.document(role) else {
      throw CommandFailure("the repository has no \(role) metadata", status: .noInput)
    }
    var signed = TUFSigned(continuing: before)
    try change(&signed)
    signed.advance(to: (staging.base[role]?.version ?? 0) + 1, expires: expires)
    staging.put(try TUFStagedFile(role: role, signed))
  }

  /// Adds the first file of a role: an empty list.
  mutating func begin(_ role: String, expires: Date) throws {
    guard staging.document(role) == nil else { return }
    // A role that was there before goes on counting: a snapshot may never list less.
    let version = (contents?.snapshot?.files["\(role).json"]?.version ?? 0) + 1
    staging.put(
      try TUFStagedFile(role: role, TUFWriter.targets(version: version, expires: expires, targets: [])))
  }

  /// Stages a new version of every list whose signatures no longer are what the staged root and delegations demand.
  mutating func settle(_ expiry: RepoExpiry) throws {
    // Snapshot and timestamp follow when all else is signed.
    for role in try staging.outdated() where !["snapshot", "timestamp", TUFStagedFile.director].contains(role) {
      try edit(role, expires: expiry.of(role)) { _ in }
    }
    // Other root keys: the director's root must be theirs as well.
    if staging.files["root"] != nil, staging.files[TUFStagedFile.director] == nil,
      staging.base[TUFStagedFile.director] != nil, try hasOtherRootKeys()
    {
      try stageDirector(expires: expiry.root)
    }
  }

  private func hasOtherRootKeys() throws -> Bool {
    guard let before = staging.base["root"] else { return true }
    return try TUFRoot(before).roleKeys(.root) != staging.root().roleKeys(.root)
  }

  /// Stages the director's next root: the repository's own root keys, and `online` for the other roles. Without one the
  /// key that it has, or the one by which a hub signs the timestamp; nothing where there is neither.
  mutating func stageDirector(online: TUFKey? = nil, expires: Date) throws {
    let image = try staging.root()
    let before = try staging.base[TUFStagedFile.director].map { try TUFRoot($0) }
    let source = before ?? (isHubSigned ? image : nil)
    guard
      let key = online ?? source.flatMap({ root in root.roleKeys(.timestamp).keyIDs.first.flatMap { root.keys[$0] } })
    else { return }
    let keys = image.roleKeys(.root)
    let role: (keys: [TUFKey], threshold: Int) = ([key], 1)
    let root = TUFWriter.root(
      version: (before?.document.version ?? 0) + 1, expires: expires,
      roles: [
        .root: (keys.keyIDs.compactMap { image.keys[$0] }, keys.threshold), .timestamp: role, .snapshot: role,
        .targets: role,
      ]
    ).bound(to: TUFBinding(repository: TUFBinding.director))
    staging.put(try TUFStagedFile(role: TUFStagedFile.director, root))
  }

  // MARK: - Keeping

  /// Writes what is staged, unsigned or partly signed; files that are staged no more go.
  func save() throws {
    try DurableFile.makeDirectory(folder.staged, mode: 0o755)
    let wanted = Set(staging.files.values.map { RepoDraft.stagedName($0.fileName) })
    for file in staging.ordered {
      try DurableFile.replace(
        "\(folder.staged)/\(RepoDraft.stagedName(file.fileName))", with: file.document.bytes, mode: 0o644)
    }
    if isHubSigned { try DurableFile.replace("\(folder.staged)/hub-signed", with: [], mode: 0o644) }
    for name in try DurableFile.names(in: folder.staged)
    where name != "hub-signed" && !name.hasSuffix(".tmp") && !wanted.contains(name) {
      try DurableFile.remove("\(folder.staged)/\(name)")
    }
  }

  /// What has been changed, for those who sign.
  func summary() throws -> [String] { try RepoSummary.lines(staging) }
}

/// What staged files change, in words.
enum RepoSummary {
  static func lines(_ staging: TUFStaging) throws -> [String] {
    var lines: [String] = []
    for file in staging.ordered {
      let changes = try TUFDifferences.lines(from: staging.base[file.role], to: file.document, role: file.role)
      lines.append(changes[0])
      lines += changes.dropFirst().map { "  \($0)" }
      lines.append("  digest \(try file.digest().hex)")
    }
    return lines
  }
}
