/// Manual pages in roff (man(7)), made from the same tree as the help.
public enum ManPage {
  /// The page of the command that `path` leads to: `skerry-model-show(1)` for `["model", "show"]`. `section` 1 is for
  /// commands, 8 for services.
  public static func roff(
    _ root: CommandSpec, path: [String] = [], version: String, date: String = "", section: Int = 1
  ) -> String {
    let command = root.find(path) ?? root
    let title = ([root.name] + path).joined(separator: "-")
    var page =
      ".TH \(quoted(title.uppercased())) \(section) \(quoted(date)) \(quoted("Skerry " + version)) \"Skerry\"\n"
    page += ".nh\n.ad l\n"
    page += ".SH NAME\n\(escaped(title)) \\- \(escaped(command.summary))\n"
    page += ".SH SYNOPSIS\n.B \(escaped(([root.name] + path).joined(separator: " ")))\n"
    let rest = Help.usageLine(root, path: path).split(separator: " ").dropFirst(path.count + 1)
    if !rest.isEmpty { page += escaped(rest.joined(separator: " ")) + "\n" }
    let paragraphs = Help.paragraphs(command.discussion)
    page += ".SH DESCRIPTION\n"
    page += (paragraphs.isEmpty ? [sentence(command.summary)] : paragraphs).map(text).joined(separator: ".PP\n")
    page += list("COMMANDS", command.subcommands.map { ("\\fB\(escaped($0.name))\\fR", $0.summary) })
    page += list("ARGUMENTS", command.arguments.map { ("\\fI\(escaped($0.name))\\fR", $0.summary) })
    page += list("OPTIONS", (command.options + Help.inherited(root, path)).map { (tag($0), Help.summary(of: $0)) })
    if let asks = command.asks { page += ".SH \"ACCESS CONTROL\"\nAsks for: \(escaped(asks)).\n" }
    page += list("EXAMPLES", command.examples.map { ("\\fB\(escaped($0.line))\\fR", $0.meaning) })
    page += list("EXIT STATUS", exitStatuses)
    page += seeAlso(root, path, command, section)
    return page
  }

  static let exitStatuses: [(String, String)] = [
    ("0", "done"), ("1", "the command ran, and the answer is no"), ("64", "the command line is wrong"),
    ("65", "data or a signature is wrong"), ("66", "what was named doesn't exist"),
    ("69", "the agent or the hub can't be reached"), ("70", "a defect of the program"),
    ("74", "reading or writing failed"), ("75", "it may work later"), ("77", "refused by access control"),
    ("78", "the configuration is wrong"),
  ]

  private static func tag(_ option: OptionSpec) -> String {
    let short = option.short.map { "\\fB\\-\($0)\\fR, " } ?? ""
    return short + "\\fB\(escaped("--" + option.name))\\fR" + (option.value.map { " \\fI\(escaped($0))\\fR" } ?? "")
  }

  private static func list(_ title: String, _ rows: [(String, String)]) -> String {
    guard !rows.isEmpty else { return "" }
    return ".SH \(title)\n" + rows.map { ".TP\n\($0.0)\n\(text($0.1))" }.joined()
  }

  private static func seeAlso(_ root: CommandSpec, _ path: [String], _ command: CommandSpec, _ section: Int) -> String {
    var pages = command.subcommands.map { ([root.name] + path + [$0.name]).joined(separator: "-") }
    if !path.isEmpty { pages.insert(([root.name] + path.dropLast()).joined(separator: "-"), at: 0) }
    guard !pages.isEmpty else { return "" }
    let rows = pages.enumerated().map { at, page in
      ".BR \(escaped(page)) (\(section))\(at == pages.count - 1 ? "" : ",")\n"
    }
    return ".SH \"SEE ALSO\"\n" + rows.joined()
  }

  private static func sentence(_ summary: String) -> String {
    summary.prefix(1).uppercased() + summary.dropFirst() + "."
  }

  private static func quoted(_ text: String) -> String { "\"" + escaped(text) + "\"" }

  private static func text(_ paragraph: String) -> String { escaped(paragraph) + "\n" }

  /// Text that roff prints as it stands: no requests at a line's start, no escapes, hyphens that can be copied.
  private static func escaped(_ text: String) -> String {
    var shown = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": shown += "\\e"
      case "-": shown += "\\-"
      case "\"": shown += "\\(dq"
      case "'": shown += "\\(aq"
      case "`": shown += "\\(ga"
      case "^": shown += "\\(ha"
      case "~": shown += "\\(ti"
      case "\n": shown += " "
      case _ where scalar.value > 0x7E: shown += "\\[u\(hexadecimal(scalar.value))]"
      default: shown.unicodeScalars.append(scalar)
      }
    }
    return shown.hasPrefix(".") ? "\\&" + shown : shown
  }

  private static func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}
