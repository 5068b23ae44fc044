/// A command line that fits its specification.
public struct ParsedCommand: Sendable {
  /// What was asked for: to run the command, or only to be told about it.
  public enum Request: Sendable, Equatable { case run, help, version }

  /// The names below the program's own: `["model", "show"]`; empty for the program itself.
  public let path: [String]
  /// The command that the path leads to.
  public let spec: CommandSpec
  public let request: Request
  private let arguments: [String: [String]]
  private let options: [String: [String]]
  private let flags: Set<String>
  private let defaults: [String: String]

  init(
    path: [String], spec: CommandSpec, request: Request, arguments: [String: [String]],
    options: [String: [String]], flags: Set<String>, defaults: [String: String]
  ) {
    self.path = path
    self.spec = spec
    self.request = request
    self.arguments = arguments
    self.options = options
    self.flags = flags
    self.defaults = defaults
  }

  /// The value of an argument. Empty only for an optional one that was not given; see `optionalArgument`.
  public func argument(_ name: String) -> String { arguments[name]?.first ?? "" }
  public func optionalArgument(_ name: String) -> String? { arguments[name]?.first }
  /// All values of a repeating argument.
  public func arguments(_ name: String) -> [String] { arguments[name] ?? [] }
  /// The value of an option: the last one given, or else its default.
  public func option(_ name: String) -> String? { options[name]?.last ?? defaults[name] }
  /// All values of a repeating option.
  public func options(_ name: String) -> [String] { options[name] ?? [] }
  /// Whether a switch was given.
  public func flag(_ name: String) -> Bool { flags.contains(name) }

  /// An option that is a whole number within bounds; nil when it was not given.
  public func integer(_ name: String, in range: ClosedRange<Int64>) throws(UsageError) -> Int64? {
    guard let text = option(name) else { return nil }
    guard let number = Int64(text), range.contains(number) else {
      throw UsageError(
        path: path, "--\(name) takes a whole number from \(range.lowerBound) to \(range.upperBound), not “\(text)”")
    }
    return number
  }

  /// An option that is a length of time, in seconds: `90`, `90s`, `15m`, `1h`, `7d`; nil when it was not given.
  public func seconds(_ name: String) throws(UsageError) -> Int64? {
    guard let text = option(name) else { return nil }
    guard let seconds = Self.seconds(from: text) else {
      throw UsageError(path: path, "--\(name) takes a time such as 90s, 15m, 1h or 7d, not “\(text)”")
    }
    return seconds
  }

  static func seconds(from text: String) -> Int64? {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
    guard let last = text.last else { return nil }
    let digits = units[last] == nil ? text[...] : text.dropLast()
    guard digits.allSatisfy({ $0.isASCII && $0.isNumber }), let count = Int64(digits), count > 0 else { return nil }
    let (seconds, overflow) = count.multipliedReportingOverflow(by: units[last] ?? 1)
    return overflow ? nil : seconds
  }
}

/// A command line that doesn't fit: what is wrong with it, and what to type instead.
public struct UsageError: Error, Equatable, CustomStringConvertible {
  public let message: String
  public let hint: String?
  /// The command that was being read, below the program's name.
  public let path: [String]

  public init(path: [String] = [], _ message: String, hint: String? = nil) {
    self.path = path
    self.message = message
    self.hint = hint
  }
  public var description: String { message }
}
