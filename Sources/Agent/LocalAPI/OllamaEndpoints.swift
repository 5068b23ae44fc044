import Access
import Host
import Models
import Trust
import Web

/// Ollama's REST API: what its clients ask models. What they ask about models is in `OllamaModels`.
extension LocalAPI {
  func addOllama(to router: inout GovernedRouter) {
    router.open("GET", "/", "says that a server is here, and nothing about the box") { _, _ in
      .text(200, "Skerry is running")
    }
    router.open("GET", "/api/version", "says which API is spoken, and nothing about the box") { _, _ in
      .json(200, ["version": .string(agentVersion)])
    }
    router.on("POST", "/api/chat", .asksModel) { try await ollama(.chat, $0, $2) }
    router.on("POST", "/api/generate", .asksModel) { try await ollama(.generate, $0, $2) }
    router.on("POST", "/api/embed", .asksModel) { try await ollamaEmbed($0, $2) }
    router.on("POST", "/api/embeddings", .asksModel) { try await ollamaEmbeddings($0, $2) }
    addOllamaModels(to: &router)
    addOllamaVariants(to: &router)
    router.on(
      "POST", "/api/pull",
      .decides(
        .modelList, on: LocalAPI.bodysModel,
        besides: [.syncRun: "on the box too, where the model is not here; who may not sync has what is here"])
    ) { request, _, caller in try await pull(request, caller) }
    for path in ["/api/web_search", "/api/web_fetch"] {
      router.on("POST", path, .knows(LocalAPI.refusesAlways)) { _, _, _ in
        throw APIFailure(status: 501, code: "not_here", message: "this box searches and fetches nothing on the web")
      }
    }
    router.on("POST", "/v1/systemone", .knows(LocalAPI.refusesAlways)) { _, _, _ in
      throw APIFailure(status: 501, code: "not_here", message: "no engine on this box answers System One questions")
    }
  }

  private func ollama(
    _ form: OllamaRequest.Form, _ request: HTTPRequest, _ caller: Caller
  ) async throws -> HTTPResponse {
    let wanted = try OllamaRequest(form, try await body(request))
    let response = OllamaResponse(form: form, model: wanted.inference.model, unixTime: Clock.unixTime())
    if wanted.isLoadOnly {
      let model = try await admitted(caller, wanted.inference.model)
      let isLoaded = wanted.keepAlive != .time(.zero)
      if isLoaded { _ = try await desk.load(model) }
      if let time = wanted.keepAlive { await inference.keep(model.sha256, for: time.duration) }
      return LocalAPI.ollamaLine(response.loaded(isLoaded), isStream: wanted.inference.wantsStream)
    }
    let answer = try await desk.ask(
      wanted.inference, caller, api: form == .chat ? "ollama.chat" : "ollama.generate"
    ) { request, admission in
      let capabilities = wanted.wantsCapabilities ? await self.capabilities(of: admission.model) : nil
      return try wanted.shaped(request, admission.name, capabilities)
    }
    if let time = wanted.keepAlive { await inference.keep(answer.model.sha256, for: time.duration) }
    guard wanted.inference.wantsStream else {
      let whole = try await answer.collect(wanted.inference.endpoint)
      var more: [String: JSONValue] = [:]
      more["context"] = wanted.context(after: whole.text)
      if !whole.logprobs.isEmpty { more["logprobs"] = .array(whole.logprobs.map(OllamaResponse.logprob)) }
      return .json(
        200,
        response.last(
          text: whole.text, thinking: whole.reasoning, calls: whole.toolCalls, reason: whole.finishReason,
          usage: answer.record.usage, total: answer.record.elapsed, load: answer.loading, more: more))
    }
    return .streaming(200, headers: LocalAPI.ollamaLines) { writer in
      try await lines(answer, wanted, response, to: writer)
    }
  }

  /// The model that the caller may ask, once that is on record. Who only has it loaded is asked nothing of the engine, and
  /// is limited as for any other request.
  private func admitted(_ caller: Caller, _ name: String) async throws -> EngineModel {
    try await desk.gate.manage(caller)
    let admission = try await desk.admit(caller, name, tokens: 0)
    try await admission.decision.settled()
    return admission.model
  }

  private func capabilities(of model: EngineModel) async -> ModelCapabilities? {
    guard let found = try? await registry.answering(model.label) else { return nil }
    return await headers.header(of: found.manifest).map { ModelCapabilities($0) }
  }

  private func lines(
    _ answer: InferenceDesk.Answer, _ wanted: OllamaRequest, _ response: OllamaResponse, to writer: ResponseWriter
  ) async throws {
    var whole = Aggregation(wanted.inference.endpoint, answer.shape)
    try await answer.relay(to: writer) { events in
      var bytes: [UInt8] = []
      for event in events {
        guard let chunk = event.chunk else { continue }
        whole.add(chunk, bytes: event.bytes.count)
        if let line = response.piece(chunk) { bytes += LocalAPI.line(line) }
      }
      guard !whole.isOverlong else { throw APIFailure.overlong }
      return bytes
    } end: {
      var more: [String: JSONValue] = [:]
      more["context"] = wanted.context(after: whole.text)
      let last = response.last(
        text: "", thinking: "", calls: [], reason: whole.finishReason, usage: answer.record.usage,
        total: answer.record.elapsed, load: answer.loading, more: more)
      return (response.toolCalls(whole.toolCalls).map(LocalAPI.line) ?? []) + LocalAPI.line(last)
    } failed: { failure in
      LocalAPI.line(Dialect.ollama.body(failure))
    }
  }

  // MARK: lines

  /// The content of a streamed answer: one JSON value a line.
  static let ollamaLines: HTTPHeaders = ["Content-Type": "application/x-ndjson"]

  static func line(_ value: JSONValue) -> [UInt8] { value.encoded() + [0x0A] }

  /// An answer of one line, streamed or not.
  static func ollamaLine(_ value: JSONValue, isStream: Bool) -> HTTPResponse {
    guard isStream else { return .json(200, value) }
    return HTTPResponse(status: 200, headers: ollamaLines, body: .bytes(line(value)))
  }

  // MARK: embeddings

  private func ollamaEmbed(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let members = try InferenceRequest.document(try await body(request)).object ?? [:]
    let check = MemberCheck(members)
    let name = try check.ollamaName("model")
    try check.optional("truncate", "true or false") { $0.bool != nil }
    try check.optional("dimensions", "a whole number above 0") { $0.integer ?? 0 > 0 }
    try check.optional("options", "an object") { $0.object != nil }
    let texts: [JSONValue]
    switch members["input"] {
    case nil, .null?: texts = []
    case .string(let text)?: texts = text.isEmpty ? [] : [.string(text)]
    case .array(let list)? where list.allSatisfy({ $0.string != nil }): texts = list
    default: throw check.wrong("input", "a string or an array of strings")
    }
    let embedded = try await embedded(texts, name, try KeepAlive(members["keep_alive"]), caller, api: "ollama.embed")
    let dimensions = members["dimensions"]?.integer.map { Int(clamping: $0) }
    return .json(
      200,
      [
        "model": .string(name), "embeddings": .array(embedded.vectors.map { LocalAPI.cut($0, to: dimensions) }),
        "total_duration": embedded.nanoseconds, "load_duration": 0,
        "prompt_eval_count": .integer(embedded.tokens),
      ])
  }

  /// The older call: one text, one vector.
  private func ollamaEmbeddings(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let members = try InferenceRequest.document(try await body(request)).object ?? [:]
    let check = MemberCheck(members)
    let name = try check.ollamaName("model")
    try check.optional("prompt", "a string") { $0.string != nil }
    let text = members["prompt"]?.string ?? ""
    let embedded = try await embedded(
      text.isEmpty ? [] : [.string(text)], name, try KeepAlive(members["keep_alive"]), caller, api: "ollama.embeddings")
    return .json(200, ["embedding": embedded.vectors.first ?? []])
  }

  private struct Embedded {
    var vectors: [JSONValue] = []
    var tokens: Int64 = 0
    var duration = Duration.zero
    var nanoseconds: JSONValue { .integer(Int64(duration / .nanoseconds(1))) }
  }

  /// The texts' vectors in their order. Without texts the model is only loaded, as Ollama's clients do it.
  private func embedded(
    _ texts: [JSONValue], _ name: String, _ keepAlive: KeepAlive?, _ caller: Caller, api: String
  ) async throws -> Embedded {
    let startedAt = Clock.monotonic()
    var made = Embedded()
    if texts.isEmpty {
      let model = try await admitted(caller, name)
      _ = try await desk.load(model, .embed)
      if let keepAlive { await inference.keep(model.sha256, for: keepAlive.duration) }
    } else {
      let body: JSONValue = ["model": .string(name), "input": .array(texts)]
      let wanted = try InferenceRequest(openAI: .embedding, body.encoded())
      let (found, model) = try await embedding(wanted, caller, api: api)
      if let keepAlive { await inference.keep(model.sha256, for: keepAlive.duration) }
      let sorted = (found["data"]?.array ?? []).sorted { ($0["index"]?.integer ?? 0) < ($1["index"]?.integer ?? 0) }
      made.vectors = sorted.map { $0["embedding"] ?? [] }
      made.tokens = found["usage"]?["prompt_tokens"]?.integer ?? 0
    }
    made.duration = Clock.monotonic() - startedAt
    return made
  }

  /// A vector's first so many numbers, again of length one, as Ollama cuts them. Only models that were trained for it
  /// keep their meaning.
  static func cut(_ vector: JSONValue, to dimensions: Int?) -> JSONValue {
    guard let dimensions, let all = vector.array, dimensions < all.count else { return vector }
    let numbers = all.prefix(dimensions).map { $0.number ?? 0 }
    let length = numbers.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return .array(numbers.map { .double(length > 0 ? $0 / length : 0) })
  }
}
