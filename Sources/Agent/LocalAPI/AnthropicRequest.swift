import Trust

/// A request of Anthropic's `/v1/messages`, turned into a chat.
struct AnthropicRequest: Sendable {
  let inference: InferenceRequest

  /// Throws an `APIFailure` of status 400 that names what is wrong.
  init(_ bytes: [UInt8], endpoint: InferenceRequest.Endpoint = .chat) throws(APIFailure) {
    let document = try InferenceRequest.document(bytes)
    try InferenceRequest.check(document, endpoint == .count ? AnthropicForms.count : AnthropicForms.request)
    let raw = RawJSON(bytes)
    var chat: [(key: String, value: RawJSON)] = [
      ("model", RawJSON(document["model"] ?? .null)),
      ("messages", .array(AnthropicRequest.messages(document, raw))),
    ]
    for (name, theirs) in [
      ("max_tokens", "max_tokens"), ("temperature", "temperature"), ("top_p", "top_p"), ("top_k", "top_k"),
      ("stream", "stream"), ("stop_sequences", "stop"),
    ] {
      if let value = document[name], value != .null { chat.append((theirs, RawJSON(value))) }
    }
    if let budget = document["thinking"]?["budget_tokens"], budget != .null {
      chat.append(("thinking_budget_tokens", RawJSON(budget)))
    }
    if document["thinking"]?["type"] == "disabled" { chat.append(("reasoning_effort", RawJSON("none"))) }
    if let schema = raw["output_config"]?["format"]?["schema"] {
      let wrapped = RawJSON.object([("name", RawJSON("answer")), ("schema", schema)])
      chat.append(("response_format", .object([("type", RawJSON("json_schema")), ("json_schema", wrapped)])))
    }
    let tools = (raw["tools"]?.elements ?? []).map(AnthropicRequest.tool)
    if !tools.isEmpty { chat.append(("tools", .array(tools))) }
    if let choice = document["tool_choice"], choice != .null {
      chat.append(("tool_choice", RawJSON(AnthropicRequest.choice(choice))))
      if choice["disable_parallel_tool_use"] == true { chat.append(("parallel_tool_calls", RawJSON(false))) }
    }
    var made = try InferenceRequest(openAI: endpoint, Array(RawJSON.object(chat).bytes))
    made.prompt = .array([document["system"] ?? .null, document["messages"] ?? .null])
    if made.image != nil { made.image = "messages" }
    // The engine tells which stop sequence it met only to who asks for everything.
    if document["stop_sequences"]?.array?.isEmpty == false, endpoint == .chat { made.addenda["verbose"] = true }
    inference = made
  }

  private static func messages(_ document: JSONValue, _ raw: RawJSON) -> [RawJSON] {
    var made: [RawJSON] = []
    let system = document["system"]
    let instruction = system?.string ?? (system?.array ?? []).compactMap { $0["text"]?.string }.joined(separator: "\n")
    if !instruction.isEmpty { made.append(RawJSON(["role": "system", "content": .string(instruction)])) }
    for message in raw["messages"]?.elements ?? [] {
      let value = message.value
      if value["content"]?.string != nil {
        made.append(RawJSON(["role": value["role"] ?? "user", "content": value["content"] ?? ""]))
      } else if value["role"] == "assistant" {
        made.append(assistant(message))
      } else {
        made += user(value).map { RawJSON($0) }
      }
    }
    return made
  }

  /// Results of tools are messages of their own, and come before what else the user says.
  private static func user(_ message: JSONValue) -> [JSONValue] {
    var results: [JSONValue] = []
    var parts: [JSONValue] = []
    for block in message["content"]?.array ?? [] {
      if block["type"] == "tool_result" {
        let content = block["content"]
        let said = content?.array.map { JSONValue.array($0.map(part)) } ?? content ?? ""
        results.append([
          "role": "tool", "tool_call_id": block["tool_use_id"] ?? "",
          "content": block["is_error"] == true ? failed(said) : said == .null ? "" : said,
        ])
      } else {
        parts.append(part(block))
      }
    }
    return parts.isEmpty && !results.isEmpty
      ? results : results + [["role": "user", "content": parts.isEmpty ? "" : .array(parts)]]
  }

  private static func failed(_ content: JSONValue) -> JSONValue {
    let note: JSONValue = ["type": "text", "text": "The tool failed."]
    if let parts = content.array { return .array([note] + parts) }
    return .string("The tool failed. " + (content.string ?? ""))
  }

  private static func part(_ block: JSONValue) -> JSONValue {
    guard block["type"] == "image" else { return ["type": "text", "text": block["text"] ?? ""] }
    let source = block["source"]
    let data = "data:\(source?["media_type"]?.string ?? "image/png");base64,\(source?["data"]?.string ?? "")"
    return ["type": "image_url", "image_url": ["url": source?["url"] ?? .string(data)]]
  }

  private static func assistant(_ message: RawJSON) -> RawJSON {
    var text = ""
    var calls: [JSONValue] = []
    for block in message["content"]?.elements ?? [] {
      let value = block.value
      switch value["type"] {
      case "text": text += value["text"]?.string ?? ""
      case "tool_use":
        let arguments = String(decoding: block["input"]?.bytes ?? [], as: UTF8.self)
        calls.append([
          "id": value["id"] ?? "", "type": "function",
          "function": ["name": value["name"] ?? "", "arguments": .string(arguments)],
        ])
      default: break
      }
    }
    var made: [String: JSONValue] = ["role": "assistant", "content": .string(text)]
    if !calls.isEmpty { made["tool_calls"] = .array(calls) }
    return RawJSON(.object(made))
  }

  private static func tool(_ tool: RawJSON) -> RawJSON {
    var function: [(key: String, value: RawJSON)] = []
    for (key, value) in tool.members {
      switch key {
      case "name": function.append((key, value))
      case "description" where value.value != .null: function.append((key, value))
      case "input_schema": function.append(("parameters", value))
      default: break
      }
    }
    return .object([("type", RawJSON("function")), ("function", .object(function))])
  }

  private static func choice(_ choice: JSONValue) -> JSONValue {
    switch choice["type"] {
    case "any": "required"
    case "tool": ["type": "function", "function": ["name": choice["name"] ?? ""]]
    case "none": "none"
    default: "auto"
    }
  }
}
