import Access
import Host
import Trust
import Web

/// Ollama's REST API, as far as its clients need it.
extension LocalAPI {
  func addOllama(to router: inout Router) {
    router.on("GET", "/api/version") { _, _ in .json(200, ["version": .string(agentVersion)]) }
    router.on("GET", "/api/tags") { request, _ in
      let models = try await visibleModels(try await caller(request)).filter { $0.manifest.kind == .model }
      return .json(200, ["models": .array(models.map(LocalAPI.ollamaModel))])
    }
    router.on("GET", "/api/ps") { request, _ in try await running(request) }
    router.on("POST", "/api/show") { request, _ in try await show(request) }
    router.on("POST", "/api/chat") { request, _ in try await ollama(.chat, request) }
    router.on("POST", "/api/generate") { request, _ in try await ollama(.generate, request) }
    router.on("POST", "/api/embed") { request, _ in try await ollamaEmbed(request) }
    for (method, path) in [
      ("POST", "/api/pull"), ("POST", "/api/push"), ("POST", "/api/create"), ("POST", "/api/copy"),
      ("DELETE", "/api/delete"),
    ] {
      router.on(method, path) { request, _ in
        _ = try await caller(request)
        throw APIFailure(
          status: 501, code: "not_here", message: "models come to this box from the fleet's signed repository only",
          hint: "skerry sync")
      }
    }
  }

  private func ollama(_ form: OllamaRequest.Form, _ request: HTTPRequest) async throws -> HTTPResponse {
    let caller = try await caller(request)
    let wanted = try OllamaRequest(form, try await body(request))
    let response = OllamaResponse(form: form, model: wanted.inference.model, unixTime: Clock.unixTime())
    if wanted.isLoadOnly {
      let (model, decision) = try await desk.admit(caller, wanted.inference.model)
      try await decision.settled()
      _ = try await desk.load(model)
      return .json(200, response.loaded)
    }
    let answer = try await desk.ask(wanted.inference, caller, api: form == .chat ? "ollama.chat" : "ollama.generate")
    guard wanted.inference.wantsStream else {
      let whole = try await answer.collect(wanted.inference.endpoint)
      return .json(
        200,
        response.last(
          text: whole.text, thinking: whole.reasoning, calls: whole.toolCalls, reason: whole.finishReason,
          usage: answer.record.usage, total: answer.record.elapsed, load: answer.loading))
    }
    return .streaming(200, headers: ["Content-Type": "application/x-ndjson"]) { writer in
      try await lines(answer, wanted.inference.endpoint, response, to: writer)
    }
  }

  private func lines(
    _ answer: InferenceDesk.Answer, _ endpoint: InferenceRequest.Endpoint, _ response: OllamaResponse,
    to writer: ResponseWriter
  ) async throws {
    var whole = Aggregation(endpoint)
    do {
      try await answer.forEachEvent { events in
        var bytes: [UInt8] = []
        for event in events {
          guard let chunk = event.chunk else { continue }
          whole.add(chunk)
          if let line = response.piece(chunk) { bytes += line.encoded() + [0x0A] }
        }
        if !bytes.isEmpty { try await writer.write(bytes) }
      }
      var bytes = response.toolCalls(whole.toolCalls).map { $0.encoded() + [0x0A] } ?? []
      try await answer.record.finish(.completed)
      bytes +=
        response.last(
          text: "", thinking: "", calls: [], reason: whole.finishReason, usage: answer.record.usage,
          total: answer.record.elapsed, load: answer.loading
        ).encoded() + [0x0A]
      try await writer.write(bytes)
    } catch is CancellationError {
      try await answer.fail(CancellationError())
    } catch {
      try? await writer.write(Dialect.ollama.body(APIFailure(error)).encoded() + [0x0A])
      try await answer.fail(error)
    }
  }

  private func ollamaEmbed(_ request: HTTPRequest) async throws -> HTTPResponse {
    let caller = try await caller(request)
    let members = try InferenceRequest.document(try await body(request)).object ?? [:]
    let name = OllamaRequest.modelName(try MemberCheck(members).modelName())
    let changed: JSONValue = ["model": .string(name), "input": members["input"] ?? .null]
    let wanted = try InferenceRequest(openAI: .embedding, changed.encoded())
    let found = try await embed(wanted, caller, api: "ollama.embed")
    let vectors = (found["data"]?.array ?? []).sorted { ($0["index"]?.integer ?? 0) < ($1["index"]?.integer ?? 0) }
    return .json(
      200,
      [
        "model": .string(name), "embeddings": .array(vectors.map { $0["embedding"] ?? [] }),
        "prompt_eval_count": found["usage"]?["prompt_tokens"] ?? 0,
      ])
  }

  private func running(_ request: HTTPRequest) async throws -> HTTPResponse {
    let models = try await visibleModels(try await caller(request)).filter { $0.manifest.kind == .model }
    let loaded = Set(await inference.statuses().filter { $0.state == "ready" }.map(\.model.sha256))
    return .json(
      200,
      [
        "models": .array(
          models.filter { loaded.contains($0.manifest.sha256) }.map { model in
            let size = JSONValue.integer(Int64(clamping: model.manifest.length))
            let more: [String: JSONValue] = [
              "size": size, "size_vram": 0, "expires_at": .string(OllamaResponse.time(Clock.unixTime() + 300)),
            ]
            return .object((LocalAPI.ollamaModel(model).object ?? [:]).merging(more) { _, new in new })
          })
      ])
  }

  private func show(_ request: HTTPRequest) async throws -> HTTPResponse {
    let caller = try await caller(request)
    let members = try InferenceRequest.document(try await body(request)).object ?? [:]
    guard let name = (members["model"] ?? members["name"])?.string else {
      throw APIFailure.badRequest("\"model\" is missing; it must be the name of a model, a string")
    }
    let model = try await visibleModel(caller, OllamaRequest.modelName(name))
    let architecture = model.manifest.architecture
    return .json(
      200,
      [
        "license": .string(model.manifest.license ?? ""), "modelfile": "", "parameters": "", "template": "",
        "details": LocalAPI.details(model), "capabilities": ["completion"],
        "model_info": [
          "general.architecture": .string(architecture),
          "\(architecture).context_length": .integer(Int64(clamping: model.manifest.contextLength)),
        ],
        "modified_at": .string(OllamaResponse.time(model.installedAt ?? 0)),
      ])
  }

  private static func ollamaModel(_ model: InstalledModel) -> JSONValue {
    [
      "name": .string(model.name.description), "model": .string(model.name.description),
      "modified_at": .string(OllamaResponse.time(model.installedAt ?? 0)),
      "size": .integer(Int64(clamping: model.manifest.length)), "digest": .string(model.manifest.sha256.hex),
      "details": details(model),
    ]
  }

  private static func details(_ model: InstalledModel) -> JSONValue {
    let family = JSONValue.string(model.manifest.architecture)
    return [
      "parent_model": "", "format": "gguf", "family": family, "families": [family], "parameter_size": "",
      "quantization_level": "",
    ]
  }
}
