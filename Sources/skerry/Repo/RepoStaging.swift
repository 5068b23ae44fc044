import CommandLine
import FoundationEssentials
import Storage
import Trust

/// `skerry repo stage`, `sign` and `commit`: a ceremony over a stick.
enum RepoStaging {
  /// Writes what is staged to a file for the stick; `--discard` drops it.
  static func stage(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    if command.flag("discard") {
      // Not read: a draft that was altered must be droppable too.
      try RepoJournal.recover(folder)
      for name in try DurableFile.names(in: folder.staged) { try DurableFile.remove("\(folder.staged)/\(name)") }
      return say(command, "nothing is staged in \(folder.path) any more")
    }
    var draft = try RepoDraft(folder)
    let roles = command.options("role")
    if !roles.isEmpty {
      let expiry = try RepoExpiry(command, now: Date())
      for role in roles {
        guard role != "snapshot", role != "timestamp" else {
          throw UsageError(path: command.path, "\(role) is staged by 'skerry repo commit', once all else is signed")
        }
        try draft.edit(role, expires: expiry.of(role)) { _ in }
      }
      try draft.settle(expiry)
      try draft.save()
    }
    guard !draft.staging.isEmpty else {
      throw CommandFailure(
        "nothing is staged in \(folder.path)", hint: "change something with --stage, or name roles with --role",
        status: .noInput)
    }
    if let path = command.optionalArgument("FILE") { try RepoCeremony(draft).write(path) }
    try show(command, draft.staging, ["file": command.optionalArgument("FILE").map { .string($0) } ?? .null]) {
      command.optionalArgument("FILE").map { "wrote \($0): have it signed with 'skerry repo sign \($0)'" }
    }
  }

  /// Adds signatures to a file of a ceremony, or to what is staged in a repository's folder.
  static func sign(_ command: ParsedCommand) throws {
    let path = command.argument("FILE|DIR")
    let ring = try RepoKeyring.demanded(command)
    let isFolder = DurableFile.exists(path + "/staged") || DurableFile.exists(path + "/metadata")
    var staging: TUFStaging
    if isFolder {
      staging = try RepoDraft(RepoFolder(path: path)).staging
    } else {
      staging = try RepoCeremony(path).staging
    }
    try demandRoot(command, staging)
    try demandDigest(command, staging)
    guard !staging.isEmpty else { throw CommandFailure("nothing is staged in \(path)", status: .noInput) }
    if !command.flag("json") { for line in try RepoSummary.lines(staging) { Voice.line(line) } }
    try confirm(command)
    let done = try staging.sign(staging.ordered.map(\.role), with: ring)
    guard !done.isEmpty else {
      throw CommandFailure(
        "none of the keys at hand is asked for a signature that is not there yet",
        hint: try OpenText.lines(staging.open(), ring).first, status: .data)
    }
    if isFolder {
      var draft = try RepoDraft(RepoFolder(path: path))
      for file in staging.ordered { draft.staging.put(file) }
      try draft.save()
    } else {
      var ceremony = try RepoCeremony(path)
      for file in staging.ordered { ceremony.staging.put(file) }
      try ceremony.write(path)
    }
    let signed = done.map { entry -> JSONValue in ["file": .string(entry.file), "keyid": .string(entry.keyID)] }
    try show(command, staging, ["signed": .array(signed)], summary: false) {
      done.map { "signed \($0.file) with \($0.keyID.prefix(16))" }.joined(separator: "\n")
    }
  }

  /// Takes signatures over from files, and makes the staged state current if they suffice.
  static func commit(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    try commit(command, folder, from: command.arguments("FILE"))
    say(command, "\(folder.path) is at its new state")
  }

  static func commit(_ command: ParsedCommand, _ folder: RepoFolder, from paths: [String]) throws {
    var draft = try RepoDraft(folder)
    guard !draft.staging.isEmpty else { throw CommandFailure("nothing is staged in \(folder.path)", status: .noInput) }
    for path in paths { try take(RepoCeremony(path), into: &draft) }
    let ring = try RepoKeyring(command)
    let outcome = try draft.commit(with: ring, expiry: RepoExpiry(command, now: Date()))
    guard case .open(let open) = outcome else { return }
    // What was signed so far is kept, for the next who signs.
    try draft.save()
    throw CommandFailure(
      "signatures are missing: \(OpenText.lines(open, ring).joined(separator: "; "))",
      hint: "skerry repo stage \(folder.path) FILE, have FILE signed, then commit again", status: .data)
  }

  /// Adds the signatures of a ceremony's file; its bytes must be those that were staged here.
  private static func take(_ ceremony: RepoCeremony, into draft: inout RepoDraft) throws {
    for file in ceremony.staging.ordered {
      guard var own = draft.staging.files[file.role] else {
        throw TUFAltered(file: file.fileName, reason: "it is not staged in \(draft.folder.path)")
      }
      guard try own.digest() == file.digest() else {
        throw TUFAltered(
          file: file.fileName,
          reason: "digest \(try own.digest().hex.prefix(16)) was staged, \(try file.digest().hex.prefix(16)) came back")
      }
      for (keyID, signature) in file.document.signatures { try own.add(signature, by: keyID) }
      draft.staging.put(own)
    }
    try draft.staging.refuseAltered()
  }

  /// With `--root` the chain must begin with a root that the signer has already.
  private static func demandRoot(_ command: ParsedCommand, _ staging: TUFStaging) throws {
    guard let path = command.option("root") else { return }
    guard let bytes = try DurableFile.read(path) else {
      throw CommandFailure("there is no root metadata at \(path)", status: .noInput)
    }
    let known = try TUFRoot(parsing: bytes)
    guard let current = staging.base["root"] else {
      throw CommandFailure("the staged files begin a new repository; \(path) has no part in it", status: .data)
    }
    let need = TUFSigningNeed(
      by: "root version \(known.document.version)", roleKeys: known.roleKeys(.root), keys: known.keys)
    guard try need.missing(in: current) == 0, current.version >= known.document.version else {
      throw CommandFailure(
        "the staged files belong to another repository than \(path), or its root keys were rotated since",
        hint: "ask for the current root over a way that you trust", status: .data)
    }
  }

  /// With `--digest` exactly this is signed.
  private static func demandDigest(_ command: ParsedCommand, _ staging: TUFStaging) throws {
    let wanted = command.options("digest")
    guard !wanted.isEmpty else { return }
    for file in staging.ordered {
      let digest = try file.digest().hex
      guard !wanted.contains(where: { $0.count >= 16 && digest.hasPrefix($0) }) else { continue }
      throw TUFAltered(file: file.fileName, reason: "its digest is \(digest), which you did not name")
    }
  }

  private static func confirm(_ command: ParsedCommand) throws {
    guard Terminal.input.isTTY, !command.flag("yes"), !command.flag("json") else { return }
    Voice.note("sign this? Compare the digests with those who sign too. [y/N] ")
    guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
      throw CommandFailure("nothing was signed", status: .failure)
    }
  }

  private static func say(_ command: ParsedCommand, _ text: String) {
    guard command.flag("json") else { return Voice.line(text) }
    Voice.say(JSONValue.object(["message": .string(text)]).encodedPretty())
  }

  private static func show(
    _ command: ParsedCommand, _ staging: TUFStaging, _ fields: [String: JSONValue], summary: Bool = true,
    _ text: () -> String?
  ) throws {
    let missing = OpenText.lines(try staging.open(), nil)
    guard command.flag("json") else {
      if summary { for line in try RepoSummary.lines(staging) { Voice.line(line) } }
      if let text = text() { Voice.line(text) }
      for line in missing { Voice.line("missing: \(line)") }
      if missing.isEmpty { Voice.line("all signatures are there: next is 'skerry repo commit'") }
      return
    }
    var fields = fields
    fields["summary"] = .array(try RepoSummary.lines(staging).map { .string($0) })
    fields["missing"] = .array(missing.map { .string($0) })
    fields["digests"] = .object(
      Dictionary(uniqueKeysWithValues: try staging.ordered.map { ($0.fileName, .string(try $0.digest().hex)) }))
    Voice.say(JSONValue.object(fields).encodedPretty())
  }
}
