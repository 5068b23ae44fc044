import Trust

/// A request of Ollama's API for an inference, turned into the engine's.
struct OllamaRequest: Sendable {
  enum Form: Sendable { case chat, generate }
  let form: Form
  let inference: InferenceRequest
  /// No prompt: the caller only wants the model loaded.
  let isLoadOnly: Bool

  /// Throws an `APIFailure` of status 400 that names what is wrong.
  init(_ form: Form, _ bytes: [UInt8]) throws(APIFailure) {
    let members = try InferenceRequest.document(bytes).object ?? [:]
    let check = MemberCheck(members)
    let model = try check.modelName()
    try check.optional("stream", "true or false") { $0.bool != nil }
    try check.optional("options", "an object") { $0.object != nil }
    try check.optional("format", "\"json\", \"\" or a JSON schema") { $0.string != nil || $0.object != nil }
    try check.optional("prompt", "a string") { $0.string != nil }
    try check.optional("system", "a string") { $0.string != nil }
    var upstream = try OllamaRequest.options(members)
    if let format = OllamaRequest.format(members["format"]) { upstream["response_format"] = format }

    var endpoint = InferenceRequest.Endpoint.chat
    let prompt: JSONValue
    switch form {
    case .chat:
      let isEmpty = members["messages"]?.array?.isEmpty ?? (members["messages"] == nil)
      prompt = isEmpty ? .array([]) : try check.messages()
      isLoadOnly = isEmpty
      upstream["messages"] = .array(try (prompt.array ?? []).map(OllamaRequest.message))
      if let tools = members["tools"], tools != .null {
        guard tools.array != nil else { throw check.wrong("tools", "an array") }
        upstream["tools"] = tools
      }
    case .generate:
      let text = members["prompt"]?.string ?? ""
      prompt = .string(text)
      isLoadOnly = text.isEmpty
      if members["raw"]?.bool == true {
        endpoint = .completion
        upstream["prompt"] = prompt
      } else {
        var messages: [JSONValue] = []
        if let system = members["system"]?.string, !system.isEmpty {
          messages.append(["role": "system", "content": .string(system)])
        }
        messages.append(
          try OllamaRequest.message(["role": "user", "content": prompt, "images": members["images"] ?? .null]))
        upstream["messages"] = .array(messages)
      }
    }
    self.form = form
    inference = InferenceRequest(
      endpoint: endpoint, model: OllamaRequest.modelName(model), wantsStream: members["stream"]?.bool ?? true,
      wantsUsage: true, prompt: prompt, body: JSONValue.object(upstream).encoded())
  }

  /// Ollama's clients write `:latest` where they mean no version.
  static func modelName(_ name: String) -> String {
    name.hasSuffix(":latest") ? String(name.dropLast(7)) : name
  }

  /// Ollama's options under the names that the engine knows them by; the engine has no use for the others.
  private static func options(_ members: [String: JSONValue]) throws(APIFailure) -> [String: JSONValue] {
    let given = members["options"]?.object ?? [:]
    let check = MemberCheck(given)
    try check.numbers("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
    try check.wholeNumbers("num_predict", "top_k", "seed")
    var known: [String: JSONValue] = [:]
    for name in [
      "temperature", "top_k", "top_p", "min_p", "seed", "stop", "repeat_penalty", "repeat_last_n", "presence_penalty",
      "frequency_penalty", "typical_p",
    ] where given[name] != .null {
      known[name] = given[name]
    }
    if let limit = given["num_predict"]?.integer, limit >= 0 { known["max_tokens"] = .integer(limit) }
    return known
  }

  private static func format(_ value: JSONValue?) -> JSONValue? {
    switch value {
    case .string("json"): ["type": "json_object"]
    case .object: ["type": "json_schema", "json_schema": ["name": "answer", "schema": value ?? .null]]
    default: nil
    }
  }

  /// Tool calls carry their arguments as an object here, and as text there; images are parts of the content there.
  private static func message(_ message: JSONValue) throws(APIFailure) -> JSONValue {
    var members = message.object ?? [:]
    if let images = members.removeValue(forKey: "images")?.array, !images.isEmpty {
      var parts: [JSONValue] = [["type": "text", "text": members["content"] ?? ""]]
      for image in images {
        guard let data = image.string else { throw .badRequest("\"images\" must be an array of base64 strings") }
        parts.append(["type": "image_url", "image_url": ["url": .string("data:image/png;base64,\(data)")]])
      }
      members["content"] = .array(parts)
    }
    if let calls = members["tool_calls"]?.array {
      members["tool_calls"] = .array(
        calls.enumerated().map { position, call in
          let arguments = call["function"]?["arguments"] ?? [:]
          let text = arguments.string ?? String(decoding: arguments.encoded(), as: UTF8.self)
          return [
            "id": call["id"] ?? .string("call_\(position)"), "type": "function",
            "function": ["name": call["function"]?["name"] ?? "", "arguments": .string(text)],
          ]
        })
    }
    if let name = members.removeValue(forKey: "tool_name") { members["name"] = name }
    members["thinking"] = nil
    return .object(members)
  }
}
