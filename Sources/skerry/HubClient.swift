import CommandLine
import Trust
import Web

/// What every command that talks to a hub's admin API takes.
let hubOptions = [
  OptionSpec("hub", value: "URL", "the hub's address (default: $SKERRY_HUB_URL)"),
  OptionSpec(
    "pin", value: "PIN", "the hub's key, sha256//… (default: $SKERRY_HUB_PIN, or none)"),
  OptionSpec(
    "admin-token-file", value: "FILE", "holds the admin token (default: $SKERRY_HUB_ADMIN_TOKEN_FILE)",
    completion: .files),
]

extension Invocation {
  /// The hub that the options or the environment name. Throws `UsageError` when they name none.
  func hub() throws -> API {
    guard let url = command.option("hub") ?? environment("SKERRY_HUB_URL") else {
      throw UsageError(path: command.path, "which hub? give --hub URL or set SKERRY_HUB_URL")
    }
    guard url.hasPrefix("https://") else {
      throw UsageError(path: command.path, "a hub's address begins with https://, not “\(url)”")
    }
    let pin = command.option("pin") ?? environment("SKERRY_HUB_PIN")
    if let pin, !isPin(pin) {
      throw UsageError(path: command.path, "a pin is sha256// and 32 bytes in base64, not “\(pin)”")
    }
    guard
      let file = command.option("admin-token-file") ?? environment("SKERRY_HUB_ADMIN_TOKEN_FILE")
    else {
      throw UsageError(
        path: command.path,
        "the admin token is missing: give --admin-token-file FILE or set SKERRY_HUB_ADMIN_TOKEN_FILE")
    }
    let token = trimmed(String(decoding: try readFile(file, limit: 4096), as: UTF8.self))
    guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw CommandFailure(
        "\(file) holds no admin token", hint: "skerry-hub init wrote one to admin.token", status: .configuration)
    }
    let base = url.hasSuffix("/") ? String(url.dropLast()) : url
    return API(base: base, pin: pin, bearer: token) { hubFailure($0, url: base) }
  }
}

private func isPin(_ text: String) -> Bool {
  text.hasPrefix("sha256//") && Base64.decode(text.dropFirst("sha256//".count))?.count == Digest.length
}

/// Why the hub could not be asked, and what to do about it.
func hubFailure(_ error: HTTPClientError, url: String) -> CommandFailure {
  switch error.kind {
  case .pinMismatch:
    CommandFailure(
      "the hub at \(url) is not the one expected: \(error.message)",
      hint: "check the pin against what skerry-hub init printed; if it was right before, somebody may be in between",
      status: .denied)
  case .unreachable, .timeout:
    CommandFailure(
      "the hub at \(url) can't be reached: \(error.message)", hint: "is it running, and is this the right address?",
      status: .hubUnavailable)
  case .tls:
    CommandFailure(
      "no TLS connection to \(url): \(error.message)", hint: "is this the hub's address and port?",
      status: .hubUnavailable)
  case .cut: CommandFailure("the hub broke off its answer", hint: "try again", status: .tryLater)
  default: CommandFailure("the hub could not be asked: \(error.message)", status: .io)
  }
}
