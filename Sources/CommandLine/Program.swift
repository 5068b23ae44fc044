internal import Glibc

/// What every program of ours does the same way: `--help`, `--version`, usage errors, and its end.
public enum Program {
  static let help = OptionSpec("help", short: "h", "show this help")
  static let version = OptionSpec("version", "show the version")
  /// Options that every command has, without its declaring them.
  static let builtInOptions = [help, version]
  /// Those that a command with these options of its own has still.
  static func builtInOptions(besides own: [OptionSpec]) -> [OptionSpec] {
    builtInOptions.filter { option in option.name != version.name || !own.contains { $0.name == option.name } }
  }

  /// The words after the program's name.
  public static var arguments: [String] { Array(Swift.CommandLine.arguments.dropFirst()) }

  /// The last part of the path that the program was started by.
  public static var invokedName: String {
    Swift.CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? "skerry"
  }

  /// The value of an environment variable, nil when it is absent or empty.
  public static func environment(_ name: String) -> String? {
    guard let value = getenv(name) else { return nil }
    let text = String(cString: value)
    return text.isEmpty ? nil : text
  }

  /// Reads the program's arguments. Help and the version go to standard output and end it with 0; a usage error goes
  /// to standard error and ends it with 64. A service's `--man` alone prints its page of section 8.
  public static func parse(_ spec: CommandSpec, version: String, isService: Bool = false) -> ParsedCommand {
    if isService, arguments == ["--man"] {
      Voice.say(ManPage.roff(spec, version: version, section: 8))
      exit(ExitStatus.ok.rawValue)
    }
    do {
      let parsed = try Parser.parse(spec, arguments)
      switch parsed.request {
      case .run: return parsed
      case .help:
        Voice.say(Help.text(spec, path: parsed.path, width: Terminal.output.width))
        exit(ExitStatus.ok.rawValue)
      case .version:
        Voice.line("\(spec.name) \(version)")
        exit(ExitStatus.ok.rawValue)
      }
    } catch {
      end(error)
    }
  }

  /// Ends the program for an error, with the exit status that belongs to it.
  public static func end(_ error: any Error) -> Never {
    switch error {
    case let error as UsageError:
      let command = ([invokedName] + error.path).joined(separator: " ")
      fail(error.message, hint: error.hint ?? "see: \(command) --help", status: .usage)
    case let error as CommandFailure: fail(error.message, hint: error.hint, status: error.status)
    case is CancellationError: exit(128 + SIGINT)
    default: fail("\(error)", status: .failure)
    }
  }

  /// Runs a program's work and ends it: status 0, or the error's.
  public static func run(_ work: () async throws -> Void) async -> Never {
    do {
      try await work()
      exit(ExitStatus.ok.rawValue)
    } catch {
      end(error)
    }
  }
}
