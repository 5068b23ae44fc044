import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo add`: a model's chunks, and a list that names it.
enum RepoAdd {
  static func run(_ command: ParsedCommand) async throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let (name, version) = try identity(command)
    let path = command.argument("FILE")
    let file = try InputFile(path)
    let fileName = path.split(separator: "/").last.map(String.init) ?? path
    guard ModelManifest.isFileName(fileName) else {
      throw CommandFailure(
        "\(fileName) is no good name for weights", hint: "a plain name that ends in .gguf, at most 128 characters",
        status: .data)
    }
    let before = try RepoDraft(folder)
    let role = try RepoAdd.role(command, before, "models/\(name)/\(version)/\(fileName)")
    // Asked for before the long work, so that a wrong passphrase or a missing key costs nothing.
    let isStaging = command.flag("stage")
    let ring = try isStaging ? RepoKeyring(command) : RepoKeyring.demanded(command)
    if !isStaging { try ring.demandKeys(of: role, before.staging) }
    let header = try header(of: file, path)
    let base = try base(command, before, header, path)
    let signed = try await RepoSignedFile.demand(command, folder, file: path)

    let progress = ProgressBar(hidden: command.flag("json"))
    let content = try RepoContent.store(
      path, size: file.size, in: folder, chunked: !command.flag("no-chunks"), progress)
    var manifest = ModelManifest(
      name: name, version: version, fileName: fileName, length: file.size, sha256: content.digest, index: content.index,
      architecture: header.architecture, contextLength: header.contextLength, license: command.option("license"),
      publisher: command.option("publisher"), base: base)
    manifest.signature = try signed?.keep(in: folder, added: content.digest)
    if content.index == nil { try RepoWholeFile.copy(manifest, from: path, to: folder, progress) }
    try list(
      command, folder, ring, manifest, role,
      "added \(manifest.label): \(Readable.bytes(manifest.length)) \(content.summary)")
  }

  /// Puts a manifest on the role's list.
  private static func list(
    _ command: ParsedCommand, _ folder: RepoFolder, _ ring: RepoKeyring, _ manifest: ModelManifest, _ role: String,
    _ text: String
  ) throws {
    let target = TUFTarget(
      path: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON)
    var isListed = false
    let draft = try RepoChange.perform(command, folder, ring: ring) { draft, _, expiry in
      let listed = try draft.tree().reachable()
      if let same = listed.first(where: { $0.target == target }) {
        isListed = true
        guard same.role == role else {
          throw CommandFailure("\(manifest.label) is listed already, by \(same.role)", status: .data)
        }
        return
      }
      if let other = listed.first(where: { $0.target.path.hasPrefix("models/\(manifest.name)/\(manifest.version)/") }) {
        throw CommandFailure(
          "\(manifest.label) is listed already, as \(other.target.path) with digest "
            + "\(other.target.hashes.fileNamePrefix.prefix(16))",
          hint: "a version never changes its meaning: choose another --version, or remove this one first",
          status: .data)
      }
      try draft.edit(role, expires: expiry.targets) { $0.set(target) }
      try demandFound(draft, target, role)
    }
    let fields: JSONValue = [
      "name": .string(manifest.name.description), "version": .string(manifest.version.description),
      "path": .string(manifest.targetPath), "length": .integer(Int64(clamping: manifest.length)),
      "sha256": .string(manifest.sha256.hex), "role": .string(role),
    ]
    let same = "\(manifest.label) is listed already, with the same bytes; nothing changed"
    try RepoChange.tell(command, draft, isListed ? same : text, ["model": fields])
  }

  /// A box must find the target where it was put.
  static func demandFound(_ draft: RepoDraft, _ target: TUFTarget, _ role: String) throws {
    let found = try draft.tree().find(target.path)
    guard found?.role == role, found?.target == target else {
      throw CommandFailure(
        "no box would find \(target.path) in the list of \(role)",
        hint: "the role's paths don't cover it, or another role is asked first; see: skerry repo status "
          + draft.folder.path, status: .data)
    }
  }

  /// The role that `--role` names; of bins the one that the path belongs to.
  static func role(_ command: ParsedCommand, _ draft: RepoDraft, _ path: String) throws -> String {
    guard let name = command.option("role"), name != "targets" else { return "targets" }
    if draft.staging.document(name) != nil, TUFRole(rawValue: name) == nil { return name }
    for document in draft.staging.base.values where document.role == .targets {
      guard let delegations = try TUFTargets(document).delegations, delegations.bins?.namePrefix == name else {
        continue
      }
      if let bin = delegations.roles(for: path).first { return bin.name }
    }
    throw CommandFailure(
      "the repository has no role \(name) that lists models", hint: "make it: skerry repo delegate", status: .noInput)
  }

  /// The digest of the model that an adapter belongs to; nil for a model. The file must say of itself what it is.
  private static func base(
    _ command: ParsedCommand, _ draft: RepoDraft, _ header: GGUFHeader, _ path: String
  ) throws -> Digest? {
    let kind: ArtifactKind
    do { kind = try header.kind() } catch { throw CommandFailure("\(path): \(error)", status: .data) }
    let isAdapter = command.flag("adapter")
    guard isAdapter == (command.option("base") != nil) else {
      throw UsageError(path: command.path, "--adapter and --base MODEL go together")
    }
    guard isAdapter == (kind == .adapter) else {
      throw CommandFailure(
        "\(path) says of itself that it is \(kind == .adapter ? "an adapter" : "a model")",
        hint: isAdapter ? "leave out --adapter" : "add it with --adapter --base NAME:VERSION", status: .data)
    }
    guard let named = command.option("base") else { return nil }
    let models = try draft.tree().reachable().compactMap { try? ModelManifest($0.target) }
    let found = models.first { $0.label == named || $0.sha256.hex == named.lowercased() }
    if let found {
      guard found.kind == .model else { throw CommandFailure("\(named) is an adapter itself", status: .data) }
      guard found.architecture == header.architecture else {
        throw CommandFailure(
          "\(path) is for the architecture \(header.architecture), and \(named) is \(found.architecture)", status: .data
        )
      }
      return found.sha256
    }
    guard let digest = Digest(hex: named) else {
      throw CommandFailure(
        "the repository lists no model \(named)", hint: "add the base first, or give its SHA-256", status: .noInput)
    }
    return digest
  }

  private static func header(of file: InputFile, _ path: String) throws -> GGUFHeader {
    let header: GGUFHeader
    do {
      header = try GGUFHeader.parse(fileSize: file.size) { offset, count in try file.read(offset, count) }
    } catch let error as GGUFError {
      throw CommandFailure("\(path): \(error)", status: .data)
    }
    guard !header.architecture.isEmpty else {
      throw CommandFailure("\(path): the GGUF file does not name its general.architecture", status: .data)
    }
    return header
  }

  private static func identity(_ command: ParsedCommand) throws -> (ModelName, ModelVersion) {
    guard let name = command.option("name"), let version = command.option("version") else {
      throw UsageError(path: command.path, "a model needs --name NAME and --version VERSION")
    }
    guard let name = ModelName(name) else {
      throw UsageError(path: command.path, "“\(name)” is no model name", hint: "a name is \(ModelName.rule)")
    }
    guard let version = ModelVersion(version) else {
      throw UsageError(path: command.path, "“\(version)” is no version", hint: "a version is \(ModelVersion.rule)")
    }
    return (name, version)
  }
}

extension RepoKeyring {
  /// Makes sure that enough keys of a role are at hand, and that they can be opened.
  func demandKeys(of role: String, _ staging: TUFStaging) throws {
    for need in try staging.needs(role) {
      let count = try need.known.count { try isAtHand($0) }
      guard count < need.roleKeys.threshold else { continue }
      let names = need.known.map { name(of: $0) ?? String($0.keyID.prefix(8)) }.joined(separator: ", ")
      throw CommandFailure(
        "\(count) of the \(need.roleKeys.threshold) keys that \(role) needs are at hand; its keys are \(names)",
        hint: "give --keys with those keys, --signer for keys elsewhere, or --stage to collect signatures",
        status: .data)
    }
  }
}

extension RepoDraft {
  /// The lists as they will be, whoever has signed them.
  func tree() throws -> TUFTargetsTree {
    guard let document = staging.document("targets") else { throw TUFError.missing(file: "targets.json") }
    var tree = TUFTargetsTree(top: try TUFTargets(document))
    while let edge = tree.next() {
      if let document = staging.document(edge.role.name) {
        tree.add(edge, try TUFTargets(document))
      } else {
        tree.fail(edge, "there is no such list")
      }
    }
    return tree
  }
}
