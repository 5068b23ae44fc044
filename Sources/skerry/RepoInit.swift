import CommandLine
import FoundationEssentials
import Storage
import Trust

/// `skerry repo init`.
enum RepoInit {
  static func run(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let keys = try RepoKeys(command)
    let expiry = try RepoExpiry(command, now: Date())
    let online = try RepoDirector.onlineKey(command)
    try refuseExisting(folder, keys)
    try refuseInside(folder, keys)

    let passphrase = command.flag("no-passphrase") ? nil : try keys.passphrase(confirm: true)
    for path in [folder.metadata, folder.chunks, folder.indexes] { try DurableFile.makeDirectory(path, mode: 0o755) }
    try DurableFile.makeDirectory(keys.path, mode: 0o700)

    var roles: [TUFRole: (keys: [TUFKey], threshold: Int)] = [:]
    for role in TUFRole.allCases {
      if let online, role == .snapshot || role == .timestamp {
        roles[role] = ([online], 1)
      } else {
        roles[role] = ([TUFKey(ed25519: try keys.make(role, passphrase: passphrase).verifyingKey)], 1)
      }
    }
    let root = try TUFWriter.root(version: 1, expires: expiry.root, roles: roles).signed(by: [keys.key(.root)])
    let contents = try folder.sign(
      [], after: RepoContents(trusted: TrustedMetadata(trustedRoot: root)), keys: keys, expiry: expiry)
    if let online {
      try RepoDirector.sign(
        folder, image: contents.trusted.root, online: online, signers: [keys.key(.root)], expires: expiry.root)
    }
    // Last, so that a half-made repository is none.
    try folder.write("1.root.json", root)
    tell(command, folder, keys, contents, Digest(of: root))
  }

  private static func refuseExisting(_ folder: RepoFolder, _ keys: RepoKeys) throws {
    if DurableFile.exists(folder.metadata + "/1.root.json") {
      throw CommandFailure("\(folder.path) is a repository already", status: .data)
    }
    for role in TUFRole.allCases where keys.has(role) {
      throw CommandFailure(
        "\(keys.file(role)) exists; a key is never written over", hint: "choose another folder for the keys",
        status: .data)
    }
  }

  /// Keys inside the repository would be published with it.
  private static func refuseInside(_ folder: RepoFolder, _ keys: RepoKeys) throws {
    let (repository, inner) = (realPath(folder.path), realPath(keys.path))
    if inner == repository || inner.hasPrefix(repository + "/") {
      throw CommandFailure(
        "the keys must not lie inside the repository: they would be published",
        hint: "choose another folder for --keys",
        status: .usage)
    }
  }

  private static func tell(
    _ command: ParsedCommand, _ folder: RepoFolder, _ keys: RepoKeys, _ contents: RepoContents, _ digest: Digest
  ) {
    let root = contents.trusted.root
    if command.flag("json") {
      let roles = TUFRole.allCases.map { role in
        (role.rawValue, JSONValue.array(root.roleKeys(role).keyIDs.map { .string($0) }))
      }
      Voice.say(
        JSONValue.object([
          "directory": .string(folder.path), "rootSHA256": .string(digest.hex),
          "keys": .object(Dictionary(uniqueKeysWithValues: roles)),
        ]).encodedPretty())
      return
    }
    Voice.line("made the repository \(folder.path)")
    Voice.line("keys are in \(keys.path): keep them off the hub, and keep a copy")
    Voice.line("root digest \(digest.hex)")
    if contents.isSignedOnline { Voice.line("snapshot and timestamp are the hub's to sign") }
  }
}
