/// One command of a program as plain data. Parsing, help, completion and manual pages are functions of this tree.
public struct CommandSpec: Sendable {
  /// What is typed; the root's name is the program's.
  public var name: String
  /// One line, without a full stop, that says what the command does.
  public var summary: String
  /// Paragraphs below the usage line; lines inside a paragraph are wrapped again.
  public var discussion: String
  public var arguments: [ArgumentSpec]
  /// Options of this command and of every command below it.
  public var options: [OptionSpec]
  /// A command with subcommands needs one of them and takes no arguments of its own.
  public var subcommands: [CommandSpec]
  public var examples: [Example]
  /// What access control is asked for, as help names it; nil where nothing is asked for.
  public var asks: String?

  public init(
    _ name: String, _ summary: String, discussion: String = "", arguments: [ArgumentSpec] = [],
    options: [OptionSpec] = [], examples: [Example] = [], subcommands: [CommandSpec] = []
  ) {
    self.name = name
    self.summary = summary
    self.discussion = discussion
    self.arguments = arguments
    self.options = options
    self.subcommands = subcommands
    self.examples = examples
  }

  /// The command that these names lead to, or nil when one of them is unknown.
  public func find(_ path: some Sequence<String>) -> CommandSpec? {
    var found = self
    for name in path {
      guard let next = found.subcommands.first(where: { $0.name == name }) else { return nil }
      found = next
    }
    return found
  }
}

/// A value that has its meaning from its place.
public struct ArgumentSpec: Sendable {
  public enum Kind: Sendable { case required, optional, repeating, optionalRepeating }
  /// In capitals, as help shows it: `MODEL`.
  public var name: String
  public var summary: String
  public var kind: Kind
  public var completion: ValueCompletion

  public init(_ name: String, _ summary: String, _ kind: Kind = .required, completion: ValueCompletion = .none) {
    self.name = name
    self.summary = summary
    self.kind = kind
    self.completion = completion
  }

  var isRequired: Bool { kind == .required || kind == .repeating }
  var repeats: Bool { kind == .repeating || kind == .optionalRepeating }
  /// As a usage line shows it: `NAME`, `[NAME]`, `NAME…`, `[NAME…]`.
  var usage: String {
    let text = repeats ? name + "…" : name
    return isRequired ? text : "[\(text)]"
  }
}

/// A value or a switch that has its meaning from its name.
public struct OptionSpec: Sendable {
  /// Without dashes: `socket` is typed `--socket`.
  public var name: String
  public var short: Character?
  /// The value's name in help (`PATH`); nil makes the option a switch.
  public var value: String?
  public var summary: String
  /// What holds when the option is not given; shown in help and returned by `ParsedCommand.option`.
  public var defaultValue: String?
  /// Whether each use adds a value. Otherwise the last one counts.
  public var repeats: Bool
  public var completion: ValueCompletion

  public init(
    _ name: String, short: Character? = nil, value: String? = nil, _ summary: String, default: String? = nil,
    repeats: Bool = false, completion: ValueCompletion = .none
  ) {
    self.name = name
    self.short = short
    self.value = value
    self.summary = summary
    self.defaultValue = `default`
    self.repeats = repeats
    self.completion = completion
  }

  /// As help shows it: `-o, --output FILE`.
  var usage: String {
    (short.map { "-\($0), " } ?? "    ") + "--" + name + (value.map { " " + $0 } ?? "")
  }
}

/// How a shell completes a value.
public enum ValueCompletion: Sendable, Equatable {
  case none
  case files
  case directories
  /// One of these; the parser refuses anything else.
  case choices([String])
  /// Names that only the program knows at run time, asked for by this key.
  case names(String)
}

/// A command line worth showing, and what it does.
public struct Example: Sendable {
  public var line: String
  public var meaning: String
  public init(_ line: String, _ meaning: String) {
    self.line = line
    self.meaning = meaning
  }
}
