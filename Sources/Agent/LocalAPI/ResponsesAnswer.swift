import Trust

/// OpenAI's response object and the events that it is streamed as, made from a chat's blocks.
struct ResponsesAnswer: Sendable {
  private let asked: JSONValue
  private let model: String
  private let createdAt: Int64
  private let id = RandomID.make("resp")
  private var names: [String] = []
  private var sequence: Int64 = 0

  init(_ asked: JSONValue, model: String, createdAt: Int64) {
    self.asked = asked
    self.model = model
    self.createdAt = createdAt
  }

  // MARK: the object

  /// The response as it stands; `status` is in_progress, completed, incomplete or failed.
  mutating func response(_ blocks: ChatBlocks, status: String, error: JSONValue = .null) -> JSONValue {
    let items = blocks.blocks.indices.map { item(blocks.blocks[$0], $0, status: "completed") }
    let isCut = status == "incomplete"
    return [
      "id": .string(id), "object": "response", "created_at": .integer(createdAt), "status": .string(status),
      "error": error, "incomplete_details": isCut ? ["reason": "max_output_tokens"] : .null,
      "model": .string(model), "output": .array(status == "in_progress" ? [] : items),
      "instructions": asked["instructions"] ?? .null, "max_output_tokens": asked["max_output_tokens"] ?? .null,
      "parallel_tool_calls": .bool(asked["parallel_tool_calls"]?.bool ?? true), "previous_response_id": .null,
      "reasoning": ["effort": asked["reasoning"]?["effort"] ?? .null, "summary": .null], "store": false,
      "temperature": asked["temperature"] ?? .null, "top_p": asked["top_p"] ?? .null,
      "text": ["format": asked["text"]?["format"] ?? ["type": "text"]],
      "tool_choice": or(asked["tool_choice"], "auto"), "tools": or(asked["tools"], []), "truncation": "disabled",
      "user": asked["user"] ?? .null, "metadata": or(asked["metadata"], [:]),
      "usage": status == "in_progress" ? .null : ResponsesAnswer.usage(blocks.sum.usage),
    ]
  }

  private func or(_ value: JSONValue?, _ other: JSONValue) -> JSONValue {
    guard let value, value != .null else { return other }
    return value
  }

  static func status(_ blocks: ChatBlocks) -> String { blocks.finish == "length" ? "incomplete" : "completed" }

  private static func usage(_ usage: JSONValue?) -> JSONValue {
    guard let usage else { return .null }
    return [
      "input_tokens": usage["prompt_tokens"] ?? 0,
      "input_tokens_details": [
        "cached_tokens": usage["prompt_tokens_details"]?["cached_tokens"] ?? 0, "cache_write_tokens": 0,
      ],
      "output_tokens": usage["completion_tokens"] ?? 0, "output_tokens_details": ["reasoning_tokens": 0],
      "total_tokens": usage["total_tokens"] ?? 0,
    ]
  }

  private mutating func item(_ block: ChatBlocks.Block, _ at: Int, status: String) -> JSONValue {
    let isBegun = status == "in_progress"
    let id = name(block.kind, at)
    switch block.kind {
    case .text:
      return [
        "id": .string(id), "type": "message", "status": .string(status), "role": "assistant",
        "content": .array(isBegun ? [] : [ResponsesAnswer.part(block.kind, block.text)]),
      ]
    case .thought:
      return [
        "id": .string(id), "type": "reasoning", "summary": [], "status": .string(status),
        "content": .array(isBegun ? [] : [ResponsesAnswer.part(block.kind, block.text)]),
      ]
    case .call(let callID, let function):
      return [
        "id": .string(id), "type": "function_call", "status": .string(status), "call_id": .string(callID),
        "name": .string(function), "arguments": .string(block.text),
      ]
    }
  }

  private static func part(_ kind: ChatBlocks.Kind, _ text: String) -> JSONValue {
    kind == .thought
      ? ["type": "reasoning_text", "text": .string(text)]
      : ["type": "output_text", "text": .string(text), "annotations": [], "logprobs": []]
  }

  private mutating func name(_ kind: ChatBlocks.Kind, _ at: Int) -> String {
    while names.count <= at {
      switch kind {
      case .text: names.append(RandomID.make("msg"))
      case .thought: names.append(RandomID.make("rs"))
      case .call: names.append(RandomID.make("fc"))
      }
    }
    return names[at]
  }

  // MARK: the stream

  /// The events before the engine says anything.
  mutating func begin(_ blocks: ChatBlocks) -> [UInt8] {
    let response = response(blocks, status: "in_progress")
    return event("response.created", ["response": response]) + event("response.in_progress", ["response": response])
  }

  /// The events of what the engine said.
  mutating func pass(_ events: [ChatBlocks.Event], _ blocks: ChatBlocks) -> [UInt8] {
    events.reduce(into: []) { bytes, found in
      switch found {
      case .begin(let at, let kind): bytes += begin(at, kind)
      case .piece(let at, let text): bytes += piece(at, blocks.blocks[at].kind, text)
      case .end(let at): bytes += end(at, blocks.blocks[at])
      }
    }
  }

  /// The last event: the whole response.
  mutating func end(_ blocks: ChatBlocks) -> [UInt8] {
    let status = ResponsesAnswer.status(blocks)
    return event("response.\(status)", ["response": response(blocks, status: status)])
  }

  mutating func failed(_ failure: APIFailure, _ blocks: ChatBlocks) -> [UInt8] {
    let error: JSONValue = ["code": "server_error", "message": .string(failure.message)]
    return event("response.failed", ["response": response(blocks, status: "failed", error: error)])
  }

  private mutating func begin(_ at: Int, _ kind: ChatBlocks.Kind) -> [UInt8] {
    let added = event(
      "response.output_item.added",
      ["output_index": .integer(Int64(at)), "item": item(ChatBlocks.Block(kind: kind), at, status: "in_progress")])
    if case .call = kind { return added }
    return added
      + event("response.content_part.added", place(at, kind, ["part": ResponsesAnswer.part(kind, "")]))
  }

  private mutating func piece(_ at: Int, _ kind: ChatBlocks.Kind, _ text: String) -> [UInt8] {
    switch kind {
    case .text: event("response.output_text.delta", place(at, kind, ["delta": .string(text), "logprobs": []]))
    case .thought: event("response.reasoning_text.delta", place(at, kind, ["delta": .string(text)]))
    case .call: event("response.function_call_arguments.delta", place(at, kind, ["delta": .string(text)]))
    }
  }

  private mutating func end(_ at: Int, _ block: ChatBlocks.Block) -> [UInt8] {
    var bytes: [UInt8]
    switch block.kind {
    case .text:
      bytes = event(
        "response.output_text.done", place(at, block.kind, ["text": .string(block.text), "logprobs": []]))
    case .thought:
      bytes = event("response.reasoning_text.done", place(at, block.kind, ["text": .string(block.text)]))
    case .call(_, let name):
      bytes = event(
        "response.function_call_arguments.done",
        place(at, block.kind, ["arguments": .string(block.text), "name": .string(name)]))
    }
    if case .call = block.kind {
    } else {
      let part = ResponsesAnswer.part(block.kind, block.text)
      bytes += event("response.content_part.done", place(at, block.kind, ["part": part]))
    }
    return bytes
      + event(
        "response.output_item.done",
        ["output_index": .integer(Int64(at)), "item": item(block, at, status: "completed")])
  }

  private mutating func place(
    _ at: Int, _ kind: ChatBlocks.Kind, _ more: [String: JSONValue]
  ) -> [String: JSONValue] {
    var members = more
    members["item_id"] = .string(name(kind, at))
    members["output_index"] = .integer(Int64(at))
    if case .call = kind { return members }
    members["content_index"] = 0
    return members
  }

  private mutating func event(_ type: String, _ members: [String: JSONValue]) -> [UInt8] {
    var members = members
    members["type"] = .string(type)
    members["sequence_number"] = .integer(sequence)
    sequence += 1
    return SSE.event(type, .object(members))
  }
}

/// Server-sent events with a name.
enum SSE {
  static func event(_ name: String, _ data: JSONValue) -> [UInt8] {
    Array("event: \(name)\ndata: ".utf8) + data.encoded() + [0x0A, 0x0A]
  }
}
