// How Skerry's programs speak to people:
//
// - What was asked for goes to standard output, and nothing else does. Everything about it goes to standard error.
// - An error is one line, "program: what went wrong". Where there is something to do, a line "hint: …" follows.
// - Sentences start in lower case and carry no full stop, so that a name or a path can begin or end one.
// - No exclamation mark, no apology, no abbreviation of a stack trace.
// - Text from elsewhere (a model's name, a server's message) is shown with its control characters escaped.

internal import Glibc

/// Where a program's words go.
public enum Voice {
  /// Writes to standard output exactly as given.
  public static func say(_ text: String) { write(Array(text.utf8), to: STDOUT_FILENO) }
  /// Writes bytes to standard output exactly as given.
  public static func say(_ bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }
  /// A line to standard output.
  public static func line(_ text: String) { say(text + "\n") }
  /// A line about what goes on, to standard error.
  public static func note(_ text: String) { write(Array((text + "\n").utf8), to: STDERR_FILENO) }
  /// Bytes to standard error exactly as given (a progress bar's).
  static func draw(_ text: String) { write(Array(text.utf8), to: STDERR_FILENO) }

  /// An error and its hint as they are printed.
  public static func errorText(program: String, _ message: String, hint: String?) -> String {
    "\(program): \(printable(message))\n" + (hint.map { "hint: \(printable($0))\n" } ?? "")
  }

  /// The text with control characters (but line feeds) shown as `\u{1B}`, so that it can't command a terminal.
  public static func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var shown = ""
    for scalar in text.unicodeScalars {
      if isControl(scalar) {
        shown += "\\u{" + String(scalar.value, radix: 16, uppercase: true) + "}"
      } else {
        shown.unicodeScalars.append(scalar)
      }
    }
    return shown
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    (scalar.value < 0x20 && scalar != "\n" && scalar != "\t") || (0x7F...0x9F).contains(scalar.value)
      || (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
  }

  /// Writes everything. A reader that has gone ends the program, as it would end `cat`; a full disk is an error.
  private static func write(_ bytes: [UInt8], to descriptor: Int32) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written >= 0 {
        rest = rest.dropFirst(written)
      } else if errno == EAGAIN {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&waiting, 1, -1)
      } else if errno != EINTR {
        if descriptor == STDERR_FILENO { return }
        exit(errno == EPIPE ? 128 + SIGPIPE : ExitStatus.io.rawValue)
      }
    }
  }
}

/// Ends the program with an error. `main` calls it; what can be tested throws `CommandFailure` instead.
public func fail(_ message: String, hint: String? = nil, status: ExitStatus = .failure) -> Never {
  Voice.draw(Voice.errorText(program: Program.invokedName, message, hint: hint))
  exit(status.rawValue)
}
