import CommandLine
import Trust
import Web

let benchNoun = Noun(
  CommandSpec(
    "bench", "measure a model's speed on this box",
    discussion: """
      Asks the model through the agent, as an application would, after the habits of llama-bench: pp is the speed at \
      which a prompt is read, tg the speed at which an answer is written, each the mean and standard deviation over the \
      rounds, in tokens a second by the engine's clock. The time to the first token is the caller's, everything \
      between included. Remembered prompts are not used. A first round warms up and does not count.
      """,
    arguments: [ArgumentSpec("MODEL", "the model's name", completion: .names("models"))],
    options: [
      OptionSpec("prompt", value: "N", "about how many tokens the prompt of pp has (default 512)"),
      OptionSpec("generate", value: "N", "how many tokens the answer of tg has (default 128)"),
      OptionSpec("rounds", value: "N", "how often each is measured (default 5)"),
      OptionSpec("parallel", value: "N", "also measure N answers of tg at the same time"),
    ],
    examples: [
      Example("skerry bench smollm2-135m", "prompt and answer speed, first token, memory"),
      Example("skerry bench smollm2-135m --parallel 8 --json", "with eight at once, for a program"),
    ])
) { invocation in
  let command = invocation.command
  let bench = Bench(
    model: invocation.argument("MODEL"), agent: invocation.agent,
    promptTokens: Int(try command.integer("prompt", in: 8...100_000) ?? 512),
    answerTokens: Int(try command.integer("generate", in: 2...100_000) ?? 128),
    rounds: Int(try command.integer("rounds", in: 1...1000) ?? 5),
    parallel: Int(try command.integer("parallel", in: 1...64) ?? 1))
  let report = try await bench.run { invocation.json ? () : invocation.console.note($0) }
  invocation.answer(report.json) { report.text }
}

/// Measures one model through the agent.
struct Bench: Sendable {
  let model: String
  let agent: API
  let promptTokens: Int
  let answerTokens: Int
  let rounds: Int
  let parallel: Int

  /// What one answer took: tokens and seconds by the engine's clock, the first token by ours.
  struct Sample: Sendable {
    var promptTokens = 0.0
    var promptSeconds = 0.0
    var answerTokens = 0.0
    var answerSeconds = 0.0
    var firstToken = 0.0
    var total = 0.0
  }

  /// Throws `CommandFailure` when the agent refuses, or when the engine tells no times.
  func run(progress: (String) -> Void) async throws -> BenchReport {
    progress("loading \(model)")
    let loading = ContinuousClock.now
    _ = try await agent.json(
      "POST", path("/skerry/v1/models", model) + "/load", body: .object([:]), timeout: .seconds(900))
    var report = BenchReport(model: model, loadSeconds: Bench.seconds(.now - loading))
    _ = try await ask(words: 4, tokens: 2, round: 0)
    // Words are not tokens: how many of ours make one is found out first.
    let trial = try await ask(words: 64, tokens: 1, round: 0)
    let words = max(1, Int(Double(promptTokens) * 64 / max(1, trial.promptTokens)))

    var prompts: [Sample] = []
    for round in 1...rounds {
      progress("pp\(promptTokens) \(round)/\(rounds)")
      prompts.append(try await ask(words: words, tokens: 1, round: round))
    }
    let read = prompts.map(\.promptTokens).reduce(0, +) / Double(prompts.count)
    report.tests.append(
      BenchReport.Test(
        name: "pp\(Int(read.rounded()))", promptTokens: Int(read.rounded()), answerTokens: 0, parallel: 1,
        speeds: prompts.map { $0.promptTokens / $0.promptSeconds }, firstTokens: prompts.map(\.firstToken)))

    var answers: [Sample] = []
    for round in 1...rounds {
      progress("tg\(answerTokens) \(round)/\(rounds)")
      answers.append(try await ask(words: 4, tokens: answerTokens, round: round))
    }
    report.tests.append(
      BenchReport.Test(
        name: "tg\(answerTokens)", promptTokens: 0, answerTokens: answerTokens, parallel: 1,
        speeds: answers.map { ($0.answerTokens - 1) / $0.answerSeconds }, firstTokens: answers.map(\.firstToken)))
    if parallel > 1 { report.tests.append(try await together(progress)) }
    report.memoryBytes = try await memory()
    return report
  }

  /// All tokens that several answers bring together, by the time that all of them take.
  private func together(_ progress: (String) -> Void) async throws -> BenchReport.Test {
    var speeds: [Double] = []
    var firsts: [Double] = []
    for round in 1...rounds {
      progress("tg\(answerTokens) ×\(parallel) \(round)/\(rounds)")
      let started = ContinuousClock.now
      let samples = try await withThrowingTaskGroup(of: Sample.self) { group in
        for one in 0..<parallel {
          group.addTask { try await ask(words: 4, tokens: answerTokens, round: round * 100 + one) }
        }
        return try await group.reduce(into: [Sample]()) { $0.append($1) }
      }
      speeds.append(samples.map(\.answerTokens).reduce(0, +) / Bench.seconds(.now - started))
      firsts += samples.map(\.firstToken)
    }
    return BenchReport.Test(
      name: "tg\(answerTokens) ×\(parallel)", promptTokens: 0, answerTokens: answerTokens, parallel: parallel,
      speeds: speeds, firstTokens: firsts)
  }

  private static let vocabulary = ["sea", "rock", "tide", "light", "ship", "wind", "stone", "gull"]

  /// One streamed answer. Each round's prompt begins differently, so that nothing of it is remembered.
  private func ask(words: Int, tokens: Int, round: Int) async throws -> Sample {
    let text =
      "\(round) "
      + (0..<words).map { Bench.vocabulary[($0 &* 7 &+ round) % Bench.vocabulary.count] }.joined(separator: " ")
    let body: JSONValue = [
      "model": .string(model), "prompt": .string(text), "max_tokens": .integer(Int64(tokens)), "temperature": 0,
      "stream": true, "stream_options": ["include_usage": true], "ignore_eos": true, "cache_prompt": false,
    ]
    var events = ServerSentEvents()
    var sample = Sample()
    var usage: JSONValue = .null
    var timings: JSONValue = .null
    let started = ContinuousClock.now
    try await agent.stream("POST", "/v1/completions", body: body) { piece in
      for event in events.push(piece) where event.text != "[DONE]" {
        guard let chunk = try? JSONValue(parsing: event.data) else { continue }
        if let error = chunk["error"] {
          throw CommandFailure(error["message"]?.string ?? error.plain, status: .tryLater)
        }
        if sample.firstToken == 0, chunk["choices"]?.array?.isEmpty == false {
          sample.firstToken = Bench.seconds(.now - started)
        }
        if let found = chunk["usage"], found != .null { usage = found }
        if let found = chunk["timings"], found != .null { timings = found }
      }
    }
    sample.total = Bench.seconds(.now - started)
    guard let promptMilliseconds = timings["prompt_ms"]?.number,
      let answerMilliseconds = timings["predicted_ms"]?.number
    else {
      throw CommandFailure(
        "the engine of \(model) tells no times, so that its speed can't be measured",
        hint: "llama.cpp's server does; see engine in agent.json5", status: .software)
    }
    sample.promptTokens = timings["prompt_n"]?.number ?? usage["prompt_tokens"]?.number ?? 0
    sample.answerTokens = timings["predicted_n"]?.number ?? usage["completion_tokens"]?.number ?? 0
    sample.promptSeconds = max(promptMilliseconds / 1000, 1e-6)
    sample.answerSeconds = max(answerMilliseconds / 1000, 1e-6)
    return sample
  }

  /// What the engine holds in memory; nil when the agent can't tell.
  private func memory() async throws -> UInt64? {
    let status = try? await agent.json("GET", "/skerry/v1/status")
    let engines = status?["engines"]?.array ?? []
    let ours = engines.first { engine in
      let label = engine.text("model")
      return engine.text("kind") == "generate" && (label == model || label.hasPrefix(model + ":"))
    }
    return (ours?["memoryBytes"]?.integer).map { UInt64(max(0, $0)) }
  }

  static func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
  }
}
