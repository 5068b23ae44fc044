/// What a request of Anthropic's `/v1/messages` looks like.
enum AnthropicForms {
  private static let text = Schema.record(.must("type", .word("text")), .must("text", .string))
  private static let image = Schema.record(
    .must("type", .word("image")),
    .must(
      "source",
      .either(
        .record(.must("type", .word("base64")), .must("media_type", .string), .must("data", .string)),
        .record(.must("type", .word("url")), .must("url", .string))))
  ).about("Refused by models that have no eyes.")
  private static let thinking = Schema.record(
    .must("type", .word("thinking", "redacted_thinking")), .may("thinking", .string))
  private static let use = Schema.record(
    .must("type", .word("tool_use")), .must("id", .string), .must("name", .string), .must("input", .object))
  private static let result = Schema.record(
    .must("type", .word("tool_result")), .must("tool_use_id", .string),
    .may("content", .either(.string, .list(.either(text, image))).called("a string or an array of blocks")),
    .may("is_error", .boolean))

  private static func content(_ blocks: Schema) -> Schema {
    .either(.string, .list(blocks)).called("a string or an array of blocks")
  }

  static let message = Schema.named(
    "Message",
    .either(
      .record(.must("role", .word("user")), .must("content", content(.either(text, image, result)))),
      .record(.must("role", .word("assistant")), .must("content", content(.either(text, thinking, use))))
    ).called("{role, content}"))

  static let tool = Schema.record(
    .must("name", .text(1...128)), .may("type", .word("custom")), .may("description", .string),
    .must("input_schema", .object.about("A JSON schema.")))
  private static let choice = Schema.either(
    .record(.must("type", .word("auto", "any", "none")), .may("disable_parallel_tool_use", .boolean)),
    .record(
      .must("type", .word("tool")), .must("name", .string), .may("disable_parallel_tool_use", .boolean)))

  private static let common: [Schema.Member] = [
    .must("model", OpenAIForms.model),
    .must("messages", .list(message, 1...Int.max).called("an array of at least one {role, content}")),
    .may("system", .either(.string, .list(text)).called("a string or an array of text blocks")),
    .may("tools", .list(tool, 0...128)), .may("tool_choice", choice),
    .may(
      "thinking",
      .either(
        .record(.must("type", .word("enabled")), .must("budget_tokens", .integer(1...Int64(Int32.max)))),
        .record(.must("type", .word("disabled", "adaptive"))))),
    .may(
      "output_config",
      .record(.may("format", .record(.must("type", .word("json_schema")), .must("schema", .object))))),
    .may("mcp_servers", .list(.anything, 0...0).called("empty: this box calls no servers")),
    .may("container", .refused("this box has no containers")),
  ]

  static let request = Schema.named(
    "MessageRequest",
    .record(
      common + [
        .must("max_tokens", .integer(1...Int64(Int32.max))), .may("stream", .boolean),
        .may("stop_sequences", .list(.text(1...Int.max), 0...16)), .may("temperature", .number(0...1)),
        .may("top_p", .number(0...1)), .may("top_k", .integer(0...Int64(Int32.max))),
        .may("metadata", .record(.may("user_id", .string))),
      ]))

  static let count = Schema.named("MessageTokenCountRequest", .record(common))
}
