@testable import CommandLine

/// A small tree with one of everything.
let boat = CommandSpec(
  "boat", "sails between the skerries",
  options: [
    OptionSpec("chart", short: "c", value: "FILE", "the chart to steer by", completion: .files),
    OptionSpec("json", "print JSON"),
  ],
  subcommands: [
    CommandSpec(
      "sail", "sails to a place", discussion: "Sails there and\nno further.\n\nA second paragraph.",
      arguments: [
        ArgumentSpec("PLACE", "where to", completion: .names("places")),
        ArgumentSpec("WORDS", "what to shout", .optionalRepeating),
      ],
      options: [
        OptionSpec("speed", short: "s", value: "KNOTS", "how fast", default: "5"),
        OptionSpec("quiet", short: "q", "say nothing"),
        OptionSpec("reef", short: "r", value: "N", "reefs", repeats: true, completion: .choices(["one", "two"])),
      ],
      examples: [Example("boat sail home", "goes home")]),
    CommandSpec(
      "anchor", "the anchor's commands",
      subcommands: [
        CommandSpec("drop", "drops it", options: [OptionSpec("after", value: "TIME", "when")]),
        CommandSpec("weigh", "takes it up"),
      ]),
  ])

func parse(_ words: String...) throws(UsageError) -> ParsedCommand { try Parser.parse(boat, words) }

func usageError(_ words: String...) -> UsageError? {
  do {
    _ = try Parser.parse(boat, words)
    return nil
  } catch {
    return error
  }
}
