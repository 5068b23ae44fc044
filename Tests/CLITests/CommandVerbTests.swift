import CommandLine
import Fleet
import Foundation
import Testing
import Trust
import Web

@testable import skerry

/// Each command asks for the verbs that its help names: what it really sends, by the table of docs/api.md, which the
/// agent's own tests keep equal to what the agent declares.
@Suite struct CommandVerbTests {
  private struct Row {
    let method: String
    let pattern: [Substring]
    let verb: String
  }

  private static func documented() throws -> [Row] {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "docs/api.md")
    return try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { line in
      let cells = line.split(separator: "|").map { $0.filter { $0 != "`" }.split(separator: " ") }
      guard cells.count == 3, cells[0].count == 2, cells[0][1].hasPrefix("/"), let verb = cells[1].first else {
        return nil
      }
      return Row(
        method: String(cells[0][0]), pattern: cells[0][1].split(separator: "/"), verb: String(verb.filter { $0 != "," })
      )
    }
  }

  private static func verb(_ asked: String, _ rows: [Row]) -> String? {
    let words = asked.split(separator: " ")
    let path = words[1].prefix { $0 != "?" }.split(separator: "/")
    return rows.first { row in
      row.method == words[0] && row.pattern.count == path.count
        && zip(row.pattern, path).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
    }?.verb
  }

  private func leaves(_ spec: CommandSpec, _ path: [String] = []) -> [([String], CommandSpec)] {
    spec.subcommands.isEmpty ? [(path, spec)] : spec.subcommands.flatMap { leaves($0, path + [$0.name]) }
  }

  private static let token = EnrollmentToken(
    hub: "https://hub:1", pin: "sha256//" + Base64.encode([UInt8](repeating: 0, count: 32)), root: Digest(of: []),
    secret: "s", expires: 1 << 40
  ).encoded
  /// The options that commands can't do without, or by which they ask for something else.
  private static let ways: [String: [[String]]] = [
    "audit erase": [["--record", "0"]], "bench": [["--rounds", "1"]],
    "break-glass open": [["--reason", "a good reason", "--code-file", "FILE"]],
    "bundle export": [["--output", "FILE"], ["--output", "FILE", "--enroll", token]],
    "report": [["--json"], ["--html", "FILE"]], "model scrub": [[], ["--now"]],
  ]
  private static let arguments = [
    "VERB": "infer", "RESOURCE": "model:m", "SUBJECT": "local", "N": "0", "ROLE": "chat", "SHELL": "bash",
    "TOKEN": token,
  ]
  /// What the fake has to say so that a command goes on to its last request.
  private static let answers = [
    "*": answer([:]),
    "POST /v1/completions": pieces(
      [
        #"data: {"choices":[{"text":"a","index":0}]}"#, "\n\n",
        #"data: {"choices":[],"usage":{"prompt_tokens":64,"completion_tokens":11},"timings":{"prompt_n":64,"prompt_ms":32.0,"predicted_n":11,"predicted_ms":100.0}}"#,
        "\n\ndata: [DONE]\n\n",
      ], type: "text/event-stream"),
  ]
  /// Commands that are tried elsewhere: they talk to a hub, or work on files that a test has to make.
  private static let elsewhere: Set = ["hub", "repo"]

  @Test func everyCommandAsksForWhatItsHelpNames() async throws {
    let rows = try Self.documented()
    #expect(rows.count > 60)
    let leaves = leaves(program.spec)
    let paths = Set(leaves.map { $0.0.joined(separator: " ") })
    #expect(Set(commandVerbs.keys).isSubset(of: paths), "a row for a command that is no more")
    for (path, spec) in leaves where !Self.elsewhere.contains(path[0]) {
      let name = path.joined(separator: " ")
      try await withAgent(Self.answers) { agent in
        let file = agent.file("f")
        for options in Self.ways[name] ?? [[]] {
          try Data("{version: 1, roles: {}, bindings: []}".utf8).write(to: URL(filePath: file))
          var words = path + options.map { $0 == "FILE" ? file : $0 }
          for argument in spec.arguments where argument.kind == .required || argument.kind == .repeating {
            words.append(Self.arguments[argument.name] ?? (argument.name == "FILE" ? file : "m"))
          }
          if name == "run" { words.append("hello") }
          // What talks to nobody may want more than this.
          // On a busy machine a command may give up before its agent was asked.
          let before = agent.asked.count
          for _ in 0..<4 where agent.asked.count == before && commandVerbs[name] != nil {
            _ = try? await agent.run(words)
          }
          do { _ = try await agent.run(words) } catch let error as UsageError where commandVerbs[name] != nil {
            Issue.record("\(words): \(error)")
          } catch is UsageError {}
        }
        let asked = Set(
          try agent.asked.map { try #require(Self.verb($0.line, rows), "\(name) asked \($0.line)") }.filter {
            $0 != "none"
          })
        #expect(asked == Set((commandVerbs[name] ?? []).map(\.rawValue)), "\(name)")
        if commandVerbs[name] == nil { #expect(agent.asked.isEmpty, "\(name) talks to the agent") }
      }
    }
  }

  @Test func helpAndManualNameIt() {
    let help = Help.text(program.spec, path: ["role", "bind"])
    #expect(help.contains("Asks access control for: role.manage"))
    #expect(ManPage.roff(program.spec, path: ["role", "bind"], version: "1").contains("Asks for: role.manage"))
    #expect(Help.text(program.spec, path: ["break-glass", "open"]).contains("Asks access control for: no verb"))
  }
}
