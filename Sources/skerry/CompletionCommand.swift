import Access
import CommandLine
import Fleet
import Trust

let completionNoun = Noun(
  CommandSpec(
    "completion", "print the completion script of a shell",
    arguments: [
      ArgumentSpec("SHELL", "the shell", completion: .choices(Completion.Shell.allCases.map(\.rawValue)))
    ],
    examples: [
      Example("source <(skerry completion bash)", "for this shell alone"),
      Example("skerry completion bash > /etc/bash_completion.d/skerry", "for everybody"),
    ])
) { invocation in
  guard let shell = Completion.Shell(rawValue: invocation.argument("SHELL")) else { return }
  invocation.console.say(Completion.script(shell, program: program.spec.name))
}

let manNoun = Noun(
  CommandSpec(
    "man", "print a manual page (roff)",
    arguments: [ArgumentSpec("COMMAND", "the command's words, such as model show", .optionalRepeating)],
    examples: [Example("skerry man model show | man -l -", "to read it")])
) { invocation in
  let words = invocation.command.arguments("COMMAND")
  guard program.spec.find(words) != nil else {
    throw CommandFailure(
      "there is no command \(words.joined(separator: " "))", hint: "see: skerry --help", status: .noInput)
  }
  invocation.console.say(ManPage.roff(program.spec, path: words, version: skerryVersion))
}

/// What the shells' scripts call back for. It asks the agent for names, briefly, and never complains.
func completeWords(_ arguments: [String], console: Console = .standard) async {
  let words = arguments.first == "--" ? Array(arguments.dropFirst()) : arguments
  let answer = Completion.answer(program.spec, words)
  var names: [Completion.Candidate] = []
  if case .names(let key, _) = answer { names = await candidates(key, words: words) }
  console.say(Completion.reply(answer, names: { [names] _ in names }))
}

private func candidates(_ key: String, words: [String]) async -> [Completion.Candidate] {
  let options =
    (try? Parser.parse(program.spec, words.dropLast() + ["--help"])) ?? (try? Parser.parse(program.spec, ["--help"]))
  guard let options else { return [] }
  let invocation = Invocation(options)
  func ask(_ path: String, _ list: String) async -> [JSONValue] {
    (try? await invocation.agent.json("GET", path, timeout: .seconds(1)).list(list)) ?? []
  }
  switch key {
  case "models":
    return await ask("/skerry/v1/models", "models").map {
      .init($0.text("name"), "\($0.text("version")) \($0.text("state"))")
    }
  case "roles": return await ask("/skerry/v1/roles", "roles").map { .init($0.text("name"), $0.text("summary")) }
  case "tokens": return await ask("/skerry/v1/tokens", "tokens").map { .init($0.text("name")) }
  case "subjects":
    let tokens = await ask("/skerry/v1/tokens", "tokens").map { Completion.Candidate("token:" + $0.text("name")) }
    return tokens
      + ["local", "user:", "group:", "uid:", "gid:", "token:", "oidc:", "oidc-group:", "operator:"].map { .init($0) }
  case "devices":
    let answer = try? await invocation.hub().json("GET", "/admin/v1/devices", timeout: .seconds(2))
    return (answer?.list("devices") ?? []).map { .init($0["id"]?.string ?? $0.text("deviceID"), $0.text("name")) }
  default: return []
  }
}
