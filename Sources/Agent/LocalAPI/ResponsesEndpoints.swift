import Access
import Host
import Trust
import Web

/// OpenAI's responses: each is answered and forgotten.
extension LocalAPI {
  func addResponses(to router: inout Router) {
    router.on("POST", "/v1/responses") { request, _ in try await respond(request) }
    router.on("POST", "/v1/responses/input_tokens") { request, _ in
      let caller = try await caller(request)
      let wanted = try ResponsesRequest(try await json(request), endpoint: .count)
      let count = try await count(wanted.inference, caller, api: "openai.input_tokens")
      return .json(200, ["object": "response.input_tokens", "input_tokens": .integer(count)])
    }
    for method in ["GET", "DELETE"] {
      router.on(method, "/v1/responses/{id}") { request, parameters in
        _ = try await caller(request)
        throw APIFailure(
          status: 404, code: "response_not_found",
          message: "there is no response \"\(parameters["id"].prefix(100))\": this box keeps none",
          hint: "send the whole conversation as input")
      }
    }
  }

  private func respond(_ request: HTTPRequest) async throws -> HTTPResponse {
    let caller = try await caller(request)
    let wanted = try ResponsesRequest(try await json(request))
    let answer = try await desk.ask(wanted.inference, caller, api: "openai.responses")
    let form = ResponsesAnswer(wanted.asked, model: wanted.inference.model, createdAt: Clock.unixTime())
    guard wanted.inference.wantsStream else {
      var form = form
      let blocks = try await answer.blocks()
      return .json(200, form.response(blocks, status: ResponsesAnswer.status(blocks)))
    }
    return LocalAPI.events { writer in try await stream(answer, form, to: writer) }
  }

  private func stream(_ answer: InferenceDesk.Answer, _ form: ResponsesAnswer, to writer: ResponseWriter) async throws {
    var form = form
    var blocks = ChatBlocks(answer.shape)
    do {
      try await writer.write(form.begin(blocks))
      try await answer.forEachEvent { events in
        var bytes: [UInt8] = []
        for event in events {
          if event.kind == .ping { bytes += event.bytes }
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
      try? await writer.write(form.failed(APIFailure(error), blocks))
      try await answer.fail(error)
    }
  }

  /// How many tokens the engine makes of a chat.
  func count(_ request: InferenceRequest, _ caller: Caller, api: String) async throws -> Int64 {
    let answer = try await desk.ask(request, caller, api: api)
    let document = try await answer.document(upTo: 64 << 10)
    return min(max(document["input_tokens"]?.integer ?? 0, 0), 1 << 32)
  }
}
