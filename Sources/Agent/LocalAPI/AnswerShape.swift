import Trust

/// How the engine's answer differs from the one that was asked for, and what there is to mend in it.
struct AnswerShape: Sendable, Hashable {
  /// Answers to each prompt. The engine counts every one of them by itself.
  var choices = 1
  /// Alternatives to each token that were asked for, where the engine was asked for more: it gives no log
  /// probabilities at all without one.
  var topLogprobs: Int?
  /// Log probabilities in the form of `/v1/completions`, which the engine doesn't know.
  var hasLegacyLogprobs = false
  /// How long a vector was asked for.
  var dimensions: Int?

  /// The model writes calls of tools as JSON text, which is to become calls.
  var writesCalls = false

  /// What the model is called, where its engine calls it something else.
  var modelName: String?

  /// Whether each chunk has to be looked into.
  var isMended: Bool { topLogprobs != nil || hasLegacyLogprobs || writesCalls || modelName != nil }
}

/// Turns an engine's chunks into the ones that were asked for.
struct AnswerMender: Sendable {
  private let shape: AnswerShape
  /// The length of each choice's text so far.
  private var offsets: [Int64: Int] = [:]
  private var readers: [Int64: ToolCallReader] = [:]

  init(_ shape: AnswerShape) { self.shape = shape }

  /// The events with what they carry mended; as they are where nothing has to be.
  mutating func mend(_ events: [EngineEvent]) -> [EngineEvent] {
    guard shape.isMended else { return events }
    return events.map { event in
      switch event.kind {
      case .done, .failure, .ping, .empty, .usage(isBare: true): return event
      case .piece, .usage(isBare: false):
        guard let chunk = event.chunk else { return event }
        return EngineEvent(kind: event.kind, bytes: EngineEvent.bytes(mended(chunk)))
      }
    }
  }

  private mutating func mended(_ chunk: JSONValue) -> JSONValue {
    guard var members = chunk.object else { return chunk }
    if let name = shape.modelName, members["model"] != nil { members["model"] = .string(name) }
    guard let choices = chunk["choices"]?.array else { return .object(members) }
    var made: [JSONValue] = []
    for choice in choices { made.append(mended(choice: choice)) }
    members["choices"] = .array(made)
    return .object(members)
  }

  private mutating func mended(choice: JSONValue) -> JSONValue {
    guard var changed = choice.object else { return choice }
    let index = choice["index"]?.integer ?? 0
    if let content = choice["logprobs"]?["content"]?.array {
      let trimmed = content.map(trimmed)
      changed["logprobs"] =
        shape.hasLegacyLogprobs
        ? AnswerMender.legacy(trimmed, from: offsets[index] ?? 0) : ["content": .array(trimmed), "refusal": .null]
    }
    if shape.hasLegacyLogprobs {
      offsets[index, default: 0] += choice["text"]?.string?.unicodeScalars.count ?? 0
    }
    if shape.writesCalls, (0..<4096).contains(index) {
      var reader = readers[index] ?? ToolCallReader()
      changed["delta"] = reader.read(choice["delta"] ?? [:])
      if choice["finish_reason"] == "stop", reader.hasCalled { changed["finish_reason"] = "tool_calls" }
      readers[index] = reader
    }
    return .object(changed)
  }

  private func trimmed(_ token: JSONValue) -> JSONValue {
    guard let topLogprobs = shape.topLogprobs, var members = token.object else { return token }
    members["top_logprobs"] = .array(Array((token["top_logprobs"]?.array ?? []).prefix(topLogprobs)))
    return .object(members)
  }

  /// `{tokens, token_logprobs, top_logprobs, text_offset}`; offsets count Unicode scalars, as Python's clients do.
  private static func legacy(_ content: [JSONValue], from start: Int) -> JSONValue {
    var offset = start
    var offsets: [JSONValue] = []
    for token in content {
      offsets.append(.integer(Int64(offset)))
      offset += token["token"]?.string?.unicodeScalars.count ?? 0
    }
    return [
      "tokens": .array(content.map { $0["token"] ?? "" }),
      "token_logprobs": .array(content.map { $0["logprob"] ?? .null }),
      "top_logprobs": .array(
        content.map { token in
          let pairs = (token["top_logprobs"]?.array ?? []).map { ($0["token"]?.string ?? "", $0["logprob"] ?? .null) }
          return .object(Dictionary(pairs) { first, _ in first })
        }),
      "text_offset": .array(offsets),
    ]
  }
}

/// What an answer took, put together from the counts of its choices: the prompt once, all that was generated.
struct UsageSum: Sendable {
  private let endpoint: InferenceRequest.Endpoint
  private let choices: Int
  private var prompt: Int64 = 0
  private var cached: Int64 = 0
  private var completion: Int64 = 0
  private var reported = 0
  private(set) var timings: JSONValue?

  init(_ endpoint: InferenceRequest.Endpoint, _ shape: AnswerShape) {
    self.endpoint = endpoint
    choices = shape.choices
  }

  /// Takes a chunk's counts in, if it has any.
  mutating func add(_ chunk: JSONValue) {
    if let found = chunk["timings"] { timings = found }
    guard let usage = chunk["usage"], usage.object != nil else { return }
    reported += 1
    prompt = UsageSum.plus(prompt, usage["prompt_tokens"])
    cached = UsageSum.plus(cached, usage["prompt_tokens_details"]?["cached_tokens"])
    completion = UsageSum.plus(completion, usage["completion_tokens"])
  }

  // A hostile engine's numbers must not overflow.
  private static func plus(_ sum: Int64, _ value: JSONValue?) -> Int64 {
    min(sum + min(max(value?.integer ?? 0, 0), 1 << 32), 1 << 48)
  }

  /// OpenAI's `usage`; nil when the engine gave no counts. An engine that counts for all choices at once is believed.
  var usage: JSONValue? {
    guard reported > 0 else { return nil }
    let times = Int64(reported > 1 ? max(1, min(choices, reported)) : 1)
    let prompt = prompt / times
    return [
      "prompt_tokens": .integer(prompt), "completion_tokens": .integer(completion),
      "total_tokens": .integer(prompt + completion),
      "prompt_tokens_details": ["cached_tokens": .integer(min(cached / times, prompt))],
    ]
  }

  /// A chunk with these counts and nothing else of its own.
  var chunk: JSONValue {
    var members: [String: JSONValue] = ["usage": usage ?? .null]
    members["timings"] = timings
    return .object(members)
  }
}
