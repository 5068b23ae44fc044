import CommandLine
import Glibc
import Storage
import Trust

/// The folder of a publisher's private keys: `root.pem`, `targets.pem`, and where they are local `snapshot.pem` and
/// `timestamp.pem`.
final class RepoKeys {
  let path: String
  private let passphraseFile: String?
  private var known: String?

  /// The folder and passphrase file that the command line names.
  init(_ command: ParsedCommand) throws {
    guard let path = command.option("keys") ?? Program.environment("SKERRY_REPO_KEYS") else {
      throw UsageError(
        path: command.path, "the folder of the private keys is missing", hint: "give --keys KEYDIR")
    }
    self.path = path
    passphraseFile = command.option("passphrase-file")
  }

  func file(_ role: TUFRole) -> String { "\(path)/\(role.rawValue).pem" }
  func has(_ role: TUFRole) -> Bool { DurableFile.exists(file(role)) }

  /// The private key of a role; asks for the passphrase when the key is encrypted and no file names it.
  func key(_ role: TUFRole) throws -> SigningKey {
    guard let pem = try DurableFile.read(file(role), limit: 1 << 16) else {
      throw CommandFailure("there is no \(role.rawValue) key at \(file(role))", status: .noInput)
    }
    do {
      return try SigningKey(pem: pem)
    } catch KeyError.wrongPassphrase {
      do {
        return try SigningKey(pem: pem, passphrase: passphrase(confirm: false))
      } catch let error as KeyError {
        throw CommandFailure("\(file(role)): \(error)", status: .data)
      }
    } catch {
      throw CommandFailure("\(file(role)): \(error)", status: .data)
    }
  }

  /// Writes a new key, for its owner alone. An existing one is never written over.
  func make(_ role: TUFRole, passphrase: String?) throws -> SigningKey {
    let key = SigningKey.generate()
    try DurableFile.replace(file(role), with: key.pem(passphrase: passphrase), mode: 0o600)
    return key
  }

  /// The passphrase from the file, or from the terminal, once.
  func passphrase(confirm: Bool) throws -> String {
    if let known { return known }
    let phrase: String
    if let passphraseFile {
      guard let bytes = try DurableFile.read(passphraseFile, limit: 1 << 16) else {
        throw CommandFailure("there is no passphrase file at \(passphraseFile)", status: .noInput)
      }
      let line = bytes.prefix { $0 != 0x0A && $0 != 0x0D }
      guard let text = String(validating: line, as: UTF8.self), !text.isEmpty else {
        throw CommandFailure("\(passphraseFile) has no passphrase on its first line", status: .data)
      }
      phrase = text
    } else {
      guard Terminal.input.isTTY else {
        throw CommandFailure(
          "the keys need a passphrase, and there is no terminal to ask on",
          hint: "give --passphrase-file FILE", status: .usage)
      }
      phrase = try RepoKeys.ask("passphrase: ")
      guard !phrase.isEmpty else { throw CommandFailure("an empty passphrase protects nothing", status: .usage) }
      if confirm, try RepoKeys.ask("once more: ") != phrase {
        throw CommandFailure("the two passphrases differ", status: .usage)
      }
    }
    known = phrase
    return phrase
  }

  /// Reads a line from the terminal without showing it.
  private static func ask(_ prompt: String) throws -> String {
    var settings = termios()
    tcgetattr(STDIN_FILENO, &settings)
    var silent = settings
    silent.c_lflag &= ~tcflag_t(ECHO)
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
    defer {
      tcsetattr(STDIN_FILENO, TCSAFLUSH, &settings)
      Voice.note("")
    }
    Voice.note(prompt)
    guard let line = readLine() else { throw CommandFailure("no passphrase was given", status: .usage) }
    return line
  }
}
