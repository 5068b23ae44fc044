import CommandLine
import Storage
import Trust

/// `skerry repo key create`, `import` and `list`.
enum RepoKeyCommands {
  static func scheme(_ command: ParsedCommand) throws -> PrivateKey.Scheme {
    command.option("scheme") == "ecdsa" ? .ecdsa : .ed25519
  }

  static func create(_ command: ParsedCommand) throws {
    let ring = try folder(command)
    let name = command.argument("NAME")
    if ring.entries.contains(where: { $0.name == name }) {
      _ = try ring.add(name, .generate(.ed25519), passphrase: nil)
    }
    let passphrase = try ring.newPassphrase(command)
    let key = try ring.add(name, .generate(scheme(command)), passphrase: passphrase)
    tell(command, ring, name, key, passphrase == nil ? "made, not encrypted" : "made")
  }

  /// Takes a key over from a file: a private one, or a public one that others or a command sign with.
  static func take(_ command: ParsedCommand) throws {
    let ring = try folder(command)
    let path = command.argument("FILE")
    guard let bytes = try DurableFile.read(path, limit: 1 << 16) else {
      throw CommandFailure("there is no key at \(path)", status: .noInput)
    }
    let file = path.split(separator: "/").last.map(String.init) ?? path
    let stem = file.hasSuffix(".pem") || file.hasSuffix(".pub") ? String(file.dropLast(4)) : file
    let name = command.option("name") ?? stem
    if let key = TUFKey(publicKeyFile: bytes) {
      tell(command, ring, name, try ring.add(name, public: key), "public half taken over")
      return
    }
    let passphrase = RepoPassphrase(file: command.option("passphrase-file"))
    let isEncrypted = String(decoding: bytes, as: UTF8.self).contains("ENCRYPTED")
    let key = try RepoPassphrase.opened(bytes, file: path, passphrase)
    let phrase = isEncrypted ? try passphrase.get(confirm: false) : try ring.newPassphrase(command)
    tell(command, ring, name, try ring.add(name, key, passphrase: phrase), "taken over; \(path) is still there")
  }

  static func list(_ command: ParsedCommand) throws {
    let ring = try folder(command)
    let roles = try command.optionalArgument("DIR").map { try rolesOfKeys(RepoFolder(path: $0)) } ?? [:]
    var table = Table("name", "scheme", "key id", "private half", "roles")
    var listed: [JSONValue] = []
    for entry in ring.entries {
      let state = try privateHalf(entry, ring)
      let of = entry.key.flatMap(\.verifyingKey).flatMap { roles[$0] } ?? []
      table.add(
        entry.name, entry.key?.scheme ?? "", entry.key?.keyID ?? "", state, of.joined(separator: " "))
      listed.append([
        "name": .string(entry.name), "scheme": entry.key.map { .string($0.scheme) } ?? .null,
        "keyid": entry.key.map { .string($0.keyID) } ?? .null,
        "publicKey": entry.key.map { .string($0.publicKey) } ?? .null, "private": .string(state),
        "roles": .array(of.map { .string($0) }),
      ])
    }
    guard !command.flag("json") else { return Voice.say(JSONValue.object(["keys": .array(listed)]).encodedPretty()) }
    Voice.say(listed.isEmpty ? "no keys\n" : table.render())
  }

  private static func privateHalf(_ entry: RepoKeyring.Entry, _ ring: RepoKeyring) throws -> String {
    guard entry.hasPrivate, let path = ring.path,
      let pem = try DurableFile.read("\(path)/\(entry.name).pem", limit: 1 << 16)
    else { return "elsewhere" }
    return String(decoding: pem, as: UTF8.self).contains("ENCRYPTED") ? "encrypted" : "not encrypted"
  }

  /// By key, the roles that it may sign.
  private static func rolesOfKeys(_ folder: RepoFolder) throws -> [SchemeKey: [String]] {
    let draft = try RepoDraft(folder)
    var found: [SchemeKey: [String]] = [:]
    for role in draft.contents?.roles ?? TUFRole.allCases.map(\.rawValue) {
      let keys = try draft.staging.needs(role).flatMap(\.known).compactMap(\.verifyingKey)
      for key in Set(keys) { found[key, default: []].append(role) }
    }
    return found
  }

  private static func folder(_ command: ParsedCommand) throws -> RepoKeyring {
    let ring = try RepoKeyring(command)
    guard ring.path != nil else {
      throw UsageError(path: command.path, "the folder of the private keys is missing", hint: "give --keys KEYDIR")
    }
    return ring
  }

  private static func tell(
    _ command: ParsedCommand, _ ring: RepoKeyring, _ name: String, _ key: TUFKey, _ what: String
  ) {
    guard command.flag("json") else {
      Voice.line("key \(name) (\(key.scheme)) \(what)")
      Voice.line("key id \(key.keyID)")
      Voice.line("its public half is \(ring.path ?? "")/\(name).pub: hand that on, and nothing else")
      return
    }
    Voice.say(
      JSONValue.object([
        "name": .string(name), "scheme": .string(key.scheme), "keyid": .string(key.keyID),
        "publicKey": .string(key.publicKey),
      ]).encodedPretty())
  }
}
