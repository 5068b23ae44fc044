import Testing

@testable import CommandLine

@Suite struct HelpTests {
  @Test func showsOneCommandWhole() {
    let expected = """
      boat sail: sails to a place

      Usage: boat sail [OPTIONS] PLACE [WORDS…]

      Sails there and no further.

      A second paragraph.

      Arguments:
        PLACE  where to
        WORDS  what to shout

      Options:
        -s, --speed KNOTS  how fast (default: 5)
        -q, --quiet        say nothing
        -r, --reef N       reefs: one, two (may be repeated)

      Options of every command:
        -c, --chart FILE  the chart to steer by
            --json        print JSON
        -h, --help        show this help
            --version     show the version

      Examples:
        boat sail home
            goes home

      """
    #expect(Help.text(boat, path: ["sail"]) == expected)
  }

  @Test func listsTheCommandsOfAGroup() {
    let text = Help.text(boat)
    #expect(text.hasPrefix("boat: sails between the skerries\n\nUsage: boat [OPTIONS] COMMAND\n"))
    #expect(text.contains("  sail    sails to a place\n  anchor  the anchor's commands\n"))
    #expect(text.hasSuffix("boat COMMAND --help tells more about each.\n"))
  }

  @Test func wrapsToTheWidthAndNeverLosesAWord() {
    let words = (1...60).map { "word\($0)" }.joined(separator: " ")
    let spec = CommandSpec("p", "does things", discussion: words, options: [OptionSpec("o", words)])
    for width in [1, 40, 66, 200] {
      let text = Help.text(spec, width: width)
      #expect(text.split(separator: "\n").allSatisfy { $0.count <= max(40, min(width, 110)) })
      for number in 1...60 {
        #expect(text.split(whereSeparator: { $0.isWhitespace }).filter { $0 == "word\(number)" }.count == 2)
      }
    }
  }
}
