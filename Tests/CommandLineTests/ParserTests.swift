import Testing

@testable import CommandLine

@Suite struct ParserTests {
  @Test func findsTheCommandAndItsArguments() throws {
    let sail = try parse("sail", "home", "ahoy", "there")
    #expect(sail.path == ["sail"])
    #expect(sail.argument("PLACE") == "home")
    #expect(sail.arguments("WORDS") == ["ahoy", "there"])
    #expect(sail.request == .run)
    #expect(try parse("anchor", "drop").path == ["anchor", "drop"])
  }

  @Test func spellsOptionsInEveryWay() throws {
    #expect(try parse("sail", "x", "--speed", "7").option("speed") == "7")
    #expect(try parse("sail", "x", "--speed=7").option("speed") == "7")
    #expect(try parse("sail", "x", "--speed=a=b").option("speed") == "a=b")
    #expect(try parse("sail", "x", "-s", "7").option("speed") == "7")
    #expect(try parse("sail", "x", "-s7").option("speed") == "7")
    #expect(try parse("sail", "x", "-qs", "7").option("speed") == "7")
    let cluster = try parse("sail", "-qs7", "x")
    #expect(cluster.flag("quiet") && cluster.option("speed") == "7" && cluster.argument("PLACE") == "x")
  }

  @Test func aCommandsOwnVersionHidesTheSwitch() throws {
    let spec = CommandSpec(
      "ship", "sails",
      subcommands: [CommandSpec("add", "adds", options: [OptionSpec("version", value: "V", "which one")])])
    #expect(try Parser.parse(spec, ["add", "--version", "1.0"]).option("version") == "1.0")
    #expect(try Parser.parse(spec, ["add", "--version=1.0"]).request == .run)
    #expect(try Parser.parse(spec, ["--version"]).request == .version)
    #expect(spec.problems() == [])
    #expect(Help.text(spec, path: ["add"], width: 80).split(separator: "--version").count == 2)
  }

  @Test func keepsAnEmptyValueApartFromNone() throws {
    #expect(try parse("sail", "x", "--chart=").option("chart") == "")
    #expect(try parse("sail", "x").option("chart") == nil)
    #expect(try parse("sail", "").argument("PLACE") == "")
    #expect(try parse("sail", "").optionalArgument("PLACE") == "")
  }

  @Test func takesGlobalOptionsBeforeAndAfterTheCommand() throws {
    #expect(try parse("--chart", "a", "anchor", "drop").option("chart") == "a")
    #expect(try parse("anchor", "--json", "drop").flag("json"))
    #expect(try parse("anchor", "drop", "--chart=a", "--chart", "b").option("chart") == "b")
    #expect(try parse("sail", "x", "-r", "one", "--reef", "two").options("reef") == ["one", "two"])
  }

  @Test func defaultsHoldUntilAnOptionIsGiven() throws {
    #expect(try parse("sail", "x").option("speed") == "5")
    #expect(try parse("sail", "x", "--speed=").option("speed") == "")
  }

  @Test func aLoneDashIsAnArgumentAndTwoEndTheOptions() throws {
    #expect(try parse("sail", "-").argument("PLACE") == "-")
    let ended = try parse("sail", "--", "--speed", "-q")
    #expect(ended.argument("PLACE") == "--speed")
    #expect(ended.arguments("WORDS") == ["-q"])
    #expect(!ended.flag("quiet"))
    #expect(try parse("sail", "--speed", "--", "x").option("speed") == "--")
  }

  @Test func helpAndVersionNeedNothingElse() throws {
    #expect(try parse("sail", "--help").request == .help)
    #expect(try parse("sail", "--help").path == ["sail"])
    #expect(try parse("help", "anchor", "drop").path == ["anchor", "drop"])
    #expect(try parse("help", "anchor", "drop").request == .help)
    #expect(try parse("--version").request == .version)
    #expect(try parse("--version", "-h").request == .help)
    // Behind "--" it is a word like any other.
    #expect(try parse("sail", "--", "--help").request == .run)
  }

  @Test func refusesWhatDoesNotFit() {
    #expect(usageError("sial")?.hint == "did you mean “sail”?")
    #expect(usageError("sail", "x", "--sped", "1")?.hint == "did you mean “--speed”?")
    #expect(usageError("xyzzy")?.hint == "one of: sail, anchor")
    #expect(usageError("sail")?.message == "PLACE is missing: where to")
    #expect(usageError("sail")?.hint == "usage: boat sail [OPTIONS] PLACE [WORDS…]")
    #expect(usageError("sail", "x", "--speed")?.message == "--speed needs a value: --speed KNOTS")
    #expect(usageError("sail", "x", "-s")?.message == "-s needs a value: -s KNOTS")
    #expect(usageError("sail", "x", "--quiet=yes")?.message == "--quiet takes no value")
    #expect(usageError("sail", "x", "-qz")?.message == "boat sail has no option -z")
    #expect(usageError("sail", "x", "--reef", "three")?.message == "--reef is one of one, two, not “three”")
    #expect(usageError("anchor", "drop", "now")?.message == "“now” is one argument too many")
    #expect(usageError("anchor")?.message == "boat anchor needs a command: drop, weigh")
    #expect(usageError()?.path == [])
    #expect(usageError("anchor", "dorp")?.path == ["anchor"])
    // An option of one command is none of another's.
    #expect(usageError("anchor", "drop", "--speed", "1") != nil)
  }

  @Test func readsNumbersWithinBounds() throws {
    #expect(try parse("sail", "x").integer("speed", in: 1...9) == 5)
    for wrong in ["0", "10", "", "5.5", "five", "99999999999999999999"] {
      #expect(throws: UsageError.self) { try parse("sail", "x", "--speed=\(wrong)").integer("speed", in: 1...9) }
    }
  }

  @Test(arguments: [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)])
  func readsTimes(_ text: String, _ seconds: Int64) throws {
    #expect(try parse("anchor", "drop", "--after", text).seconds("after") == seconds)
  }

  @Test(arguments: ["", "h", "0", "-1h", "1w", "1.5h", "9223372036854775807d", "1h30m", "٣h"])
  func refusesOtherTimes(_ text: String) throws {
    let parsed = try parse("anchor", "drop", "--after=\(text)")
    #expect(throws: UsageError.self) { try parsed.seconds("after") }
  }

  /// Whatever is typed, there is an answer; and what parses is what was declared.
  @Test func noLineOfWordsIsTooOdd() {
    let words = [
      "sail", "anchor", "drop", "help", "", "-", "--", "---", "--=", "-=", "=", "-s", "-qs", "--speed", "--speed=",
      "--reef=one", "--json", "-h", "--version", "-ü", "--ü=é", "\u{1B}[2J", "x", "\n",
    ]
    var state: UInt64 = 20_261_123
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    var parsed = 0
    for _ in 0..<20_000 {
      let line = (0..<random(7)).map { _ in words[random(words.count)] }
      _ = Completion.answer(boat, line)
      do {
        let command = try Parser.parse(boat, line)
        parsed += 1
        #expect(boat.find(command.path)?.name == command.spec.name)
        if command.request == .run { #expect(command.spec.subcommands.isEmpty) }
      } catch {
        #expect(!error.message.isEmpty)
      }
    }
    #expect(parsed > 100)
  }

  @Test func measuresSlipsOfTheFingers() {
    #expect(Suggestion.distance("", "") == 0)
    #expect(Suggestion.distance("abc", "") == 3)
    #expect(Suggestion.distance("model", "modle") == 1)
    #expect(Suggestion.distance("kitten", "sitting") == 3)
    #expect(Suggestion.nearest(to: "st", among: ["status", "sync"]) == "status")
    #expect(Suggestion.nearest(to: "s", among: ["status", "sync"]) == nil)
    #expect(Suggestion.nearest(to: "banana", among: ["status", "sync"]) == nil)
  }
}
