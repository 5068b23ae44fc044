import Access
import Trust
import Web

/// Anthropic's messages, through the same checks as everything else that reaches an engine.
extension LocalAPI {
  func addAnthropic(to router: inout Router) {
    router.on("POST", "/v1/messages") { request, _ in try await message(request) }
    router.on("POST", "/v1/messages/count_tokens") { request, _ in
      let caller = try await caller(request)
      let wanted = try AnthropicRequest(try await json(request), endpoint: .count)
      let count = try await count(wanted.inference, caller, api: "anthropic.count_tokens")
      return .json(200, ["input_tokens": .integer(count)])
    }
  }

  private func message(_ request: HTTPRequest) async throws -> HTTPResponse {
    let caller = try await caller(request)
    let wanted = try AnthropicRequest(try await json(request)).inference
    let answer = try await desk.ask(wanted, caller, api: "anthropic.messages")
    let form = AnthropicAnswer(model: wanted.model)
    guard wanted.wantsStream else { return .json(200, form.message(try await answer.blocks())) }
    return LocalAPI.events { writer in try await stream(answer, form, to: writer) }
  }

  private func stream(_ answer: InferenceDesk.Answer, _ form: AnthropicAnswer, to writer: ResponseWriter) async throws {
    var blocks = ChatBlocks(answer.shape)
    do {
      try await writer.write(form.begin())
      try await answer.forEachEvent { events in
        var bytes: [UInt8] = []
        for event in events {
          if event.kind == .ping { bytes += SSE.event("ping", ["type": "ping"]) }
          guard let chunk = event.chunk else { continue }
          let found = try blocks.read(chunk, bytes: event.bytes.count)
          bytes += form.pass(found, blocks)
        }
        if !bytes.isEmpty { try await writer.write(bytes) }
      }
      let last = form.pass(blocks.close(), blocks)
      try await answer.record.finish(.completed)
      try await writer.write(last + form.end(blocks))
    } catch is CancellationError {
      try await answer.fail(CancellationError())
    } catch {
      try? await writer.write(SSE.event("error", Dialect.anthropic.body(APIFailure(error))))
      try await answer.fail(error)
    }
  }
}
