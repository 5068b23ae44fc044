import Testing

@testable import CommandLine

@Suite struct CompletionTests {
  private func words(_ words: String...) -> [String]? {
    if case .words(let candidates) = Completion.answer(boat, words) { candidates.map(\.word) } else { nil }
  }

  @Test func offersCommandsOptionsAndValues() {
    #expect(words("") == ["sail", "anchor"])
    #expect(words("a") == ["anchor"])
    #expect(words("anchor", "") == ["drop", "weigh"])
    #expect(words("sail", "--") == ["--chart", "--json", "--speed", "--quiet", "--reef", "--help", "--version"])
    #expect(words("anchor", "drop", "--") == ["--chart", "--json", "--after", "--help", "--version"])
    #expect(words("sail", "home", "--reef", "") == ["one", "two"])
    #expect(words("sail", "--reef=t") == ["--reef=two"])
    #expect(words("sail", "-r", "o") == ["one"])
    #expect(words("anchor", "drop", "") == [])
    #expect(words("sail", "--bogus=") == [])
  }

  @Test func leavesFilesToTheShellAndNamesToTheProgram() {
    #expect(Completion.answer(boat, ["--chart", ""]) == .files)
    #expect(Completion.answer(boat, ["--chart=x"]) == .files)
    #expect(Completion.answer(boat, ["sail", "ho"]) == .names("places", prefix: "ho"))
    // The value of an option is no argument, and neither is a command's name after "--".
    #expect(Completion.answer(boat, ["sail", "-s", "5", "ho"]) == .names("places", prefix: "ho"))
    #expect(Completion.answer(boat, ["sail", "--", "-"]) == .names("places", prefix: "-"))
  }

  @Test func repliesALineEach() {
    let places: (String) -> [Completion.Candidate] = { key in
      [.init("home", key), .init("horn"), .init("bay"), .init("ho\ttab"), .init("ho\nline")]
    }
    #expect(Completion.reply(.names("places", prefix: "ho"), names: places) == "home\tplaces\nhorn\n")
    #expect(Completion.reply(.files, names: places) == ":files\n")
    #expect(Completion.reply(.words([]), names: places) == "")
  }

  @Test(arguments: Completion.Shell.allCases) func scriptsNameTheProgram(_ shell: Completion.Shell) {
    let script = Completion.script(shell, program: "boat")
    #expect(script.contains("boat") && script.contains("__complete --") && !script.contains("PROGRAM"))
  }
}
