/// Reads a command line against its specification.
///
/// Options may stand anywhere after the command that declares them. `--name value` and `--name=value` are the same, and
/// `--name=` gives the empty value; `-abc` is `-a -b -c`, or `-a bc` when `-a` takes a value. A lone `-` is an argument.
/// After `--` everything is. A command may declare `--version VALUE` for itself, which hides the built-in switch there.
public enum Parser {
  /// `arguments` without the program's own name.
  public static func parse(
    _ spec: CommandSpec, _ arguments: some Sequence<String>
  ) throws(UsageError) -> ParsedCommand {
    var reading = Reading(root: spec, words: Array(arguments))
    return try reading.run()
  }
}

private struct Reading {
  let root: CommandSpec
  let words: [String]
  var at = 0
  var path: [String] = []
  var command: CommandSpec
  var scope: [OptionSpec]
  var request = ParsedCommand.Request.run
  var values: [String] = []
  var options: [String: [String]] = [:]
  var flags: Set<String> = []

  init(root: CommandSpec, words: [String]) {
    self.root = root
    self.words = words
    command = root
    scope = Program.builtInOptions + root.options
  }

  mutating func run() throws(UsageError) -> ParsedCommand {
    var optionsEnded = false
    while at < words.count {
      let word = words[at]
      at += 1
      if optionsEnded || word == "-" || !word.hasPrefix("-") {
        try takeWord(word)
      } else if word == "--" {
        optionsEnded = true
      } else if word.hasPrefix("--") {
        try takeLong(word.dropFirst(2))
      } else {
        try takeShort(word.dropFirst())
      }
    }
    let arguments = request == .run ? try assign() : [:]
    var defaults: [String: String] = [:]
    for option in scope { defaults[option.name] = option.defaultValue }
    return ParsedCommand(
      path: path, spec: command, request: request, arguments: arguments, options: options, flags: flags,
      defaults: defaults)
  }

  private mutating func takeWord(_ word: String) throws(UsageError) {
    guard !command.subcommands.isEmpty else {
      values.append(word)
      return
    }
    if word == "help" && path.isEmpty && root.find(["help"]) == nil {
      request = .help
      return
    }
    guard let next = command.subcommands.first(where: { $0.name == word }) else {
      let names = command.subcommands.map(\.name)
      throw UsageError(
        path: path, "“\(word)” is no command of \(display(path))", hint: suggestion(for: word, among: names))
    }
    command = next
    path.append(word)
    scope += next.options
  }

  private mutating func takeLong(_ text: Substring) throws(UsageError) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    guard let option = scope.last(where: { $0.name == name }) else { throw unknown("--" + name) }
    try take(option, as: "--" + name, attached: parts.count > 1 ? String(parts[1]) : nil)
  }

  private mutating func takeShort(_ text: Substring) throws(UsageError) {
    var rest = text
    while let letter = rest.popFirst() {
      guard let option = scope.first(where: { $0.short == letter }) else { throw unknown("-\(letter)") }
      if option.value != nil {
        try take(option, as: "-\(letter)", attached: rest.isEmpty ? nil : String(rest))
        return
      }
      try take(option, as: "-\(letter)", attached: nil)
    }
  }

  private mutating func take(_ option: OptionSpec, as spelling: String, attached: String?) throws(UsageError) {
    guard let valueName = option.value else {
      if attached != nil { throw UsageError(path: path, "\(spelling) takes no value") }
      switch option.name {
      case Program.help.name: request = .help
      case Program.version.name where request == .run: request = .version
      default: flags.insert(option.name)
      }
      return
    }
    let value: String
    if let attached {
      value = attached
    } else if at < words.count {
      value = words[at]
      at += 1
    } else {
      throw UsageError(path: path, "\(spelling) needs a value: \(spelling) \(valueName)")
    }
    try check(value, option.completion, spelling)
    options[option.name, default: []].append(value)
  }

  /// Gives the words that are no options to the arguments, in order.
  private func assign() throws(UsageError) -> [String: [String]] {
    if !command.subcommands.isEmpty {
      throw UsageError(
        path: path, "\(display(path)) needs a command: \(command.subcommands.map(\.name).joined(separator: ", "))",
        hint: "try: \(display(path)) --help")
    }
    var left = values[...]
    var assigned: [String: [String]] = [:]
    for argument in command.arguments {
      let taken = argument.repeats ? left : left.prefix(1)
      left = left.dropFirst(taken.count)
      if taken.isEmpty && argument.isRequired {
        throw UsageError(
          path: path, "\(argument.name) is missing: \(argument.summary)",
          hint: "usage: \(Help.usageLine(root, path: path))")
      }
      for value in taken { try check(value, argument.completion, argument.name) }
      if !taken.isEmpty { assigned[argument.name] = Array(taken) }
    }
    if let extra = left.first {
      throw UsageError(
        path: path, "“\(extra)” is one argument too many", hint: "usage: \(Help.usageLine(root, path: path))")
    }
    return assigned
  }

  private func check(_ value: String, _ completion: ValueCompletion, _ spelling: String) throws(UsageError) {
    guard case .choices(let allowed) = completion, !allowed.contains(value) else { return }
    throw UsageError(
      path: path, "\(spelling) is one of \(allowed.joined(separator: ", ")), not “\(value)”",
      hint: suggestion(for: value, among: allowed))
  }

  private func unknown(_ spelling: String) -> UsageError {
    let names = scope.map { "--" + $0.name }
    let hint = suggestion(for: spelling, among: names) ?? "see: \(display(path)) --help"
    return UsageError(path: path, "\(display(path)) has no option \(spelling)", hint: hint)
  }

  private func suggestion(for word: String, among names: [String]) -> String? {
    if let near = Suggestion.nearest(to: word, among: names) { return "did you mean “\(near)”?" }
    return names.count <= 12 && !names.isEmpty ? "one of: \(names.joined(separator: ", "))" : nil
  }

  private func display(_ path: [String]) -> String { ([root.name] + path).joined(separator: " ") }
}
