import Trust

/// A request for an inference, checked, and in the form that the engine takes.
struct InferenceRequest: Sendable {
  enum Endpoint: String, Sendable {
    case chat = "/v1/chat/completions"
    case completion = "/v1/completions"
    case embedding = "/v1/embeddings"
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

  /// The body with what Skerry decides: the model's own name, and always a stream, since the engine goes on computing
  /// an answer that is not streamed when the caller has gone.
  ///
  /// Added at the end, where they win over the caller's; the rest stays as it was written, because the order of keys
  /// in a JSON schema means something and numbers must not change.
  func upstream(alias: String) -> [UInt8] {
    var bytes = body
    while let last = bytes.last, last != UInt8(ascii: "}") { bytes.removeLast() }
    bytes.removeLast()
    let isEmpty = bytes.last { !JSONText.isSpace($0) } == UInt8(ascii: "{")
    var more: [String: JSONValue] = ["model": .string(alias)]
    if endpoint != .embedding {
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
    let members = document.object ?? [:]
    let check = MemberCheck(members)
    model = try check.modelName()
    switch endpoint {
    case .chat:
      prompt = try check.messages()
      try check.wholeNumbers("max_tokens", "max_completion_tokens", "n", "seed", "top_logprobs")
    case .completion:
      prompt = try check.one(of: "prompt", "a string or an array") { $0.string != nil || $0.array != nil }
      try check.wholeNumbers("max_tokens", "n", "seed", "best_of")
    case .embedding:
      prompt = try check.one(of: "input", "a string or an array that is not empty") {
        $0.string != nil || $0.array?.isEmpty == false
      }
    }
    try check.numbers("temperature", "top_p", "presence_penalty", "frequency_penalty")
    try check.optional("stream", "true or false") { $0.bool != nil }
    try check.optional("stream_options", "an object") { $0.object != nil }
    try check.optional("tools", "an array") { $0.array != nil }
    try check.optional("response_format", "an object") { $0.object != nil }
    try check.optional("stop", "a string or an array of strings") {
      $0.string != nil || $0.array?.allSatisfy { $0.string != nil } == true
    }
    self.endpoint = endpoint
    wantsStream = members["stream"]?.bool ?? false
    wantsUsage = members["stream_options"]?["include_usage"]?.bool ?? false
    body = bytes
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

/// Checks members of a request; each complaint names the member and what it must be.
struct MemberCheck {
  let members: [String: JSONValue]

  init(_ members: [String: JSONValue]) { self.members = members }

  func wrong(_ name: String, _ allowed: String) -> APIFailure {
    members[name] == nil
      ? .badRequest("\"\(name)\" is missing; it must be \(allowed)")
      : .badRequest("\"\(name)\" must be \(allowed)")
  }

  func modelName() throws(APIFailure) -> String {
    guard let name = members["model"]?.string, !name.isEmpty, name.utf8.count <= 200 else {
      throw wrong("model", "the name of a model, a string")
    }
    return name
  }

  func one(of name: String, _ allowed: String, _ fits: (JSONValue) -> Bool) throws(APIFailure) -> JSONValue {
    guard let value = members[name], fits(value) else { throw wrong(name, allowed) }
    return value
  }

  func optional(_ name: String, _ allowed: String, _ fits: (JSONValue) -> Bool) throws(APIFailure) {
    if let value = members[name], value != .null, !fits(value) { throw wrong(name, allowed) }
  }

  func wholeNumbers(_ names: String...) throws(APIFailure) {
    for name in names { try optional(name, "a whole number") { $0.integer != nil } }
  }

  func numbers(_ names: String...) throws(APIFailure) {
    for name in names { try optional(name, "a number") { $0.number != nil } }
  }

  /// OpenAI's and Ollama's messages: at least one, each with a role, and content that is text, parts or absent.
  func messages() throws(APIFailure) -> JSONValue {
    guard let list = members["messages"]?.array, !list.isEmpty else {
      throw wrong("messages", "an array of at least one {role, content}")
    }
    for (position, message) in list.enumerated() {
      guard message["role"]?.string != nil else {
        throw .badRequest("\"messages[\(position)].role\" must be a string")
      }
      switch message["content"] {
      case nil, .null?, .string?, .array?: break
      default: throw .badRequest("\"messages[\(position)].content\" must be a string or an array of parts")
      }
    }
    return .array(list)
  }
}
