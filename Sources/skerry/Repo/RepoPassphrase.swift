import CommandLine
import Glibc
import Storage
import Trust

/// The passphrase of the keys: from a file's first line or from the terminal, asked for once.
final class RepoPassphrase {
  private let file: String?
  private var known: String?

  init(file: String?) { self.file = file }

  func get(confirm: Bool) throws -> String {
    if let known { return known }
    let phrase = try file.map { try RepoPassphrase.firstLine($0) } ?? RepoPassphrase.typed(confirm: confirm)
    known = phrase
    return phrase
  }

  /// The private key of a PEM file, decrypted if it must be.
  static func opened(_ pem: [UInt8], file: String, _ passphrase: RepoPassphrase) throws -> PrivateKey {
    do {
      return try PrivateKey(pem: pem)
    } catch KeyError.wrongPassphrase {
      do {
        return try PrivateKey(pem: pem, passphrase: passphrase.get(confirm: false))
      } catch let error as KeyError {
        throw CommandFailure("\(file): \(error)", status: .data)
      }
    } catch {
      throw CommandFailure("\(file): \(error)", status: .data)
    }
  }

  private static func firstLine(_ file: String) throws -> String {
    guard let bytes = try DurableFile.read(file, limit: 1 << 16) else {
      throw CommandFailure("there is no passphrase file at \(file)", status: .noInput)
    }
    let line = bytes.prefix { $0 != 0x0A && $0 != 0x0D }
    guard let text = String(validating: line, as: UTF8.self), !text.isEmpty else {
      throw CommandFailure("\(file) has no passphrase on its first line", status: .data)
    }
    return text
  }

  private static func typed(confirm: Bool) throws -> String {
    guard Terminal.input.isTTY else {
      throw CommandFailure(
        "the keys need a passphrase, and there is no terminal to ask on",
        hint: "give --passphrase-file FILE", status: .usage)
    }
    let phrase = try ask("passphrase: ")
    guard !phrase.isEmpty else { throw CommandFailure("an empty passphrase protects nothing", status: .usage) }
    if confirm, try ask("once more: ") != phrase {
      throw CommandFailure("the two passphrases differ", status: .usage)
    }
    return phrase
  }

  /// Reads a line from the terminal without showing it.
  static func ask(_ prompt: String) throws -> String {
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
