import FoundationEssentials
import Trust

/// The lines of Ollama's answers: one JSON object each, the last with `done: true` and the counts. Durations are
/// nanoseconds.
struct OllamaResponse: Sendable {
  let form: OllamaRequest.Form
  /// As the caller wrote it.
  let model: String
  let createdAt: String

  init(form: OllamaRequest.Form, model: String, unixTime: Int64) {
    self.form = form
    self.model = model
    createdAt = OllamaResponse.time(unixTime)
  }

  static func time(_ unixTime: Int64) -> String {
    Date(timeIntervalSince1970: Double(unixTime)).formatted(.iso8601)
  }

  /// A piece of the answer; nil when the chunk brings no text.
  func piece(_ chunk: JSONValue) -> JSONValue? {
    guard let choice = chunk["choices"]?.array?.first else { return nil }
    let text = choice["text"]?.string ?? choice["delta"]?["content"]?.string ?? ""
    let thinking = choice["delta"]?["reasoning_content"]?.string ?? ""
    let logprobs = choice["logprobs"]?["content"]?.array ?? []
    guard !text.isEmpty || !thinking.isEmpty || !logprobs.isEmpty else { return nil }
    var line = content(text, thinking: thinking, calls: [])
    line["done"] = false
    if !logprobs.isEmpty { line["logprobs"] = .array(logprobs.map(OllamaResponse.logprob)) }
    return .object(line)
  }

  /// The line before the last, when the answer calls tools.
  func toolCalls(_ calls: [JSONValue]) -> JSONValue? {
    guard form == .chat, !calls.isEmpty else { return nil }
    return .object(content("", thinking: "", calls: calls).merging(["done": false]) { _, new in new })
  }

  /// The last line; with the whole text for a caller who wants no stream, and `more` beside it.
  func last(
    text: String, thinking: String, calls: [JSONValue], reason: String?, usage: EngineUsage, total: Duration,
    load: Duration, more: [String: JSONValue] = [:]
  ) -> JSONValue {
    .object(
      content(text, thinking: thinking, calls: calls).merging(more) { _, new in new }.merging([
        "done": true, "done_reason": .string(reason == "length" ? "length" : "stop"),
        "total_duration": OllamaResponse.nanoseconds(total), "load_duration": OllamaResponse.nanoseconds(load),
        "prompt_eval_count": .integer(Int64(usage.promptTokens)),
        "prompt_eval_duration": .integer(Int64(usage.promptMilliseconds * 1e6)),
        "eval_count": .integer(Int64(usage.completionTokens)),
        "eval_duration": .integer(Int64(usage.completionMilliseconds * 1e6)),
      ]) { _, new in new })
  }

  /// The answer to a request without a prompt: the model was loaded, or let go.
  func loaded(_ isLoaded: Bool) -> JSONValue {
    .object(
      content("", thinking: "", calls: []).merging([
        "done": true, "done_reason": isLoaded ? "load" : "unload",
      ]) { _, new in new })
  }

  /// A token and its likeliest alternatives, without what the engine says besides.
  static func logprob(_ token: JSONValue) -> JSONValue {
    var members: [String: JSONValue] = [:]
    for name in ["token", "logprob", "bytes"] { members[name] = token[name] }
    if let top = token["top_logprobs"]?.array, !top.isEmpty { members["top_logprobs"] = .array(top.map(logprob)) }
    return .object(members)
  }

  private func content(_ text: String, thinking: String, calls: [JSONValue]) -> [String: JSONValue] {
    var line: [String: JSONValue] = ["model": .string(model), "created_at": .string(createdAt)]
    switch form {
    case .generate:
      line["response"] = .string(text)
      if !thinking.isEmpty { line["thinking"] = .string(thinking) }
    case .chat:
      var message: [String: JSONValue] = ["role": "assistant", "content": .string(text)]
      if !thinking.isEmpty { message["thinking"] = .string(thinking) }
      if !calls.isEmpty { message["tool_calls"] = .array(calls.map(OllamaResponse.call)) }
      line["message"] = .object(message)
    }
    return line
  }

  /// Arguments are an object here; text that is no JSON goes through as text.
  private static func call(_ call: JSONValue) -> JSONValue {
    let text = call["function"]?["arguments"]?.string ?? "{}"
    let arguments = (try? JSONValue(parsing: text.utf8)) ?? .string(text)
    return ["function": ["name": call["function"]?["name"] ?? "", "arguments": arguments]]
  }

  private static func nanoseconds(_ duration: Duration) -> JSONValue {
    let (seconds, attoseconds) = duration.components
    return .integer(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
  }
}
