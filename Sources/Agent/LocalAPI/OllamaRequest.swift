import Models
import Trust

/// A request of Ollama's API for an inference, turned into the engine's.
struct OllamaRequest: Sendable {
  enum Form: Sendable { case chat, generate }
  let form: Form
  let inference: InferenceRequest
  /// No prompt: the caller only wants the model loaded, or gone.
  let isLoadOnly: Bool
  let keepAlive: KeepAlive?
  /// The conversation that a “generate” carries on and adds to; nil where no context is given back.
  private let conversation: [JSONValue]?
  private let thinking: JSONValue?
  private let suffix: String?

  /// Throws an `APIFailure` of status 400 that names what is wrong.
  init(_ form: Form, _ bytes: [UInt8]) throws(APIFailure) {
    let members = try InferenceRequest.document(bytes).object ?? [:]
    let raw = RawJSON(bytes)
    let check = MemberCheck(members)
    let model = try check.ollamaName("model")
    try OllamaRequest.check(check)
    keepAlive = try KeepAlive(members["keep_alive"])
    self.form = form

    var upstream = try OllamaRequest.options(members)
    var shape = AnswerShape()
    upstream["response_format"] = OllamaRequest.format(raw["format"])
    var endpoint = InferenceRequest.Endpoint.chat
    var image: String?
    let prompt: JSONValue
    switch form {
    case .chat:
      let messages = try OllamaRequest.messages(check, image: &image)
      (prompt, isLoadOnly, conversation, suffix) = (members["messages"] ?? [], messages.isEmpty, nil, nil)
      upstream["messages"] = RawJSON(.array(messages))
      if members["tools"]?.array?.isEmpty == false { upstream["tools"] = raw["tools"] }
    case .generate:
      let text = members["prompt"]?.string ?? ""
      suffix = members["suffix"]?.string.flatMap { $0.isEmpty ? nil : $0 }
      prompt = .string(text)
      isLoadOnly = text.isEmpty && suffix == nil
      if members["images"]?.array?.isEmpty == false { image = "images" }
      if members["raw"]?.bool == true || suffix != nil {
        try OllamaRequest.demandRaw(members)
        endpoint = .completion
        conversation = nil
        upstream["prompt"] = RawJSON(prompt)
      } else {
        var messages = try OllamaContext.decode(members["context"])
        if let system = members["system"]?.string, !system.isEmpty {
          messages.removeAll { $0["role"] == "system" }
          messages.insert(["role": "system", "content": .string(system)], at: 0)
        }
        messages.append(["role": "user", "content": prompt])
        conversation = messages
        upstream["messages"] = RawJSON(.array(messages))
      }
    }
    if members["logprobs"]?.bool == true {
      let most = members["top_logprobs"]?.integer ?? 0
      shape.topLogprobs = Int(clamping: most)
      // The engine gives none at all without an alternative.
      upstream["logprobs"] = endpoint == .chat ? RawJSON(true) : RawJSON(.integer(max(most, 1)))
      if endpoint == .chat { upstream["top_logprobs"] = RawJSON(.integer(max(most, 1))) }
    }
    thinking = endpoint == .chat ? members["think"].flatMap { $0 == .null ? nil : $0 } : nil
    let sorted = upstream.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
    inference = InferenceRequest(
      endpoint: endpoint, model: model, wantsStream: members["stream"]?.bool ?? true, wantsUsage: true, prompt: prompt,
      body: Array(RawJSON.object(sorted).bytes), shape: shape, image: image,
      offersTools: upstream["tools"] != nil)
  }

  private static func check(_ check: MemberCheck) throws(APIFailure) {
    for name in ["prompt", "system", "suffix", "template"] { try check.optional(name, "a string") { $0.string != nil } }
    for name in ["stream", "raw", "logprobs"] { try check.optional(name, "true or false") { $0.bool != nil } }
    for name in ["images", "context", "tools"] { try check.optional(name, "an array") { $0.array != nil } }
    try check.optional("format", "\"json\", \"\" or a JSON schema") {
      $0.object != nil || $0 == "json" || $0 == ""
    }
    try check.optional("think", "true, false, \"low\", \"medium\" or \"high\"") {
      $0.bool != nil || ["low", "medium", "high"].contains($0.string)
    }
    try check.optional("top_logprobs", "a whole number from 0 to 20") { (0...20).contains($0.integer ?? -1) }
    try check.optional("options", "an object") { $0.object != nil }
    if let template = check.members["template"]?.string, !template.isEmpty {
      throw .badRequest("\"template\" is refused: the chat template belongs to the signed model", param: "template")
    }
    for name in ["width", "height", "steps"] where (check.members[name] ?? .null) != .null {
      throw .badRequest("\"\(name)\" is for models that make images; those here write text", param: name)
    }
  }

  /// What bypasses the chat template can't be told anything that goes through it.
  private static func demandRaw(_ members: [String: JSONValue]) throws(APIFailure) {
    let isSystem = members["system"]?.string?.isEmpty == false
    let isContext = members["context"]?.array?.isEmpty == false
    guard isSystem || isContext else { return }
    let name = isSystem ? "system" : "context"
    throw .badRequest("\"\(name)\" has no place in a prompt that is raw or has a suffix", param: name)
  }

  /// Ollama's options under the names that the engine knows them by.
  private static func options(_ members: [String: JSONValue]) throws(APIFailure) -> [String: RawJSON] {
    let given = members["options"]?.object ?? [:]
    if let (name, allowed) = GenerationOption.complaint(given) {
      throw .badRequest("\"options.\(name)\" must be \(allowed)", param: "options.\(name)")
    }
    return GenerationOption.engineMembers(given).mapValues { RawJSON($0) }
  }

  private static func format(_ format: RawJSON?) -> RawJSON? {
    guard let format, format.bytes.first != UInt8(ascii: "n") else { return nil }
    if format.bytes.first == UInt8(ascii: "{") {
      return .object([
        ("type", RawJSON("json_schema")), ("json_schema", .object([("name", RawJSON("answer")), ("schema", format)])),
      ])
    }
    return format.value == "json" ? RawJSON(["type": "json_object"]) : nil
  }
}

extension OllamaRequest {
  /// The request as the model of this name can be asked it. Throws an `APIFailure` of status 400 where it can't.
  func shaped(
    _ request: InferenceRequest, _ model: String, _ capabilities: ModelCapabilities?
  ) throws(APIFailure) -> InferenceRequest {
    var changes: [String: RawJSON?] = [:]
    if let suffix {
      guard let infill = capabilities?.infill else {
        throw .badRequest("\"\(model)\" does not support insert: it knows no \"suffix\"", param: "suffix")
      }
      func token(_ id: UInt64) -> JSONValue { .integer(Int64(clamping: id)) }
      changes["prompt"] = RawJSON([
        token(infill.prefix), request.prompt, token(infill.suffix), .string(suffix), token(infill.middle),
      ])
    }
    if let thinking {
      let thinks = capabilities?.thinks ?? false
      guard thinks || thinking == false else {
        throw .badRequest("\"\(model)\" does not support thinking", param: "think")
      }
      var settings: [String: JSONValue] = ["enable_thinking": thinking == false ? false : true]
      if thinking.string != nil { settings["reasoning_effort"] = thinking }
      if thinks { changes["chat_template_kwargs"] = RawJSON(.object(settings)) }
    }
    guard !changes.isEmpty else { return request }
    var changed = request
    changed.body = Array(RawJSON(request.body).replacing(changes).bytes)
    return changed
  }

  /// Whether it takes the model's header to tell.
  var wantsCapabilities: Bool { suffix != nil || thinking != nil }

  /// What a “generate” gives back so that the next one carries on; nil where it carries nothing on.
  func context(after answer: String) -> JSONValue? {
    conversation.map { OllamaContext.encode($0 + [["role": "assistant", "content": .string(answer)]]) }
  }
}

// MARK: messages

extension OllamaRequest {
  private static let roles = ["system", "user", "assistant", "tool"]

  /// The messages in the engine's form; none for a caller who only wants the model loaded. `image` is where the first
  /// image stands.
  private static func messages(_ check: MemberCheck, image: inout String?) throws(APIFailure) -> [JSONValue] {
    guard let given = check.members["messages"], given != .null, given != [] else { return [] }
    var messages: [JSONValue] = []
    for (at, message) in (try check.messages().array ?? []).enumerated() {
      let role = message["role"]?.string ?? ""
      guard roles.contains(role) else {
        throw .badRequest(
          "\"messages[\(at)].role\" must be one of \(roles.joined(separator: ", "))", param: "messages[\(at)].role")
      }
      if image == nil, message["images"]?.array?.isEmpty == false { image = "messages[\(at)].images" }
      messages.append(engineMessage(message))
    }
    return messages
  }

  /// Tool calls carry their arguments as an object here, and as text there.
  private static func engineMessage(_ message: JSONValue) -> JSONValue {
    var members = message.object ?? [:]
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
    for name in ["images", "thinking"] { members[name] = nil }
    if members["content"] == nil, members["tool_calls"] == nil { members["content"] = "" }
    return .object(members)
  }
}

extension MemberCheck {
  /// A model's name as Ollama's clients write it: `:latest` where they mean no version.
  func ollamaName(_ names: String...) throws(APIFailure) -> String {
    for name in names {
      guard let value = members[name], value != .null else { continue }
      guard let text = value.string, !text.isEmpty, text.utf8.count <= 200 else {
        throw wrong(name, "the name of a model, a string")
      }
      return text.hasSuffix(":latest") ? String(text.dropLast(7)) : text
    }
    throw wrong(names[0], "the name of a model, a string")
  }
}

extension InferenceDesk.Admission {
  /// As the caller knows it.
  var name: String { variant?.name ?? model.name }
}
