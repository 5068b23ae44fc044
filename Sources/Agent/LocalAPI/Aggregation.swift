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
  private var usage: JSONValue = .null
  private var timings: JSONValue?

  init(_ endpoint: InferenceRequest.Endpoint) { self.endpoint = endpoint }

  mutating func add(_ chunk: JSONValue) {
    for key in ["id", "created", "model", "system_fingerprint"] where chunk[key] != nil { head[key] = chunk[key] }
    if let found = chunk["usage"], found != .null { usage = found }
    if let found = chunk["timings"] { timings = found }
    for piece in chunk["choices"]?.array ?? [] {
      let index = piece["index"]?.integer ?? 0
      var choice = choices[index] ?? Choice()
      if let finish = piece["finish_reason"], finish != .null { choice.finish = finish }
      if let text = piece["text"]?.string { choice.text += text }
      if let delta = piece["delta"] { Aggregation.add(delta, to: &choice) }
      if let logprobs = piece["logprobs"], logprobs != .null {
        choice.logprobs += logprobs["content"]?.array ?? []
        choice.plainLogprobs = logprobs
      }
      choices[index] = choice
    }
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
  var finishReason: String? { choices[0]?.finish.string }
  var toolCalls: [JSONValue] { choices[0].map(Aggregation.calls) ?? [] }

  private static func calls(_ choice: Choice) -> [JSONValue] {
    choice.tools.sorted { $0.key < $1.key }.map { .object($0.value) }
  }

  /// OpenAI's `chat.completion` or `text_completion`.
  var response: JSONValue {
    var whole = head
    whole["object"] = endpoint == .chat ? "chat.completion" : "text_completion"
    whole["usage"] = usage
    whole["timings"] = timings
    whole["choices"] = .array(
      choices.sorted { $0.key < $1.key }.map { index, choice in
        endpoint == .chat ? chatChoice(index, choice) : plainChoice(index, choice)
      })
    return .object(whole)
  }

  private func chatChoice(_ index: Int64, _ choice: Choice) -> JSONValue {
    let calls = Aggregation.calls(choice)
    var message: [String: JSONValue] = ["role": .string(choice.role ?? "assistant")]
    message["content"] = choice.hasText || calls.isEmpty ? .string(choice.text) : .null
    if !choice.reasoning.isEmpty { message["reasoning_content"] = .string(choice.reasoning) }
    if !calls.isEmpty { message["tool_calls"] = .array(calls) }
    return [
      "index": .integer(index), "message": .object(message), "finish_reason": choice.finish,
      "logprobs": choice.logprobs.isEmpty ? .null : ["content": .array(choice.logprobs)],
    ]
  }

  private func plainChoice(_ index: Int64, _ choice: Choice) -> JSONValue {
    [
      "index": .integer(index), "text": .string(choice.text), "finish_reason": choice.finish,
      "logprobs": choice.logprobs.isEmpty ? choice.plainLogprobs : ["content": .array(choice.logprobs)],
    ]
  }
}
