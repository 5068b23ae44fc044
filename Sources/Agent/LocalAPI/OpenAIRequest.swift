import Trust

/// A request for an inference, checked, and in the form that the engine takes.
struct InferenceRequest: Sendable {
  enum Endpoint: String, Sendable {
    case chat = "/v1/chat/completions"
    case completion = "/v1/completions"
    case embedding = "/v1/embeddings"
    /// How many tokens a chat would take; nothing is generated.
    case count = "/v1/chat/completions/input_tokens"

    /// Whether the engine answers in pieces.
    var isStreamed: Bool { self == .chat || self == .completion }
    /// The member that the prompt stands in.
    var promptName: String {
      switch self {
      case .chat, .count: "messages"
      case .completion: "prompt"
      case .embedding: "input"
      }
    }
  }
  var endpoint: Endpoint
  /// As the caller wrote it.
  var model: String
  var wantsStream: Bool
  /// Whether the caller asked for the last chunk that carries the counts.
  var wantsUsage: Bool
  /// What the digest in the audit log is made from: messages, prompt or input.
  var prompt: JSONValue
  /// The body for the engine, still without what `upstream` adds.
  var body: [UInt8]
  var shape = AnswerShape()
  /// Where the first image of the prompt stands; nil when there is none.
  var image: String?
  /// Whether the caller offers tools that the model may call.
  var offersTools = false
  /// What else the engine is to be told, beside the body.
  var addenda: [String: JSONValue] = [:]

  /// The body with what Skerry decides: the model's own name, and always a stream, since the engine goes on computing
  /// an answer that is not streamed when the caller has gone.
  ///
  /// Added at the end, where they win over the caller's; the rest stays as it was written, because the order of keys
  /// in a JSON schema means something and numbers must not change.
  func upstream(alias: String, adding members: [String: JSONValue] = [:]) -> [UInt8] {
    var bytes = body
    while let last = bytes.last, last != UInt8(ascii: "}") { bytes.removeLast() }
    bytes.removeLast()
    let isEmpty = bytes.last { !JSONText.isSpace($0) } == UInt8(ascii: "{")
    var more = addenda.merging(members) { $1 }
    more["model"] = .string(alias)
    if endpoint.isStreamed {
      more["stream"] = true
      more["stream_options"] = ["include_usage": true]
    }
    return bytes + (isEmpty ? [] : [UInt8(ascii: ",")]) + JSONValue.object(more).encoded().dropFirst()
  }
}

enum JSONText {
  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D }
}

extension InferenceRequest {
  /// Reads an OpenAI request. Throws an `APIFailure` of status 400 that names what is wrong.
  init(openAI endpoint: Endpoint, _ bytes: [UInt8]) throws(APIFailure) {
    let document = try InferenceRequest.document(bytes)
    let form =
      switch endpoint {
      case .chat, .count: OpenAIForms.chat
      case .completion: OpenAIForms.completion
      case .embedding: OpenAIForms.embedding
      }
    try InferenceRequest.check(document, form)
    try InferenceRequest.checkTogether(document)
    self.endpoint = endpoint
    model = document["model"]?.string ?? ""
    prompt = document[endpoint.promptName] ?? .null
    wantsStream = document["stream"]?.bool ?? false
    wantsUsage = document["stream_options"]?["include_usage"]?.bool ?? false
    shape.choices = Int(clamping: document["n"]?.integer ?? 1)
    image = InferenceRequest.firstImage(prompt)
    body = bytes
    var changes: [String: RawJSON?] = [:]
    var mustCall = false
    switch endpoint {
    case .chat, .count:
      offersTools = document["tools"]?.array?.isEmpty == false && document["tool_choice"] != "none"
      if document["logprobs"]?.bool == true, (document["top_logprobs"]?.integer ?? 0) < 1 {
        shape.topLogprobs = 0
        changes["top_logprobs"] = RawJSON(1)
      }
      if document["tool_choice"]?.object != nil { changes = try changes.merging(namedTool(document)) { $1 } }
      mustCall = document["tool_choice"] == "required" || document["tool_choice"]?.object != nil
    case .completion:
      guard let wanted = document["logprobs"]?.integer else { break }
      shape.hasLegacyLogprobs = true
      shape.topLogprobs = Int(clamping: wanted)
      if wanted < 1 { changes["logprobs"] = RawJSON(1) }
    case .embedding:
      // The engine would ignore it; what comes back is checked.
      shape.dimensions = document["dimensions"]?.integer.map { Int(clamping: $0) }
    }
    if !changes.isEmpty { body = Array(RawJSON(bytes).replacing(changes).bytes) }
    if mustCall { self = try writingCalls(.must) }
  }

  /// Throws the first thing that is wrong with the value, by its name.
  static func check(_ document: JSONValue, _ form: Schema) throws(APIFailure) {
    if let fault = form.fault(in: document) { throw .badRequest(fault.description, param: fault.path) }
  }

  /// What members say together.
  private static func checkTogether(_ document: JSONValue) throws(APIFailure) {
    func isThere(_ name: String) -> Bool { document[name] != nil && document[name] != .null }
    if isThere("stream_options"), document["stream"]?.bool != true {
      throw .badRequest("\"stream_options\" is only for answers that are streamed", param: "stream_options")
    }
    if isThere("top_logprobs"), document["logprobs"]?.bool != true {
      throw .badRequest("\"top_logprobs\" needs \"logprobs\": true", param: "top_logprobs")
    }
    let hasTools = document["tools"]?.array?.isEmpty == false
    if document["logprobs"]?.bool == true, hasTools {
      throw .badRequest("the engine gives no log probabilities beside tools", param: "logprobs")
    }
    if isThere("tool_choice"), document["tool_choice"] != "none", document["tool_choice"] != "auto", !hasTools {
      throw .badRequest("\"tool_choice\" needs \"tools\"", param: "tool_choice")
    }
  }

  /// The engine takes words only for `tool_choice`, and ignores anything else: it is given no other tool than the one
  /// that is to be called.
  private func namedTool(_ document: JSONValue) throws(APIFailure) -> [String: RawJSON?] {
    let name = document["tool_choice"]?["function"]?["name"]
    let tools = RawJSON(body)["tools"]?.elements ?? []
    guard let wanted = tools.first(where: { $0.value["function"]?["name"] == name }) else {
      throw .badRequest("\"tool_choice\" names a tool that \"tools\" doesn't have", param: "tool_choice")
    }
    return ["tools": .some(.array([wanted])), "tool_choice": .some(RawJSON("required"))]
  }

  /// Where the first image stands in messages.
  private static func firstImage(_ messages: JSONValue) -> String? {
    for (at, message) in (messages.array ?? []).enumerated() {
      for (part, content) in (message["content"]?.array ?? []).enumerated() where content["type"] == "image_url" {
        return "messages[\(at)].content[\(part)]"
      }
    }
    return nil
  }

  /// The body as a JSON object.
  static func document(_ bytes: [UInt8]) throws(APIFailure) -> JSONValue {
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes) } catch {
      throw .badRequest(bytes.isEmpty ? "the request has no body" : "the body is no JSON: \(error)")
    }
    guard document.object != nil else { throw .badRequest("the body must be a JSON object") }
    return document
  }
}
