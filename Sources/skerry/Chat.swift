import CommandLine
import Trust
import Web

/// A conversation with one model, over OpenAI's API.
struct Chat: Sendable {
  let model: String
  /// By the names that the agent knows them by.
  private(set) var settings: [String: JSONValue]
  private(set) var system: String?
  private(set) var messages: [JSONValue]

  init(model: String, system: String? = nil, settings: [String: JSONValue] = [:]) {
    self.model = model
    self.settings = settings
    self.system = system
    messages = system.map { [Self.message("system", $0)] } ?? []
  }

  init(_ invocation: Invocation) throws {
    var settings: [String: JSONValue] = [:]
    if let tokens = try invocation.command.integer("max-tokens", in: 1...1_000_000) {
      settings["max_tokens"] = .integer(tokens)
    }
    if let text = invocation.command.option("temperature") {
      guard let value = Double(text), (0...2).contains(value) else {
        throw UsageError(path: invocation.command.path, "--temperature is a number from 0 to 2, not “\(text)”")
      }
      settings["temperature"] = .double(value)
    }
    self.init(
      model: invocation.argument("MODEL"), system: invocation.command.option("system"), settings: settings)
  }

  /// One complete answer.
  struct Answer: Sendable {
    var text = ""
    var finishReason: String?
    var usage: JSONValue?
    /// From the first word to the end.
    var duration: Duration = .zero

    func json(model: String) -> JSONValue {
      .object([
        "model": .string(model), "answer": .string(text), "finishReason": finishReason.map { .string($0) } ?? .null,
        "usage": usage ?? .null,
      ])
    }

    var speed: String {
      let tokens = usage?["completion_tokens"]?.integer ?? 0
      let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
      return "\(tokens) tokens" + (seconds > 0 ? ", \(Readable.fixed(Double(tokens) / seconds)) a second" : "")
    }
  }

  /// Forgets everything but the system's words.
  mutating func clear() { messages = system.map { [Self.message("system", $0)] } ?? [] }

  /// Other words for the system, from here on; what was said stays.
  mutating func setSystem(_ text: String?) {
    messages.removeAll { $0["role"] == "system" }
    if let text { messages.insert(Self.message("system", text), at: 0) }
    system = text
  }

  /// Null takes a setting away.
  mutating func set(_ name: String, _ value: JSONValue) { settings[name] = value == .null ? nil : value }

  /// Asks, hands on the answer's words as they come, and remembers both. An answer that was stopped by cancelling the
  /// task is remembered as far as it came; one that failed leaves the conversation as it was before.
  mutating func ask(_ prompt: String, agent: API, shown: @escaping @Sendable (String) -> Void) async throws -> Answer {
    var body = settings
    let asked = messages + [Self.message("user", prompt)]
    body["model"] = .string(model)
    body["messages"] = .array(asked)
    body["stream"] = true
    body["stream_options"] = ["include_usage": true]
    var answer = Answer()
    var parser = ServerSentEvents()
    var first: ContinuousClock.Instant?
    var isDone = false
    do {
      try await agent.stream("POST", "/v1/chat/completions", body: .object(body)) { piece in
        for event in parser.push(piece) {
          if event.text == "[DONE]" {
            isDone = true
            continue
          }
          let text = try Self.take(event.data, into: &answer)
          if !text.isEmpty {
            first = first ?? .now
            shown(text)
          }
        }
      }
    } catch {
      guard Task.isCancelled else { throw error }
      messages = asked + [Self.message("assistant", answer.text)]
      throw CancellationError()
    }
    guard isDone || answer.finishReason != nil else {
      throw CommandFailure(
        "the answer broke off", hint: "see the agent's log: journalctl -u skerryd", status: .tryLater)
    }
    answer.duration = first.map { .now - $0 } ?? .zero
    messages = asked + [Self.message("assistant", answer.text)]
    return answer
  }

  /// Adds one event to the answer and returns the words in it. Throws `CommandFailure` for an error inside the stream.
  static func take(_ data: [UInt8], into answer: inout Answer) throws -> String {
    guard let chunk = try? JSONValue(parsing: data) else {
      throw CommandFailure("the agent's answer is not JSON", status: .data)
    }
    if let error = chunk["error"] {
      throw CommandFailure(
        error["message"]?.string ?? error.plain, hint: error["hint"]?.string, status: .tryLater)
    }
    if let usage = chunk["usage"], usage.object != nil { answer.usage = usage }
    guard let choice = chunk["choices"]?.array?.first else { return "" }
    if let reason = choice["finish_reason"]?.string { answer.finishReason = reason }
    let text = choice["delta"]?["content"]?.string ?? ""
    answer.text += text
    return text
  }

  private static func message(_ role: String, _ content: String) -> JSONValue {
    ["role": .string(role), "content": .string(content)]
  }
}
