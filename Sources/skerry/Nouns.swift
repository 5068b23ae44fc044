import CommandLine

/// Does what one command line asks for.
typealias Runner = @Sendable (Invocation) async throws -> Void

/// A command that belongs together with what runs it: its own runner, or one for each of its verbs.
struct Noun: Sendable {
  let spec: CommandSpec
  /// By the verb's words below the noun, joined by spaces; "" stands for every verb that is not named.
  private let runners: [String: Runner]

  init(_ spec: CommandSpec, _ runners: [String: Runner]) {
    self.spec = spec
    self.runners = runners
  }

  /// A noun without verbs, or one that tells its verbs apart by itself.
  init(_ spec: CommandSpec, run: @escaping Runner) { self.init(spec, ["": run]) }

  func runner(for verb: String) -> Runner? { runners[verb] ?? runners[""] }
}

/// The whole program: its tree of commands, and who runs each.
struct CommandTable: Sendable {
  let spec: CommandSpec
  private let nouns: [String: Noun]

  init(_ name: String, _ summary: String, discussion: String, options: [OptionSpec], nouns: [Noun]) {
    spec = CommandSpec(name, summary, discussion: discussion, options: options, subcommands: nouns.map(\.spec))
      .asking()
    self.nouns = Dictionary(nouns.map { ($0.spec.name, $0) }, uniquingKeysWith: { first, _ in first })
  }

  func runner(for path: [String]) -> Runner? {
    path.first.flatMap { nouns[$0]?.runner(for: path.dropFirst().joined(separator: " ")) }
  }

  func run(_ invocation: Invocation) async throws {
    guard let runner = runner(for: invocation.command.path) else {
      let words = invocation.command.path.joined(separator: " ")
      throw CommandFailure("\(words) has a description and nothing that runs it; this is a defect", status: .software)
    }
    try await runner(invocation)
  }
}

let program: CommandTable = CommandTable(
  "skerry", "signed, governed and accounted-for language models on this box",
  discussion: """
    Talks to the agent on this box over its Unix socket. The repo commands work on a publisher's files, bundle \
    inspect on a file, the hub commands talk to a hub's admin API, and audit verify needs nothing but the exported file.

    The result goes to standard output, everything about it to standard error.
    """,
  options: [
    OptionSpec(
      "socket", value: "PATH", "the agent's socket (default: $SKERRY_SOCKET, or \(defaultSocket))",
      completion: .files),
    OptionSpec("json", "print JSON, for programs"),
    OptionSpec(
      "as", value: "ROLE", "ask with this role alone, of those held", repeats: true,
      completion: .names("roles")),
  ],
  nouns: [
    statusNoun, enrollNoun, syncNoun, siteNoun, modelNoun, runNoun, psNoun, benchNoun, roleNoun, tokenNoun,
    breakGlassNoun, auditNoun,
    usageNoun, reportNoun, repoNoun, bundleNoun, hubNoun, completionNoun, manNoun,
  ])
