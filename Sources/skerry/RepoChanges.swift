import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo add`, `remove` and `renew`: what signs a new list of models.
enum RepoChanges {
  static func add(_ command: ParsedCommand) throws {
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
    let contents = try folder.load()
    let keys = try RepoKeys(command)
    // Asked for before the long work, so that a wrong passphrase costs nothing.
    _ = try keys.key(.targets)
    let header: GGUFHeader
    do {
      header = try GGUFHeader.parse(fileSize: file.size) { offset, count in try file.read(offset, count) }
    } catch let error as GGUFError {
      throw CommandFailure("\(path): \(error)", status: .data)
    }
    guard !header.architecture.isEmpty else {
      throw CommandFailure("\(path): the GGUF file does not name its general.architecture", status: .data)
    }

    let progress = ProgressBar(hidden: command.flag("json"))
    let store = try ChunkStoreWriter(root: folder.chunks)
    let written = try store.write(file: path) { progress.update("chunks of \(fileName)", done: $0, total: $1) }
    progress.finish()
    guard written.length == file.size else { throw CommandFailure("\(path) changed while it was read", status: .data) }
    let index = written.index.caibx
    try DurableFile.replace(folder.index(written.indexDigest), with: index, mode: 0o644)

    let manifest = ModelManifest(
      name: name, version: version, fileName: fileName, length: written.length, sha256: written.digest,
      index: ModelManifest.Index(length: UInt64(index.count), sha256: written.indexDigest),
      architecture: header.architecture, contextLength: header.contextLength, license: command.option("license"),
      publisher: command.option("publisher"))
    let target = TUFTarget(
      path: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON)
    if contents.models.contains(target) {
      tell(command, contents, "\(manifest.label) is listed already, with the same bytes; nothing changed")
      return
    }
    if let other = contents.models.first(where: { $0.path.hasPrefix("models/\(name)/\(version)/") }) {
      throw CommandFailure(
        "\(manifest.label) is listed already, as \(other.path) with digest \(other.hashes.fileNamePrefix.prefix(16))",
        hint: "a version never changes its meaning: choose another --version, or remove this one first", status: .data)
    }
    let next = try folder.sign(
      contents.models + [target], after: contents, keys: keys, expiry: RepoExpiry(command, now: Date()))
    tell(
      command, next,
      "added \(manifest.label): \(Readable.bytes(manifest.length)) in \(written.index.chunks.count) chunks, "
        + "\(written.newChunks) of them new", manifest)
  }

  static func remove(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let name = command.argument("NAME")
    let prefix = "models/\(name)/" + (command.option("version").map { "\($0)/" } ?? "")
    let contents = try folder.load()
    let removed = contents.models.filter { $0.path.hasPrefix(prefix) }
    guard !removed.isEmpty else {
      throw CommandFailure(
        "the repository does not list \(name)\(command.option("version").map { ":\($0)" } ?? "")",
        hint: "see: skerry repo status \(folder.path)", status: .noInput)
    }
    let next = try folder.sign(
      contents.models.filter { !removed.contains($0) }, after: contents, keys: RepoKeys(command),
      expiry: RepoExpiry(command, now: Date()))
    tell(command, next, "removed " + removed.map(\.path).joined(separator: ", "))
  }

  static func renew(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    var contents = try folder.load()
    let keys = try RepoKeys(command)
    let expiry = try RepoExpiry(command, now: Date())
    guard command.flag("root") || command.option("online-key") == nil else {
      throw UsageError(path: command.path, "--online-key is written into roots", hint: "give --root as well")
    }
    if command.flag("root") {
      let old = contents.trusted.root
      let online = try RepoDirector.onlineKey(command, folder, contents)
      var roles = old.roles.mapValues { role in (role.keyIDs.compactMap { old.keys[$0] }, role.threshold) }
      if contents.isSignedOnline, let online {
        // A hub's new key takes over all that its old one signed.
        for role in [TUFRole.snapshot, .timestamp] { roles[role] = ([online], 1) }
      }
      let version = old.document.version + 1
      let bytes = try TUFWriter.root(
        version: version, expires: expiry.root, roles: roles, consistentSnapshot: old.consistentSnapshot
      ).signed(by: [keys.key(.root)])
      try contents.trusted.updateRoot(bytes)
      try folder.write("\(version).root.json", bytes)
      if let online {
        try RepoDirector.sign(
          folder, image: contents.trusted.root, online: online, signers: [keys.key(.root)], expires: expiry.root)
      }
    }
    let next = try folder.sign(contents.models, after: contents, keys: keys, expiry: expiry)
    tell(command, next, "signed the same \(next.models.count) models again")
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

  private static func tell(
    _ command: ParsedCommand, _ contents: RepoContents, _ text: String, _ manifest: ModelManifest? = nil
  ) {
    let version = contents.targets?.document.version ?? 0
    guard command.flag("json") else {
      Voice.line("\(text) (targets version \(version))")
      return
    }
    var fields: [String: JSONValue] = ["targetsVersion": .integer(version), "message": .string(text)]
    if let manifest {
      fields["model"] = [
        "name": .string(manifest.name.description), "version": .string(manifest.version.description),
        "path": .string(manifest.targetPath), "length": .integer(Int64(clamping: manifest.length)),
        "sha256": .string(manifest.sha256.hex),
      ]
    }
    Voice.say(JSONValue.object(fields).encodedPretty())
  }
}
