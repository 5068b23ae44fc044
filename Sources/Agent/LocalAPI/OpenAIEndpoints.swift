import Access
import FoundationEssentials
import Models
import Trust
import Web

/// OpenAI's REST API, as far as its clients need it.
extension LocalAPI {
  func addOpenAI(to router: inout GovernedRouter) {
    router.on("GET", "/v1/models", .decides(.modelList, on: LocalAPI.someModel)) { request, _, caller in
      let models = try await visibleModels(caller).filter { $0.manifest.kind == .model }
      let listed = models.map(ListedModel.init) + (await visibleVariants(caller)).map(ListedModel.init)
      guard LocalAPI.isAnthropic(request) else {
        return .json(200, ["object": "list", "data": .array(listed.map(\.openAI))])
      }
      return .json(
        200,
        [
          "data": .array(listed.map(\.anthropic)), "has_more": false,
          "first_id": listed.first.map { .string($0.id) } ?? .null,
          "last_id": listed.last.map { .string($0.id) } ?? .null,
        ])
    }
    router.on("GET", "/v1/models/{id}", .needs(.modelList, on: "id")) { request, parameters, caller in
      let name = parameters["id"]
      let variant = try await visibleVariant(caller, name).map(ListedModel.init)
      let model = if let variant { variant } else { ListedModel(try await find(name)) }
      return .json(200, LocalAPI.isAnthropic(request) ? model.anthropic : model.openAI)
    }
    router.on("POST", "/v1/chat/completions", .asksModel) { try await openAI(.chat, $0, $2) }
    router.on("POST", "/v1/completions", .asksModel) { try await openAI(.completion, $0, $2) }
    router.on("POST", "/v1/embeddings", .asksModel) { request, _, caller in
      let wanted = try InferenceRequest(openAI: .embedding, try await json(request))
      return .json(200, try await embed(wanted, caller, api: "openai.embeddings"))
    }
  }

  /// The body of a request whose content is JSON, or said to be nothing else. Throws an `APIFailure` of status 415.
  func json(_ request: HTTPRequest) async throws -> [UInt8] {
    let type = request.headers["Content-Type"]?.prefix { $0 != ";" }.lowercased().filter { $0 != " " }
    if let type, type != "application/json", !type.hasSuffix("+json") {
      throw APIFailure(
        status: 415, code: "unsupported_media_type", message: "the body must be application/json, not \(type)",
        hint: "curl -H 'Content-Type: application/json'")
    }
    if let coding = request.headers["Content-Encoding"], coding.lowercased() != "identity" {
      throw APIFailure(
        status: 415, code: "unsupported_media_type", message: "the body must not be compressed; it is \(coding)")
    }
    return try await body(request)
  }

  private func openAI(
    _ endpoint: InferenceRequest.Endpoint, _ request: HTTPRequest, _ caller: Caller
  ) async throws -> HTTPResponse {
    let wanted = try InferenceRequest(openAI: endpoint, try await json(request))
    let answer = try await desk.ask(wanted, caller, api: endpoint == .chat ? "openai.chat" : "openai.completions")
    guard wanted.wantsStream else { return .json(200, try await answer.collect(endpoint).response) }
    return LocalAPI.events { writer in try await relay(answer, to: writer, withUsage: wanted.wantsUsage) }
  }

  /// A response of server-sent events.
  static func events(_ produce: @escaping @Sendable (ResponseWriter) async throws -> Void) -> HTTPResponse {
    .streaming(
      200, headers: ["Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"], produce)
  }

  /// Hands the engine's events on as they are, as far as they are OpenAI's; counts come once and last. The last one waits
  /// for the audit record.
  private func relay(_ answer: InferenceDesk.Answer, to writer: ResponseWriter, withUsage: Bool) async throws {
    var stream = OpenAIStream(answer.endpoint, answer.shape)
    try await answer.relay(to: writer) { events in
      stream.pass(events)
    } end: {
      (withUsage ? stream.counts : []) + Array("data: [DONE]\n\n".utf8)
    } failed: { failure in
      EngineEvent.bytes(Dialect.openAI.body(failure))
    }
  }

  func embed(_ request: InferenceRequest, _ caller: Caller, api: String) async throws -> JSONValue {
    try await embedding(request, caller, api: api).answer
  }

  /// The engine's answer to a request for embeddings, which is not streamed, and the model that gave it.
  func embedding(
    _ request: InferenceRequest, _ caller: Caller, api: String
  ) async throws -> (answer: JSONValue, model: EngineModel) {
    let answer = try await desk.ask(request, caller, api: api)
    let document = try await answer.document(upTo: 256 << 20) { document in
      if let wanted = request.shape.dimensions { try LocalAPI.demand(dimensions: wanted, in: document) }
    }
    return (document, answer.model)
  }

  /// The engine can't shorten vectors, and cutting them is only right for models that were trained for it.
  private static func demand(dimensions: Int, in document: JSONValue) throws(APIFailure) {
    guard let first = document["data"]?.array?.first?["embedding"] else { return }
    let count = first.array?.count ?? ((first.string?.utf8.count ?? 0) / 4 * 3 / 4)
    guard count != dimensions else { return }
    throw .badRequest(
      "this model's vectors have \(count) dimensions and can't be made to have \(dimensions)", param: "dimensions")
  }

  /// Whether one of Anthropic's clients asks for what both have at the same path.
  private static func isAnthropic(_ request: HTTPRequest) -> Bool { request.headers["Anthropic-Version"] != nil }
}

/// A model or variant as clients list it.
private struct ListedModel {
  let id: String
  let label: String
  let created: Int64
  let owner: String

  init(_ model: InstalledModel) {
    id = model.name.description
    label = model.manifest.label
    created = model.installedAt ?? 0
    owner = model.manifest.publisher ?? "skerry"
  }

  init(_ visible: LocalAPI.VisibleVariant) {
    id = visible.stored.name
    label = "\(visible.stored.name) (\(visible.base.manifest.label))"
    created = visible.stored.createdAt
    owner = visible.base.manifest.publisher ?? "skerry"
  }

  var openAI: JSONValue {
    ["id": .string(id), "object": "model", "created": .integer(created), "owned_by": .string(owner)]
  }

  /// Anthropic's clients name their version in a header, and expect this.
  var anthropic: JSONValue {
    [
      "type": "model", "id": .string(id), "display_name": .string(label),
      "created_at": .string(Date(timeIntervalSince1970: Double(created)).formatted(.iso8601)),
    ]
  }
}
