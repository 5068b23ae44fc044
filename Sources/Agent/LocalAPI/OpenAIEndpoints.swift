import Access
import Trust
import Web

/// OpenAI's REST API, as far as its clients need it.
extension LocalAPI {
  func addOpenAI(to router: inout Router) {
    router.on("GET", "/v1/models") { request, _ in
      let models = try await visibleModels(try await caller(request)).filter { $0.manifest.kind == .model }
      return .json(200, ["object": "list", "data": .array(models.map(LocalAPI.openAIModel))])
    }
    router.on("GET", "/v1/models/{id}") { request, parameters in
      let caller = try await caller(request)
      return .json(200, LocalAPI.openAIModel(try await visibleModel(caller, parameters["id"])))
    }
    router.on("POST", "/v1/chat/completions") { request, _ in try await openAI(.chat, request) }
    router.on("POST", "/v1/completions") { request, _ in try await openAI(.completion, request) }
    router.on("POST", "/v1/embeddings") { request, _ in
      let caller = try await caller(request)
      let wanted = try InferenceRequest(openAI: .embedding, try await body(request))
      return .json(200, try await embed(wanted, caller, api: "openai.embeddings"))
    }
  }

  private func openAI(_ endpoint: InferenceRequest.Endpoint, _ request: HTTPRequest) async throws -> HTTPResponse {
    let caller = try await caller(request)
    let wanted = try InferenceRequest(openAI: endpoint, try await body(request))
    let answer = try await desk.ask(wanted, caller, api: endpoint == .chat ? "openai.chat" : "openai.completions")
    guard wanted.wantsStream else { return .json(200, try await answer.collect(endpoint).response) }
    return .streaming(
      200, headers: ["Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"]
    ) { writer in
      try await relay(answer, to: writer, withUsage: wanted.wantsUsage)
    }
  }

  /// Hands the engine's events on as they are. The last one waits for the audit record.
  private func relay(_ answer: InferenceDesk.Answer, to writer: ResponseWriter, withUsage: Bool) async throws {
    do {
      try await answer.forEachEvent { events in
        var bytes: [UInt8] = []
        for event in events {
          switch event.kind {
          case .piece, .ping, .failure: bytes += event.bytes
          case .usage(let isBare): if withUsage || !isBare { bytes += event.bytes }
          case .done: break
          }
        }
        if !bytes.isEmpty { try await writer.write(bytes) }
      }
      try await answer.record.finish(.completed)
      try await writer.write("data: [DONE]\n\n")
    } catch is CancellationError {
      try await answer.fail(CancellationError())
    } catch {
      let failure = APIFailure(error)
      let line = Array("data: ".utf8) + Dialect.openAI.body(failure).encoded() + [0x0A, 0x0A]
      try? await writer.write(line)
      try await answer.fail(error)
    }
  }

  /// The engine's answer to a request for embeddings, which is not streamed.
  func embed(_ request: InferenceRequest, _ caller: Caller, api: String) async throws -> JSONValue {
    let answer = try await desk.ask(request, caller, api: api)
    do {
      let document = try JSONValue(parsing: try await answer.stream.collect(upTo: 256 << 20))
      if let usage = EngineUsage(chunk: document) { answer.record.note(usage) }
      try await answer.record.finish(.completed)
      return document
    } catch {
      try await answer.fail(error)
    }
  }

  private static func openAIModel(_ model: InstalledModel) -> JSONValue {
    [
      "id": .string(model.name.description), "object": "model", "created": .integer(model.installedAt ?? 0),
      "owned_by": .string(model.manifest.publisher ?? "skerry"),
    ]
  }
}
