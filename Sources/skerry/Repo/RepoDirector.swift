import CommandLine
import FoundationEssentials
import Storage
import Trust

/// The director's root in a publisher's folder, `director/N.root.json`: signed with the repository's own root keys, it
/// says which hub key may tell boxes what they get.
enum RepoDirector {
  private static func path(_ folder: RepoFolder, _ version: Int64) -> String {
    "\(folder.path)/director/\(version).root.json"
  }

  /// The director's newest root, all before it verified in sequence; nil when there is none.
  static func load(_ folder: RepoFolder) throws -> TrustedMetadata? {
    guard let first = try DurableFile.read(path(folder, 1)) else { return nil }
    var trusted = try TrustedMetadata(trustedRoot: first)
    while let next = try DurableFile.read(path(folder, trusted.rootVersion + 1)) { try trusted.updateRoot(next) }
    guard TUFBinding(of: trusted.root.document).repository == TUFBinding.director else {
      throw TUFError.foreign(role: "root")
    }
    return trusted
  }

  /// The director's roots in their order, to be published.
  static func files(_ folder: RepoFolder) throws -> [(name: String, bytes: [UInt8])] {
    guard let newest = try load(folder)?.rootVersion else { return [] }
    return try (1...newest).map { version in
      guard let bytes = try DurableFile.read(path(folder, version)) else {
        throw TUFError.missing(file: "director/\(version).root.json")
      }
      return ("\(version).root.json", bytes)
    }
  }

  /// The key that `--online-key` gives.
  static func onlineKey(_ command: ParsedCommand) throws -> TUFKey? {
    guard let hex = command.option("online-key") else { return nil }
    guard let bytes = Hex.decode(hex), let key = VerifyingKey(bytes: bytes) else {
      throw UsageError(
        path: command.path, "--online-key takes the 64 hexadecimal digits of an Ed25519 public key",
        hint: "'skerry-hub init' prints it")
    }
    return TUFKey(ed25519: key)
  }

  /// Throws what to do when boxes could install nothing that is published.
  static func demand(_ folder: RepoFolder, _ contents: RepoContents) throws {
    guard let director = try load(folder) else {
      guard contents.isSignedOnline else {
        Voice.note(
          "no director's root: boxes of a hub install nothing without one (repo renew --root --online-key HEX)")
        return
      }
      throw CommandFailure(
        "this repository has no director's root, and without one no box installs anything from a hub",
        hint: "skerry repo renew \(folder.path) --keys KEYDIR --root --online-key HEX, with the hub's online key",
        status: .data)
    }
    do {
      try contents.trusted.demandAnchor(of: director.root)
    } catch {
      throw CommandFailure(
        "the director's root is not signed with the root keys that this repository has now",
        hint: "skerry repo renew \(folder.path) --keys KEYDIR --root", status: .data)
    }
    let (expires, now) = (director.root.document.expires, Date())
    guard expires > now else {
      throw CommandFailure(
        "the director's root expired at \(TUFTime.format(expires))",
        hint: "skerry repo renew \(folder.path) --keys KEYDIR --root", status: .data)
    }
  }
}
