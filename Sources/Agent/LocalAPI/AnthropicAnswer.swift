import Trust

/// Anthropic's message and the events that it is streamed as, made from a chat's blocks.
struct AnthropicAnswer: Sendable {
  private let model: String
  private let id = RandomID.make("msg")

  init(model: String) { self.model = model }

  func message(_ blocks: ChatBlocks) -> JSONValue {
    message(
      content: blocks.blocks.map(AnthropicAnswer.block), reason: AnthropicAnswer.reason(blocks),
      sequence: AnthropicAnswer.sequence(blocks), usage: AnthropicAnswer.usage(blocks.sum.usage))
  }

  private func message(
    content: [JSONValue], reason: JSONValue, sequence: JSONValue, usage: JSONValue
  ) -> JSONValue {
    [
      "id": .string(id), "type": "message", "role": "assistant", "model": .string(model), "content": .array(content),
      "stop_reason": reason, "stop_sequence": sequence, "usage": usage,
    ]
  }

  private static func block(_ block: ChatBlocks.Block) -> JSONValue {
    switch block.kind {
    case .text: return ["type": "text", "text": .string(block.text)]
    case .thought: return ["type": "thinking", "thinking": .string(block.text), "signature": ""]
    case .call(let id, let name):
      // What was cut off, or is no object, is no input that a tool could take.
      let input = (try? JSONValue(parsing: block.text.utf8)).flatMap { $0.object == nil ? nil : $0 } ?? [:]
      return ["type": "tool_use", "id": .string(id), "name": .string(name), "input": input]
    }
  }

  private static func reason(_ blocks: ChatBlocks) -> JSONValue {
    switch blocks.finish {
    case "length": "max_tokens"
    case "tool_calls": "tool_use"
    default: blocks.stoppedAt == nil ? "end_turn" : "stop_sequence"
    }
  }

  private static func sequence(_ blocks: ChatBlocks) -> JSONValue {
    reason(blocks) == "stop_sequence" ? blocks.stoppedAt.map(JSONValue.string) ?? .null : .null
  }

  /// What was read anew and what was remembered are counted apart.
  private static func usage(_ usage: JSONValue?) -> JSONValue {
    let prompt = usage?["prompt_tokens"]?.integer ?? 0
    let cached = usage?["prompt_tokens_details"]?["cached_tokens"]?.integer ?? 0
    return [
      "input_tokens": .integer(prompt - cached), "cache_read_input_tokens": .integer(cached),
      "cache_creation_input_tokens": 0, "output_tokens": usage?["completion_tokens"] ?? 0,
    ]
  }

  // MARK: the stream

  /// The first event. How long the prompt is is known at the end only.
  func begin() -> [UInt8] {
    SSE.event(
      "message_start",
      [
        "type": "message_start",
        "message": message(content: [], reason: .null, sequence: .null, usage: AnthropicAnswer.usage(nil)),
      ])
  }

  func pass(_ events: [ChatBlocks.Event], _ blocks: ChatBlocks) -> [UInt8] {
    events.reduce(into: []) { bytes, event in
      switch event {
      case .begin(let at, let kind):
        let block = AnthropicAnswer.block(ChatBlocks.Block(kind: kind))
        bytes += AnthropicAnswer.event("content_block_start", at, ["content_block": block])
      case .piece(let at, let text):
        let delta: JSONValue =
          switch blocks.blocks[at].kind {
          case .text: ["type": "text_delta", "text": .string(text)]
          case .thought: ["type": "thinking_delta", "thinking": .string(text)]
          case .call: ["type": "input_json_delta", "partial_json": .string(text)]
          }
        bytes += AnthropicAnswer.event("content_block_delta", at, ["delta": delta])
      case .end(let at): bytes += AnthropicAnswer.event("content_block_stop", at, [:])
      }
    }
  }

  func end(_ blocks: ChatBlocks) -> [UInt8] {
    SSE.event(
      "message_delta",
      [
        "type": "message_delta",
        "delta": ["stop_reason": AnthropicAnswer.reason(blocks), "stop_sequence": AnthropicAnswer.sequence(blocks)],
        "usage": AnthropicAnswer.usage(blocks.sum.usage),
      ]) + SSE.event("message_stop", ["type": "message_stop"])
  }

  private static func event(_ type: String, _ at: Int, _ more: [String: JSONValue]) -> [UInt8] {
    var members = more
    members["type"] = .string(type)
    members["index"] = .integer(Int64(at))
    return SSE.event(type, .object(members))
  }
}
