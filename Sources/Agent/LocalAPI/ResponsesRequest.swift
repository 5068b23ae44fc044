import Trust

/// A request of OpenAI's `/v1/responses`, turned into a chat.
struct ResponsesRequest: Sendable {
  let inference: InferenceRequest
  /// What the caller asked for, as it comes back in the response.
  let asked: JSONValue

  /// Throws an `APIFailure` of status 400 that names what is wrong.
  init(_ bytes: [UInt8], endpoint: InferenceRequest.Endpoint = .chat) throws(APIFailure) {
    let document = try InferenceRequest.document(bytes)
    try InferenceRequest.check(document, ResponsesForms.request)
    let raw = RawJSON(bytes)
    var chat: [(key: String, value: RawJSON)] = [
      ("model", RawJSON(document["model"] ?? .null)),
      ("messages", RawJSON(.array(ResponsesRequest.messages(document)))),
    ]
    for (name, theirs) in [
      ("max_output_tokens", "max_tokens"), ("temperature", "temperature"), ("top_p", "top_p"), ("stream", "stream"),
      ("parallel_tool_calls", "parallel_tool_calls"), ("user", "user"),
    ] {
      if let value = document[name], value != .null { chat.append((theirs, RawJSON(value))) }
    }
    if let effort = document["reasoning"]?["effort"], effort != .null {
      chat.append(("reasoning_effort", RawJSON(effort)))
    }
    if let format = raw["text"]?["format"], let made = ResponsesRequest.format(format) {
      chat.append(("response_format", made))
    }
    let tools = (raw["tools"]?.elements ?? []).map(ResponsesRequest.tool)
    if !tools.isEmpty {
      chat.append(("tools", .array(tools)))
      if let choice = document["tool_choice"], choice != .null {
        let name = choice["name"]
        chat.append(
          ("tool_choice", RawJSON(name.map { ["type": "function", "function": ["name": $0]] } ?? choice)))
      }
    }
    var made = try InferenceRequest(openAI: endpoint, Array(RawJSON.object(chat).bytes))
    made.prompt = .array([document["instructions"] ?? .null, document["input"] ?? .null])
    if made.image != nil { made.image = "input" }
    inference = made
    asked = document
  }

  private static func messages(_ document: JSONValue) -> [JSONValue] {
    var messages: [JSONValue] = []
    if let text = document["instructions"]?.string { messages.append(["role": "system", "content": .string(text)]) }
    guard let items = document["input"]?.array else {
      return messages + [["role": "user", "content": document["input"] ?? ""]]
    }
    for item in items {
      switch item["type"]?.string ?? "message" {
      case "function_call":
        let call: JSONValue = [
          "id": item["call_id"] ?? "", "type": "function",
          "function": ["name": item["name"] ?? "", "arguments": item["arguments"] ?? ""],
        ]
        messages = adding(call, to: messages)
      case "function_call_output":
        messages.append([
          "role": "tool", "tool_call_id": item["call_id"] ?? "", "content": content(item["output"] ?? ""),
        ])
      case "reasoning": break
      default: messages.append(["role": item["role"] ?? "user", "content": content(item["content"] ?? "")])
      }
    }
    return messages
  }

  /// A call belongs to the message before it, where that is the assistant's.
  private static func adding(_ call: JSONValue, to messages: [JSONValue]) -> [JSONValue] {
    guard var last = messages.last?.object, last["role"] == "assistant" else {
      return messages + [["role": "assistant", "content": "", "tool_calls": [call]]]
    }
    last["tool_calls"] = .array((last["tool_calls"]?.array ?? []) + [call])
    return messages.dropLast() + [.object(last)]
  }

  private static func content(_ content: JSONValue) -> JSONValue {
    guard let parts = content.array else { return content }
    return .array(
      parts.map { part in
        switch part["type"]?.string {
        case "input_image": ["type": "image_url", "image_url": ["url": part["image_url"] ?? ""]]
        case "refusal": ["type": "text", "text": part["refusal"] ?? ""]
        default: ["type": "text", "text": part["text"] ?? ""]
        }
      })
  }

  /// `{type, name, parameters}` there is `{type, function: {name, parameters}}` here.
  private static func tool(_ tool: RawJSON) -> RawJSON {
    let function = tool.members.filter { $0.key != "type" && $0.value.value != .null }
    return .object([("type", RawJSON("function")), ("function", .object(function))])
  }

  private static func format(_ format: RawJSON) -> RawJSON? {
    guard format["type"]?.value == "json_schema" else { return format.value.object == nil ? nil : format }
    return .object([
      ("type", RawJSON("json_schema")), ("json_schema", .object(format.members.filter { $0.key != "type" })),
    ])
  }
}
