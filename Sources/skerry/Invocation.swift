import CommandLine
import Trust

/// One run of one command: what was asked for, where the answer goes, and whom to ask.
struct Invocation: Sendable {
  let command: ParsedCommand
  let console: Console
  let environment: @Sendable (String) -> String?

  init(
    _ command: ParsedCommand, console: Console = .standard,
    environment: @escaping @Sendable (String) -> String? = { Program.environment($0) }
  ) {
    self.command = command
    self.console = console
    self.environment = environment
  }

  /// Whether a program reads the answer.
  var json: Bool { command.flag("json") }

  func argument(_ name: String) -> String { command.argument(name) }

  /// Prints one JSON value if a program reads the answer, and else what people read.
  func answer(_ value: JSONValue, _ text: () throws -> String) rethrows {
    if json { console.say(value.encodedPretty()) } else { console.say(Array(try text().utf8)) }
  }
}

/// Where words go; tests keep them.
struct Console: Sendable {
  /// To standard output, exactly as given.
  let say: @Sendable ([UInt8]) -> Void
  /// A line to standard error.
  let note: @Sendable (String) -> Void

  static let standard = Console(say: { Voice.say($0) }, note: { Voice.note($0) })

  func say(_ text: String) { say(Array(text.utf8)) }
}
