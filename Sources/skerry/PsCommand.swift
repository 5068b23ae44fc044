import CommandLine
import Trust

let psNoun = Noun(
  CommandSpec(
    "ps", "show the engines: which model, how much memory, how busy, until when",
    discussion: """
      An engine is started when somebody asks its model, and goes when nobody has asked for a while; a request may say \
      for how long (keep_alive).
      """,
    examples: [Example("skerry ps --json", "the same for a program, sizes in bytes")])
) { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/engines")
  invocation.answer(answer) { enginesText(answer.list("engines")) }
}

func enginesText(_ engines: [JSONValue]) -> String {
  guard !engines.isEmpty else { return "no engine runs; one starts when a model is asked\n" }
  var table = Table(
    "model", "digest", "kind", "engine", "state", "memory", "context", "busy", "up", "until",
    right: ["memory", "context", "busy"])
  for engine in engines {
    let busy = engine["requests"]?.integer.map { used in
      "\(used)" + (engine["slots"]?.integer.map { "/\($0)" } ?? "")
    }
    table.add(
      engine.text("model"), String(engine.text("sha256").prefix(12)), engine.text("kind"), engine.text("engine"),
      engine.text("state"), engine["memoryBytes"]?.integer.map { Readable.bytes(UInt64(max(0, $0))) } ?? "",
      engine["contextTokens"]?.integer.map { "\($0)" } ?? "", busy ?? "",
      engine["loadedSeconds"]?.integer.map { Readable.seconds($0) } ?? "", stayText(engine))
  }
  return table.render()
}

/// When the engine goes if nobody asks it.
private func stayText(_ engine: JSONValue) -> String {
  guard engine.text("state") == "ready" else { return "" }
  return engine["expiresInSeconds"]?.integer.map { "in \(Readable.seconds($0))" } ?? "for ever"
}
