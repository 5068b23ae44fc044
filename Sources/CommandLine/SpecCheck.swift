extension CommandSpec {
  /// What is wrong with this tree, one line each; a program's tests expect none. It checks what the compiler can't:
  /// unique names, one-line summaries, arguments in an order that can be parsed, reserved names left alone.
  public func problems() -> [String] { problems(above: [], inherited: Program.builtInOptions) }

  private func problems(above: [String], inherited: [OptionSpec]) -> [String] {
    let path = above + [name]
    let here = path.joined(separator: " ")
    // A value named version (of a model) is another thing than the program's version.
    let hides = options.contains { $0.name == Program.version.name && $0.value != nil }
    let inherited = hides ? inherited.filter { $0.name != Program.version.name } : inherited
    var found = Self.textProblems(here, name: name, summary: summary)
    found += duplicates(subcommands.map(\.name)).map { "\(here): two commands are named \($0)" }
    found += duplicates((inherited + options).map { "--" + $0.name }).map { "\(here): \($0) is declared twice" }
    found += duplicates((inherited + options).compactMap { $0.short.map { "-\($0)" } })
      .map { "\(here): \($0) is declared twice" }
    found += duplicates(arguments.map(\.name)).map { "\(here): two arguments are named \($0)" }
    for option in options {
      found += Self.textProblems("\(here) --\(option.name)", name: option.name, summary: option.summary)
    }
    for argument in arguments where argument.summary.isEmpty || argument.summary.contains("\n") {
      found.append("\(here) \(argument.name): needs a summary of one line")
    }
    if !subcommands.isEmpty && !arguments.isEmpty { found.append("\(here): has both commands and arguments") }
    if arguments.dropLast().contains(where: \.repeats) { found.append("\(here): only the last argument may repeat") }
    if let optional = arguments.firstIndex(where: { !$0.isRequired }),
      arguments[optional...].contains(where: \.isRequired)
    {
      found.append("\(here): a required argument follows an optional one")
    }
    for command in subcommands { found += command.problems(above: path, inherited: inherited + options) }
    return found
  }

  private static func textProblems(_ place: String, name: String, summary: String) -> [String] {
    var found: [String] = []
    let plain = name.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D }
    if name.isEmpty || !plain || name.hasPrefix("-") { found.append("\(place): a name is of a-z, 0-9 and -") }
    if summary.isEmpty || summary.contains("\n") { found.append("\(place): needs a summary of one line") }
    if summary.count > 80 { found.append("\(place): the summary is longer than 80 characters") }
    if summary.hasSuffix(".") { found.append("\(place): the summary ends with a full stop") }
    return found
  }

  private func duplicates(_ names: [String]) -> [String] {
    var seen = Set<String>()
    return names.filter { !seen.insert($0).inserted }
  }
}
