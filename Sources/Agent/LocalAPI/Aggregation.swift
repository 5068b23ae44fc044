import Trust

/// Puts the chunks of a streamed answer together to the whole that a caller who did not ask for a stream gets.
struct Aggregation: Sendable {
  private struct Choice {
    var text = ""
    var hasText = false
    var reasoning = ""
    var role: String?
    var tools: [Int64: [String: JSONValue]] = [:]
    var finish: JSONValue = .null
    var logprobs: [JSONValue] = []
    var plainLogprobs: JSONValue = .null
  }
  private let endpoint: InferenceRequest.Endpoint
  private var choices: [Int64: Choice] = [:]
  private var head: [String: JSONValue] = [:]
  private var usage: UsageSum
  private var size = 0

  /// An answer of more bytes than this is none that anybody waits for: an engine in a hostile model's hands would fill
  /// the agent's memory.
  static let longest = 64 << 20
  /// No request has more answers, and no answer more calls.
  private static let most: Range<Int64> = 0..<4096

  /// Whether the engine said more than is kept.
  var isOverlong: Bool { size > Aggregation.longest }

  init(_ endpoint: InferenceRequest.Endpoint, _ shape: AnswerShape = AnswerShape()) {
    self.endpoint = endpoint
    usage = UsageSum(endpoint, shape)
  }

  /// Takes a chunk in; `bytes` is how long it was on the wire.
  mutating func add(_ chunk: JSONValue, bytes: Int = 0) {
    size += bytes
    guard !isOverlong else { return }
    usage.add(chunk)
    for key in ["id", "created", "model", "system_fingerprint"] where chunk[key] != nil { head[key] = chunk[key] }
    for piece in chunk["choices"]?.array ?? [] {
      let index = piece["index"]?.integer ?? 0
      guard Aggregation.most.contains(index) else { continue }
      var choice = choices[index] ?? Choice()
      if let finish = piece["finish_reason"], finish != .null { choice.finish = finish }
      if let text = piece["text"]?.string { choice.text += text }
      if let delta = piece["delta"] { Aggregation.add(delta, to: &choice) }
      if let logprobs = piece["logprobs"], logprobs != .null {
        choice.logprobs += logprobs["content"]?.array ?? []
        choice.plainLogprobs = Aggregation.joined(choice.plainLogprobs, logprobs)
      }
      choices[index] = choice
    }
  }

  /// Log probabilities of `/v1/completions`: four lists, each put behind the one so far.
  private static func joined(_ known: JSONValue, _ more: JSONValue) -> JSONValue {
    guard more["tokens"] != nil, let before = known.object else { return more }
    return .object(
      before.merging(more.object ?? [:]) { old, new in .array((old.array ?? []) + (new.array ?? [])) })
  }

  private static func add(_ delta: JSONValue, to choice: inout Choice) {
    if let role = delta["role"]?.string { choice.role = role }
    if let text = delta["content"]?.string {
      choice.text += text
      choice.hasText = true
    }
    if let text = delta["reasoning_content"]?.string { choice.reasoning += text }
    for call in delta["tool_calls"]?.array ?? [] {
      let index = call["index"]?.integer ?? 0
      guard most.contains(index) else { continue }
      var known = choice.tools[index] ?? ["type": "function", "function": ["name": "", "arguments": ""]]
      if let id = call["id"] { known["id"] = id }
      let name = (known["function"]?["name"]?.string ?? "") + (call["function"]?["name"]?.string ?? "")
      let arguments = (known["function"]?["arguments"]?.string ?? "") + (call["function"]?["arguments"]?.string ?? "")
      known["function"] = ["name": .string(name), "arguments": .string(arguments)]
      choice.tools[index] = known
    }
  }

  /// The first choice's answer, for APIs that know one only.
  var text: String { choices[0]?.text ?? "" }
  var reasoning: String { choices[0]?.reasoning ?? "" }
  var logprobs: [JSONValue] { choices[0]?.logprobs ?? [] }
  var finishReason: String? { choices[0]?.finish.string }
  var toolCalls: [JSONValue] { choices[0].map(Aggregation.calls) ?? [] }

  private static func calls(_ choice: Choice) -> [JSONValue] {
    choice.tools.sorted { $0.key < $1.key }.map { .object($0.value) }
  }

  /// OpenAI's `chat.completion` or `text_completion`.
  var response: JSONValue {
    var whole = head
    whole["object"] = endpoint == .chat ? "chat.completion" : "text_completion"
    whole["usage"] = usage.usage ?? .null
    whole["timings"] = usage.timings
    whole["choices"] = .array(
      choices.sorted { $0.key < $1.key }.map { index, choice in
        endpoint == .chat ? chatChoice(index, choice) : plainChoice(index, choice)
      })
    return .object(whole)
  }

  private func chatChoice(_ index: Int64, _ choice: Choice) -> JSONValue {
    let calls = Aggregation.calls(choice)
    var message: [String: JSONValue] = ["role": .string(choice.role ?? "assistant"), "refusal": .null]
    message["content"] = choice.hasText || calls.isEmpty ? .string(choice.text) : .null
    if !choice.reasoning.isEmpty { message["reasoning_content"] = .string(choice.reasoning) }
    if !calls.isEmpty { message["tool_calls"] = .array(calls) }
    return [
      "index": .integer(index), "message": .object(message), "finish_reason": choice.finish,
      "logprobs": choice.logprobs.isEmpty ? .null : ["content": .array(choice.logprobs), "refusal": .null],
    ]
  }

  private func plainChoice(_ index: Int64, _ choice: Choice) -> JSONValue {
    [
      "index": .integer(index), "text": .string(choice.text), "finish_reason": choice.finish,
      "logprobs": choice.plainLogprobs,
    ]
  }
}
