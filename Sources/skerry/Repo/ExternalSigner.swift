import CommandLine
import Glibc
import Trust

/// A command that signs: an HSM, a smart card, another machine. It gets the bytes to sign on standard input, and who is
/// asked in its environment (SKERRY_KEY_ID, SKERRY_KEY_NAME, SKERRY_SCHEME, SKERRY_PUBLIC_KEY, SKERRY_ROLE,
/// SKERRY_FILE); it answers with the signature in hexadecimal or base64. What it answers is verified before it is used.
struct ExternalSigner {
  /// The key's name or the beginning of its id; nil: any key.
  let selector: String?
  let command: String
  /// Seconds.
  let timeout: Int64

  /// `KEY=COMMAND`, or a command for any key.
  init(_ text: String, timeout: Int64) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let isKeyed = parts.count == 2 && RepoKeyring.isName(parts[0])
    selector = isKeyed ? parts[0] : nil
    command = isKeyed ? parts[1] : text
    self.timeout = timeout
  }

  func isFor(_ key: TUFKey, name: String?) -> Bool {
    guard let selector else { return false }
    return selector == name || (selector.count >= 8 && key.keyID.hasPrefix(selector))
  }

  func sign(_ message: [UInt8], key: TUFKey, name: String?, file: TUFStagedFile) throws -> [UInt8] {
    let label = name ?? String(key.keyID.prefix(16))
    func failed(_ what: String, _ hint: String? = nil) -> CommandFailure {
      CommandFailure("the signer of key \(label): \(what)", hint: hint, status: .data)
    }
    var environment = [
      "SKERRY_KEY_ID": key.keyID, "SKERRY_SCHEME": key.scheme, "SKERRY_PUBLIC_KEY": key.publicKey,
      "SKERRY_ROLE": file.role, "SKERRY_FILE": file.fileName,
    ]
    if let name { environment["SKERRY_KEY_NAME"] = name }
    let done: PipedCommand.Outcome
    do {
      done = try PipedCommand.run(command, input: message, adding: environment, timeout: timeout)
    } catch let error as PipedCommand.Failure {
      throw failed(error.description, "the command was: \(command)")
    }
    guard done.status == 0 else {
      throw failed("“\(command)” ended with status \(done.status)", "its own words stand above")
    }
    guard let signature = ExternalSigner.signature(in: done.output) else {
      throw failed("its answer is no signature in hexadecimal or base64: “\(ExternalSigner.excerpt(done.output))”")
    }
    guard key.verifyingKey?.isValid(signature, for: message) == true else {
      throw failed(
        "the signature that it gave is not this key's over these bytes",
        "key id \(key.keyID), scheme \(key.scheme); nothing was signed")
    }
    return signature
  }

  /// Hexadecimal first: such a text would be base64 too.
  static func signature(in output: [UInt8]) -> [UInt8]? {
    let text = String(decoding: output, as: UTF8.self).filter { !$0.isWhitespace }
    guard !text.isEmpty else { return nil }
    return Hex.decode(text) ?? Base64.decode(text)
  }

  private static func excerpt(_ output: [UInt8]) -> String { String(decoding: output.prefix(60), as: UTF8.self) }
}
