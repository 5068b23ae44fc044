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

  /// Whether each chunk has to be looked into.
  var isMended: Bool { topLogprobs != nil || hasLegacyLogprobs }
}

extension AnswerShape {
  /// A chunk with its log probabilities as they were asked for. `offsets` is the length of each choice's text so far.
  func mended(_ chunk: JSONValue, _ offsets: inout [Int64: Int]) -> JSONValue {
    guard isMended, var members = chunk.object, let choices = chunk["choices"]?.array else { return chunk }
    members["choices"] = .array(
      choices.map { choice in
        guard var changed = choice.object else { return choice }
        let index = choice["index"]?.integer ?? 0
        if let content = choice["logprobs"]?["content"]?.array {
          let trimmed = content.map(trimmed)
          changed["logprobs"] =
            hasLegacyLogprobs
            ? AnswerShape.legacy(trimmed, from: offsets[index] ?? 0) : ["content": .array(trimmed), "refusal": .null]
        }
        if hasLegacyLogprobs {
          offsets[index, default: 0] += choice["text"]?.string?.unicodeScalars.count ?? 0
        }
        return .object(changed)
      })
    return .object(members)
  }

  private func trimmed(_ token: JSONValue) -> JSONValue {
    guard let topLogprobs, var members = token.object else { return token }
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
