import CommandLine
import Storage
import Trust

/// The keys at hand: a folder of `NAME.pem` (private) and `NAME.pub` (public), and commands that sign elsewhere.
final class RepoKeyring {
  /// A key of the folder.
  struct Entry {
    let name: String
    /// Nil for a private key without a public half beside it, until it has been decrypted.
    var key: TUFKey?
    let hasPrivate: Bool
  }

  /// Nil when no folder was named.
  let path: String?
  private(set) var entries: [Entry] = []
  private let passphrase: RepoPassphrase
  private let signers: [ExternalSigner]
  /// Names or beginnings of key ids: only these keys sign. Empty: all.
  private let only: [String]
  private var opened: [String: PrivateKey] = [:]

  /// The folder, passphrase file and commands that the command line names.
  init(_ command: ParsedCommand) throws {
    path = command.option("keys") ?? Program.environment("SKERRY_REPO_KEYS")
    passphrase = RepoPassphrase(file: command.option("passphrase-file"))
    let timeout =
      try command.spec.options.contains { $0.name == "signer-timeout" } ? command.seconds("signer-timeout") : nil
    signers = command.options("signer").map { ExternalSigner($0, timeout: timeout ?? 60) }
    only = command.options("with")
    guard let path else { return }
    for file in try DurableFile.names(in: path) where file.hasSuffix(".pem") || file.hasSuffix(".pub") {
      let name = String(file.dropLast(4))
      guard !entries.contains(where: { $0.name == name }) else { continue }
      let isPrivate = DurableFile.exists("\(path)/\(name).pem")
      entries.append(Entry(name: name, key: try publicHalf(name), hasPrivate: isPrivate))
    }
  }

  /// The keys at hand, or an error that asks for a folder.
  static func demanded(_ command: ParsedCommand) throws -> RepoKeyring {
    let ring = try RepoKeyring(command)
    guard ring.path != nil || !ring.signers.isEmpty else {
      throw UsageError(
        path: command.path, "the folder of the private keys is missing", hint: "give --keys KEYDIR")
    }
    return ring
  }

  private func publicHalf(_ name: String) throws -> TUFKey? {
    guard let path, let bytes = try DurableFile.read("\(path)/\(name).pub", limit: 1 << 16) else { return nil }
    guard let key = TUFKey(publicKeyFile: bytes) else {
      throw CommandFailure("\(path)/\(name).pub holds no public key", status: .data)
    }
    return key
  }

  /// The name under which the folder knows a key.
  func name(of key: TUFKey) -> String? {
    entries.first { $0.key.map { RepoKeyring.same($0, key) } ?? false }?.name
  }

  /// One key under two ids or in two spellings is one key.
  private static func same(_ one: TUFKey, _ other: TUFKey) -> Bool {
    one.verifyingKey != nil && one.verifyingKey == other.verifyingKey
  }

  // MARK: - Signing

  /// A signature by this key, if it is at hand. Throws when it is and can't be used.
  func signature(by key: TUFKey, over message: [UInt8], of file: TUFStagedFile) throws -> [UInt8]? {
    var name = self.name(of: key)
    guard isWanted(key, name) else { return nil }
    if let signer = signer(for: key, name) {
      return try signer.sign(message, key: key, name: name, file: file)
    }
    if name == nil { name = try nameOfUnlabelled(key) }
    guard let name, entries.contains(where: { $0.name == name && $0.hasPrivate }) else { return nil }
    let signature = try open(name).sign(message)
    guard key.verifyingKey?.isValid(signature, for: message) == true else {
      throw foreign(name)
    }
    return signature
  }

  /// Whether this key could sign. Opens a private key, which may ask for the passphrase; commands are not run.
  func isAtHand(_ key: TUFKey) throws -> Bool {
    var name = self.name(of: key)
    if !isWanted(key, name) { return false }
    if signer(for: key, name) != nil { return true }
    if name == nil { name = try nameOfUnlabelled(key) }
    guard let name, entries.contains(where: { $0.name == name && $0.hasPrivate }) else { return false }
    guard try open(name).tufKey.verifyingKey == key.verifyingKey else { throw foreign(name) }
    return true
  }

  private func isWanted(_ key: TUFKey, _ name: String?) -> Bool {
    only.isEmpty || only.contains { $0 == name || ($0.count >= 8 && key.keyID.hasPrefix($0)) }
  }

  private func foreign(_ name: String) -> CommandFailure {
    CommandFailure("\(path ?? "")/\(name).pem is not the private half of \(name).pub", status: .data)
  }

  private func signer(for key: TUFKey, _ name: String?) -> ExternalSigner? {
    if let own = signers.first(where: { $0.isFor(key, name: name) }) { return own }
    guard let general = signers.first(where: { $0.selector == nil }) else { return nil }
    // Without a folder it is asked for every key; with one for those of which the folder has the public half alone.
    guard path != nil else { return general }
    return entries.contains { $0.name == name && !$0.hasPrivate } ? general : nil
  }

  /// Looks for the key among private keys that have no public half beside them.
  private func nameOfUnlabelled(_ key: TUFKey) throws -> String? {
    for at in entries.indices where entries[at].key == nil && entries[at].hasPrivate {
      entries[at].key = try open(entries[at].name).tufKey
    }
    return name(of: key)
  }

  /// The private key of that name; asks for the passphrase when it is encrypted and no file names it.
  func open(_ name: String) throws -> PrivateKey {
    if let known = opened[name] { return known }
    let file = "\(path ?? ".")/\(name).pem"
    guard let pem = try DurableFile.read(file, limit: 1 << 16) else {
      throw CommandFailure("there is no key at \(file)", status: .noInput)
    }
    let key = try RepoPassphrase.opened(pem, file: file, passphrase)
    opened[name] = key
    return key
  }

  // MARK: - Making

  /// The key of that name, from the folder, a file, or as hexadecimal digits.
  func publicKey(_ text: String) throws -> TUFKey {
    if let entry = entries.first(where: { $0.name == text }) {
      if let key = entry.key { return key }
      return try open(text).tufKey
    }
    if let key = TUFKey(publicKeyFile: Array(text.utf8)) { return key }
    guard let bytes = try DurableFile.read(text, limit: 1 << 16) else {
      throw CommandFailure(
        "there is no key called \(text)\(path.map { " in \($0)" } ?? "") and no file of that name",
        hint: "a key is a name in KEYDIR, a file with a public key, or 64 hexadecimal digits", status: .noInput)
    }
    guard let key = TUFKey(publicKeyFile: bytes) else {
      throw CommandFailure(
        "\(text) holds no public key that can sign metadata", hint: "Ed25519, P-256 or RSA, in PEM or as TUF's JSON",
        status: .data)
    }
    return key
  }

  /// Writes a key and its public half, for its owner alone. An existing one is never written over.
  @discardableResult
  func add(_ name: String, _ key: PrivateKey, passphrase: String?) throws -> TUFKey {
    let path = try refuseTaken(name)
    try DurableFile.makeDirectory(path, mode: 0o700)
    try DurableFile.replace("\(path)/\(name).pem", with: key.pem(passphrase: passphrase), mode: 0o600)
    opened[name] = key
    return try label(name, key.tufKey, hasPrivate: true)
  }

  /// Writes a public key alone: somebody else's, or one that a command signs for.
  @discardableResult
  func add(_ name: String, public key: TUFKey) throws -> TUFKey {
    try DurableFile.makeDirectory(try refuseTaken(name), mode: 0o700)
    return try label(name, key, hasPrivate: false)
  }

  private func label(_ name: String, _ key: TUFKey, hasPrivate: Bool) throws -> TUFKey {
    guard let path, let pem = key.publicPEM else { throw KeyError.encryptionFailed }
    try DurableFile.replace("\(path)/\(name).pub", with: Array(pem.utf8), mode: 0o644)
    entries.append(Entry(name: name, key: key, hasPrivate: hasPrivate))
    return key
  }

  private func refuseTaken(_ name: String) throws -> String {
    guard let path else { throw UsageError("the folder of the private keys is missing", hint: "give --keys KEYDIR") }
    guard RepoKeyring.isName(name) else {
      throw CommandFailure(
        "“\(name)” is no name for a key", hint: "letters, digits, “-”, “_” and “.”, at most 64", status: .usage)
    }
    if let taken = ["pem", "pub"].map({ "\(path)/\(name).\($0)" }).first(where: DurableFile.exists) {
      throw CommandFailure(
        "\(taken) exists; a key is never written over", hint: "choose another name or another folder for the keys",
        status: .data)
    }
    return path
  }

  static func isName(_ name: String) -> Bool {
    (1...64).contains(name.utf8.count) && !name.hasPrefix(".")
      && name.unicodeScalars.allSatisfy {
        $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0) || "-_.".unicodeScalars.contains($0))
      }
  }

  /// A passphrase for new keys: nil when the command line says that they need none.
  func newPassphrase(_ command: ParsedCommand) throws -> String? {
    command.flag("no-passphrase") ? nil : try passphrase.get(confirm: true)
  }
}
