import Synchronization
import Trust
import Web

/// Tools for models whose template knows none, and for answers that have to be a call: the engine leaves a model the
/// choice even where `tool_choice` says that it must call. The tools are described to the model in words, and a JSON
/// schema lets it write nothing but a call of one of them, or its answer where it may choose; `ToolCallReader` reads that.
extension InferenceRequest {
  enum Calling: Sendable {
    /// Calls or answers.
    case may
    case must
  }

  /// The request in which the model writes its calls as JSON text. Throws where it also has to write something else.
  func writingCalls(_ calling: Calling) throws(APIFailure) -> InferenceRequest {
    let raw = RawJSON(body)
    if let format = raw["response_format"]?.value, format != .null, format["type"] != "text" {
      throw .badRequest("this model can't keep to a \"response_format\" beside tools", param: "response_format")
    }
    let functions = (raw["tools"]?.elements ?? []).compactMap { $0["function"] }
    var made = self
    made.offersTools = false
    made.shape.writesCalls = true
    made.body = Array(
      raw.replacing([
        "messages": InferenceRequest.messages(raw["messages"]?.elements ?? [], functions, calling),
        "tools": nil, "tool_choice": nil, "parallel_tool_calls": nil,
        "response_format": InferenceRequest.format(functions, calling),
      ]).bytes)
    return made
  }

  /// `{"type": "json_schema", …}`: one of the calls, or an answer.
  private static func format(_ functions: [RawJSON], _ calling: Calling) -> RawJSON {
    var definitions: [(key: String, value: RawJSON)] = []
    let calls = functions.map { function -> RawJSON in
      var parameters = function["parameters"] ?? RawJSON(["type": "object"])
      // References are read from the schema's root.
      for key in ["$defs", "definitions"] {
        for definition in parameters[key]?.members ?? []
        where !definitions.contains(where: { $0.key == definition.key }) {
          definitions.append(definition)
        }
        parameters = parameters.members.isEmpty ? RawJSON(["type": "object"]) : parameters.replacing([key: nil])
      }
      if parameters["type"] == nil, parameters["$ref"] == nil {
        parameters = parameters.replacing(["type": RawJSON("object")])
      }
      let name = RawJSON(["const": function["name"]?.value ?? ""])
      return record([("name", name), ("arguments", parameters)])
    }
    let call = record([("tool_call", calls.count == 1 ? calls[0] : .object([("anyOf", .array(calls))]))])
    var schema = call
    if calling == .may {
      schema = .object([("anyOf", .array([call, record([("response", RawJSON(["type": "string"]))])]))])
    }
    if !definitions.isEmpty {
      schema = .object(
        schema.members + [("$defs", .object(definitions)), ("definitions", .object(definitions))])
    }
    let named = RawJSON.object([("name", RawJSON("call")), ("strict", RawJSON(true)), ("schema", schema)])
    return .object([("type", RawJSON("json_schema")), ("json_schema", named)])
  }

  private static func record(_ members: [(key: String, value: RawJSON)]) -> RawJSON {
    .object([
      ("type", RawJSON("object")), ("properties", .object(members)),
      ("required", RawJSON(.array(members.map { .string($0.key) }))), ("additionalProperties", RawJSON(false)),
    ])
  }

  /// The conversation in words that every template knows, with the tools described at its start.
  private static func messages(_ messages: [RawJSON], _ functions: [RawJSON], _ calling: Calling) -> RawJSON {
    var names: [String: String] = [:]
    var made = messages.map { raw -> RawJSON in
      let message = raw.value
      switch message["role"] {
      case "assistant":
        guard let calls = message["tool_calls"]?.array, !calls.isEmpty else { return raw }
        var lines = [text(message["content"])].filter { !$0.isEmpty }
        for call in calls {
          let name = call["function"]?["name"]?.string ?? ""
          if let id = call["id"]?.string { names[id] = name }
          let arguments = call["function"]?["arguments"]?.string ?? "{}"
          let shown = RawJSON.object([
            ("name", RawJSON(.string(name))),
            (
              "arguments",
              (try? JSONValue(parsing: arguments.utf8)) == nil ? RawJSON(.string(arguments)) : RawJSON(arguments.utf8)
            ),
          ])
          lines.append(String(decoding: RawJSON.object([("tool_call", shown)]).bytes, as: UTF8.self))
        }
        return RawJSON(["role": "assistant", "content": .string(lines.joined(separator: "\n"))])
      case "tool":
        let name = message["tool_call_id"]?.string.flatMap { names[$0] } ?? "the tool"
        return RawJSON(["role": "user", "content": .string("\(name) answered: \(text(message["content"]))")])
      default: return raw
      }
    }
    let manual = manual(functions, calling)
    if let first = made.first?.value, first["role"] == "system" || first["role"] == "developer" {
      let instruction = text(first["content"]) + "\n\n" + manual
      made[0] = RawJSON(["role": first["role"] ?? "system", "content": .string(instruction)])
    } else {
      made.insert(RawJSON(["role": "system", "content": .string(manual)]), at: 0)
    }
    return .array(made)
  }

  private static func manual(_ functions: [RawJSON], _ calling: Calling) -> String {
    let described = functions.map { String(decoding: $0.bytes, as: UTF8.self) }.joined(separator: "\n")
    let call = #"{"tool_call": {"name": NAME, "arguments": {...}}}"#
    let ending = calling == .may ? #", or {"response": TEXT} if no tool helps."# : "."
    return "You can call these tools:\n\(described)\nAnswer with \(call) to call one\(ending)"
  }

  private static func text(_ content: JSONValue?) -> String {
    content?.string ?? (content?.array ?? []).compactMap { $0["text"]?.string }.joined(separator: "\n")
  }
}

/// Whether the template of a model knows tools, asked of its engine once.
final class EngineTemplates: Sendable {
  private let known = Mutex<[Digest: Bool]>([:])

  /// True for engines that don't say: those that are no llama-server do what they can by themselves.
  func knowTools(_ lease: EngineLease, _ client: HTTPClient) async -> Bool {
    let sha256 = lease.engine.model.sha256
    if let answer = known.withLock({ $0[sha256] }) { return answer }
    var request = lease.address.request("GET", "/props")
    request.maxResponseBytes = 1 << 20
    guard let reply = try? await client.send(request), reply.status == 200,
      let properties = try? JSONValue(parsing: reply.body)
    else { return true }
    let answer = properties["chat_template_caps"]?["supports_tools"]?.bool ?? true
    known.withLock { known in
      if known.count >= 1024 { known = [:] }
      known[sha256] = answer
    }
    return answer
  }
}
