import Access
import Host
import Trust
import Web

/// OpenAI's responses: each is answered and forgotten.
extension LocalAPI {
  func addResponses(to router: inout GovernedRouter) {
    router.on("POST", "/v1/responses", .asksModel) { try await respond($0, $2) }
    router.on("POST", "/v1/responses/input_tokens", .asksModel) { request, _, caller in
      let wanted = try ResponsesRequest(try await json(request), endpoint: .count)
      let count = try await count(wanted.inference, caller, api: "openai.input_tokens")
      return .json(200, ["object": "response.input_tokens", "input_tokens": .integer(count)])
    }
    for method in ["GET", "DELETE"] {
      router.on(method, "/v1/responses/{id}", .knows("there are none: always 404")) { _, parameters, _ in
        throw APIFailure(
          status: 404, code: "response_not_found",
          message: "there is no response \"\(parameters["id"].prefix(100))\": this box keeps none",
          hint: "send the whole conversation as input")
      }
    }
  }

  private func respond(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
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
    let begin = form.begin(blocks)
    try await answer.relay(to: writer, begin: begin) { events in
      try events.reduce(into: []) { bytes, event in
        if event.kind == .ping { bytes += event.bytes }
        if let chunk = event.chunk { bytes += form.pass(try blocks.read(chunk, bytes: event.bytes.count), blocks) }
      }
    } end: {
      form.pass(blocks.close(), blocks) + form.end(blocks)
    } failed: { failure in
      form.failed(failure, blocks)
    }
  }

  /// How many tokens the engine makes of a chat.
  func count(_ request: InferenceRequest, _ caller: Caller, api: String) async throws -> Int64 {
    let answer = try await desk.ask(request, caller, api: api)
    let document = try await answer.document(upTo: 64 << 10)
    return min(max(document["input_tokens"]?.integer ?? 0, 0), 1 << 32)
  }
}
