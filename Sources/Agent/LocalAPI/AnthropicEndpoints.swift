import Access
import Trust
import Web

/// Anthropic's messages, through the same checks as everything else that reaches an engine.
extension LocalAPI {
  func addAnthropic(to router: inout GovernedRouter) {
    router.on("POST", "/v1/messages", .asksModel) { try await message($0, $2) }
    router.on("POST", "/v1/messages/count_tokens", .asksModel) { request, _, caller in
      let wanted = try AnthropicRequest(try await json(request), endpoint: .count)
      let count = try await count(wanted.inference, caller, api: "anthropic.count_tokens")
      return .json(200, ["input_tokens": .integer(count)])
    }
  }

  private func message(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let wanted = try AnthropicRequest(try await json(request)).inference
    let answer = try await desk.ask(wanted, caller, api: "anthropic.messages")
    let form = AnthropicAnswer(model: wanted.model)
    guard wanted.wantsStream else { return .json(200, form.message(try await answer.blocks())) }
    return LocalAPI.events { writer in try await stream(answer, form, to: writer) }
  }

  private func stream(_ answer: InferenceDesk.Answer, _ form: AnthropicAnswer, to writer: ResponseWriter) async throws {
    var blocks = ChatBlocks(answer.shape)
    try await answer.relay(to: writer, begin: form.begin()) { events in
      try events.reduce(into: []) { bytes, event in
        if event.kind == .ping { bytes += SSE.event("ping", ["type": "ping"]) }
        if let chunk = event.chunk { bytes += form.pass(try blocks.read(chunk, bytes: event.bytes.count), blocks) }
      }
    } end: {
      form.pass(blocks.close(), blocks) + form.end(blocks)
    } failed: { failure in
      SSE.event("error", Dialect.anthropic.body(failure))
    }
  }
}
