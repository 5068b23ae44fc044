import CommandLine
import FoundationEssentials
import Storage
import Trust

/// `skerry repo init`.
enum RepoInit {
  static func run(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let expiry = try RepoExpiry(command, now: Date())
    let online = try RepoDirector.onlineKey(command)
    let ring = try RepoKeyring(command)
    try refuseExisting(folder)
    if let keys = ring.path { try refuseInside(folder, keys) }
    let given = try givenRoles(command, ring)
    let isHubSigned = online != nil
    var fresh: [TUFRole] = []
    for role in TUFRole.allCases where given[role] == nil {
      if isHubSigned, role == .snapshot || role == .timestamp { continue }
      fresh.append(role)
    }
    if !fresh.isEmpty { try refuseTaken(fresh, ring, command) }
    let passphrase = fresh.isEmpty ? nil : try ring.newPassphrase(command)
    let scheme = try RepoKeyCommands.scheme(command)

    var roles: [TUFRole: (keys: [TUFKey], threshold: Int)] = [:]
    for role in TUFRole.allCases {
      if let listed = given[role] {
        roles[role] = listed
      } else if let online, !fresh.contains(role) {
        roles[role] = ([online], 1)
      } else {
        let key = try PrivateKey.generate(scheme)
        roles[role] = ([try ring.add(role.rawValue, key, passphrase: passphrase)], 1)
      }
    }
    var draft = RepoDraft(new: folder, isHubSigned: isHubSigned)
    draft.staging.put(
      try TUFStagedFile(role: "root", TUFWriter.root(version: 1, expires: expiry.root, roles: roles)))
    try draft.begin("targets", expires: expiry.targets)
    if let online { try draft.stageDirector(online: online, expires: expiry.root) }
    for path in [folder.metadata, folder.chunks, folder.indexes] { try DurableFile.makeDirectory(path, mode: 0o755) }
    try RepoChange.finish(command, &draft, ring, expiry)
    try tell(command, draft, ring, roles)
  }

  /// `--role ROLE=THRESHOLD:KEY,KEY…`.
  private static func givenRoles(
    _ command: ParsedCommand, _ ring: RepoKeyring
  ) throws -> [TUFRole: (keys: [TUFKey], threshold: Int)] {
    var roles: [TUFRole: (keys: [TUFKey], threshold: Int)] = [:]
    for text in command.options("role") {
      let parts = text.split(separator: "=", maxSplits: 1)
      let rest = parts.count == 2 ? parts[1].split(separator: ":", maxSplits: 1) : []
      guard rest.count == 2, let role = TUFRole(rawValue: String(parts[0])), let threshold = Int(rest[0]) else {
        throw UsageError(
          path: command.path, "--role takes ROLE=THRESHOLD:KEY,KEY, not “\(text)”",
          hint: "for example --role root=2:alice.pub,bob.pub,carol.pub")
      }
      let keys = try rest[1].split(separator: ",").map { try ring.publicKey(String($0)) }
      roles[role] = (keys, try RoleKeys.checked(command, threshold, keys))
    }
    return roles
  }

  private static func refuseExisting(_ folder: RepoFolder) throws {
    try RepoJournal.recover(folder)
    if DurableFile.exists(folder.metadata + "/1.root.json") {
      throw CommandFailure("\(folder.path) is a repository already", status: .data)
    }
    if try !DurableFile.names(in: folder.staged).isEmpty {
      throw CommandFailure(
        "\(folder.path) is a repository already, whose first root waits for signatures",
        hint: "drop it with 'skerry repo stage \(folder.path) --discard'", status: .data)
    }
  }

  private static func refuseTaken(_ roles: [TUFRole], _ ring: RepoKeyring, _ command: ParsedCommand) throws {
    guard let path = ring.path else {
      throw UsageError(
        path: command.path, "the folder of the private keys is missing", hint: "give --keys KEYDIR")
    }
    for role in roles where ring.entries.contains(where: { $0.name == role.rawValue }) {
      throw CommandFailure(
        "\(path)/\(role.rawValue).pem exists; a key is never written over",
        hint: "choose another folder, or use that key: --role \(role.rawValue)=1:\(role.rawValue)", status: .data)
    }
  }

  /// Keys inside the repository would be published with it.
  static func refuseInside(_ folder: RepoFolder, _ keys: String) throws {
    let (repository, inner) = (realPath(folder.path), realPath(keys))
    if inner == repository || inner.hasPrefix(repository + "/") {
      throw CommandFailure(
        "the keys must not lie inside the repository: they would be published",
        hint: "choose another folder for --keys", status: .usage)
    }
  }

  private static func tell(
    _ command: ParsedCommand, _ draft: RepoDraft, _ ring: RepoKeyring,
    _ roles: [TUFRole: (keys: [TUFKey], threshold: Int)]
  ) throws {
    let root = draft.staging.files["root"]?.document.bytes ?? []
    let isStaged = command.flag("stage")
    if command.flag("json") {
      let listed = roles.map { ($0.key.rawValue, JSONValue.array($0.value.keys.map { .string($0.keyID) })) }
      var fields: [String: JSONValue] = [
        "directory": .string(draft.folder.path), "keys": .object(Dictionary(uniqueKeysWithValues: listed)),
        "staged": .bool(isStaged),
      ]
      if !isStaged { fields["rootSHA256"] = .string(Digest(of: root).hex) }
      return Voice.say(JSONValue.object(fields).encodedPretty())
    }
    Voice.line("\(isStaged ? "staged" : "made") the repository \(draft.folder.path)")
    if let path = ring.path { Voice.line("keys are in \(path): keep them off the hub, and keep a copy") }
    if draft.isHubSigned { Voice.line("snapshot and timestamp are the hub's to sign") }
    guard isStaged else { return Voice.line("root digest \(Digest(of: root).hex)") }
    for line in try draft.summary() { Voice.line(line) }
    Voice.line("next: skerry repo stage \(draft.folder.path) FILE, and have FILE signed")
  }
}

/// Keys and threshold of a role, as somebody asked for them.
enum RoleKeys {
  /// The threshold, if these keys can reach it. Throws `UsageError`.
  static func checked(_ command: ParsedCommand, _ threshold: Int, _ keys: [TUFKey]) throws -> Int {
    let distinct = Set(keys.compactMap(\.verifyingKey)).count
    guard distinct == keys.count else {
      throw UsageError(path: command.path, "a key stands twice: a role counts each key once")
    }
    guard threshold >= 1, threshold <= distinct else {
      throw UsageError(
        path: command.path, "a threshold of \(threshold) can't be reached with \(distinct) keys",
        hint: "from 1 to the number of keys")
    }
    return threshold
  }
}
