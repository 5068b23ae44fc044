import CommandLine
import Testing
import Trust

@testable import skerry

@Suite struct TreeTests {
  /// Every command that has no commands below it, with its path.
  private func leaves(_ spec: CommandSpec, _ path: [String] = []) -> [([String], CommandSpec)] {
    spec.subcommands.isEmpty
      ? [(path, spec)] : spec.subcommands.flatMap { leaves($0, path + [$0.name]) }
  }

  @Test func theTreeHasNoMistakes() { #expect(program.spec.problems() == []) }

  @Test func everyCommandIsRunBySomething() {
    for (path, _) in leaves(program.spec) { #expect(program.runner(for: path) != nil, "\(path)") }
  }

  @Test func everyCommandHasHelpAndAManualPage() {
    for (path, spec) in leaves(program.spec) {
      #expect(Help.text(program.spec, path: path).contains(spec.summary))
      #expect(ManPage.roff(program.spec, path: path, version: "1").contains(".SH SYNOPSIS"))
    }
  }

  /// An example that can't be typed is worse than none.
  @Test func everyExampleParses() throws {
    func check(_ spec: CommandSpec) throws {
      for example in spec.examples where example.line.hasPrefix("skerry ") {
        let words = example.line.split(separator: " ").dropFirst().prefix { !["|", "<", ">"].contains($0) }
        #expect(throws: Never.self, "\(example.line)") { try Parser.parse(program.spec, words.map(String.init)) }
      }
      for command in spec.subcommands { try check(command) }
    }
    try check(program.spec)
  }
}
