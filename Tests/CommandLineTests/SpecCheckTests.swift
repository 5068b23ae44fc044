import Testing

@testable import CommandLine

@Suite struct SpecCheckTests {
  @Test func aGoodTreeHasNoProblems() { #expect(boat.problems() == []) }

  @Test func namesEachMistake() {
    func problems(_ change: (inout CommandSpec) -> Void) -> [String] {
      var spec = CommandSpec("p", "does things")
      change(&spec)
      return spec.problems()
    }
    let twin = CommandSpec("a", "one")
    #expect(problems { $0.subcommands = [twin, twin] } == ["p: two commands are named a"])
    #expect(problems { $0.summary = "" } == ["p: needs a summary of one line"])
    #expect(problems { $0.summary = "two\nlines" } == ["p: needs a summary of one line"])
    #expect(problems { $0.summary = "Ends." } == ["p: the summary ends with a full stop"])
    #expect(problems { $0.name = "Shout" } == ["Shout: a name is of a-z, 0-9 and -"])
    #expect(problems { $0.options = [OptionSpec("help", "mine")] } == ["p: --help is declared twice"])
    #expect(
      problems {
        $0.options = [OptionSpec("out", short: "o", "x")]
        $0.subcommands = [CommandSpec("a", "one", options: [OptionSpec("own", short: "o", "y")])]
      } == ["p a: -o is declared twice"])
    #expect(
      problems { $0.arguments = [ArgumentSpec("A", "x", .optional), ArgumentSpec("B", "y")] }
        == ["p: a required argument follows an optional one"])
    #expect(
      problems { $0.arguments = [ArgumentSpec("A", "x", .repeating), ArgumentSpec("B", "y")] }
        == ["p: only the last argument may repeat"])
    #expect(
      problems {
        $0.arguments = [ArgumentSpec("A", "x")]
        $0.subcommands = [twin]
      } == ["p: has both commands and arguments"])
  }
}
