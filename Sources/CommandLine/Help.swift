/// What `--help` prints, made from the tree.
public enum Help {
  /// The help of the command that `path` leads to, wrapped to `width` columns.
  public static func text(_ root: CommandSpec, path: [String] = [], width: Int = 80) -> String {
    let command = root.find(path) ?? root
    let width = max(40, min(width, 110))
    var text = "\(([root.name] + path).joined(separator: " ")): \(command.summary)\n"
    text += "\nUsage: \(usageLine(root, path: path))\n"
    for paragraph in paragraphs(command.discussion) {
      text += "\n" + wrap(paragraph, width: width).joined(separator: "\n") + "\n"
    }
    text += section("Commands", command.subcommands.map { ($0.name, $0.summary) }, width)
    text += section("Arguments", command.arguments.map { ($0.name, $0.summary) }, width)
    text += section("Options", command.options.map(row), width)
    text += section(path.isEmpty ? "Always" : "Options of every command", inherited(root, path).map(row), width)
    if let asks = command.asks { text += "\nAsks access control for: \(asks)\n" }
    if !command.examples.isEmpty {
      text += "\nExamples:\n"
      for example in command.examples {
        text += "  \(example.line)\n"
        text += wrap(example.meaning, width: width - 6).map { "      \($0)\n" }.joined()
      }
    }
    if !command.subcommands.isEmpty {
      text += "\n\(([root.name] + path).joined(separator: " ")) COMMAND --help tells more about each.\n"
    }
    return text
  }

  /// One line that shows how the command is typed.
  public static func usageLine(_ root: CommandSpec, path: [String] = []) -> String {
    let command = root.find(path) ?? root
    var words = [root.name] + path
    if !command.options.isEmpty { words.append("[OPTIONS]") }
    if !command.subcommands.isEmpty { words.append("COMMAND") }
    words += command.arguments.map(\.usage)
    return words.joined(separator: " ")
  }

  /// The options that reach a command from above it, the built-in ones last.
  static func inherited(_ root: CommandSpec, _ path: [String]) -> [OptionSpec] {
    var options: [OptionSpec] = []
    for depth in 0..<path.count { options += root.find(path.prefix(depth))?.options ?? [] }
    return options + Program.builtInOptions(besides: root.find(path)?.options ?? [])
  }

  static func summary(of option: OptionSpec) -> String {
    var text = option.summary
    if case .choices(let allowed) = option.completion { text += ": \(allowed.joined(separator: ", "))" }
    if option.repeats { text += " (may be repeated)" }
    if let value = option.defaultValue { text += " (default: \(value))" }
    return text
  }

  private static func row(_ option: OptionSpec) -> (String, String) { (option.usage, summary(of: option)) }

  private static func section(_ title: String, _ rows: [(String, String)], _ width: Int) -> String {
    guard !rows.isEmpty else { return "" }
    let column = min(30, rows.map { $0.0.count }.max() ?? 0) + 4
    var text = "\n\(title):\n"
    for (name, summary) in rows {
      var lines = wrap(summary, width: width - column)[...]
      let head = "  " + name
      if head.count + 2 > column {
        text += head + "\n"
      } else {
        text += head + String(repeating: " ", count: column - head.count) + (lines.popFirst() ?? "") + "\n"
      }
      for line in lines { text += String(repeating: " ", count: column) + line + "\n" }
    }
    return text
  }

  static func paragraphs(_ text: String) -> [String] {
    var paragraphs: [String] = []
    var current: [Substring] = []
    let lines: [Substring] = text.split(separator: "\n", omittingEmptySubsequences: false) + [""]
    for line in lines {
      if !line.isEmpty {
        current.append(line)
      } else if !current.isEmpty {
        paragraphs.append(current.joined(separator: " "))
        current = []
      }
    }
    return paragraphs
  }

  static func wrap(_ text: String, width: Int) -> [String] {
    var lines: [String] = []
    for word in text.split(separator: " ") {
      if let last = lines.last, last.count + 1 + word.count <= width {
        lines[lines.count - 1] = last + " " + word
      } else {
        lines.append(String(word))
      }
    }
    return lines
  }
}
