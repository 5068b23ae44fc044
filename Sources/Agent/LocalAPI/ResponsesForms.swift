/// What a request of OpenAI's `/v1/responses` looks like.
enum ResponsesForms {
  private static let part = Schema.either(
    .record(.must("type", .word("input_text", "output_text")), .must("text", .string)),
    .record(.must("type", .word("refusal")), .must("refusal", .string)),
    .record(.must("type", .word("input_image")), .must("image_url", .string)).about(
      "Refused by models that have no eyes."))
  private static let content = Schema.either(.string, .list(part, 1...Int.max))
    .called("a string or an array of parts")

  private static let message = Schema.record(
    .may("type", .word("message")), .must("role", .word("user", "assistant", "system", "developer")),
    .must("content", content))
  private static let call = Schema.record(
    .must("type", .word("function_call")), .must("call_id", .string), .must("name", .string),
    .must("arguments", .string))
  private static let output = Schema.record(
    .must("type", .word("function_call_output")), .must("call_id", .string), .must("output", content))
  private static let reasoning = Schema.record(.must("type", .word("reasoning"))).about("Not shown to the model again.")
  static let item = Schema.named("ResponseInputItem", .either(message, call, output, reasoning))

  static let tool = Schema.record(
    .must("type", .word("function")), .must("name", .text(1...64)), .may("description", .string),
    .may("parameters", .object.about("A JSON schema.")), .may("strict", .boolean))
  private static let choice = Schema.either(
    .word("none", "auto", "required"), .record(.must("type", .word("function")), .must("name", .string)))
  private static let format = Schema.either(
    .record(.must("type", .word("text"))), .record(.must("type", .word("json_object"))),
    .record(
      .must("type", .word("json_schema")), .may("name", .text(1...64)), .must("schema", .object),
      .may("strict", .boolean), .may("description", .string)))

  static let request = Schema.named(
    "ResponseRequest",
    .record(
      .must("model", OpenAIForms.model),
      .must("input", .either(.string, .list(item, 1...Int.max)).called("a string or an array of items")),
      .may("instructions", .string), .may("max_output_tokens", .integer(1...Int64(Int32.max))),
      .may("temperature", .number(0...2)), .may("top_p", .number(0...1)), .may("stream", .boolean),
      .may("tools", .list(tool, 0...128)), .may("tool_choice", choice), .may("parallel_tool_calls", .boolean),
      .may("text", .record(.may("format", format), .may("verbosity", .word("medium")))),
      .may(
        "reasoning",
        .record(
          .may("effort", .word("none", "minimal", "low", "medium", "high", "xhigh")),
          .may("summary", .refused("nothing sums up what the model thinks")))),
      .may("metadata", .map(.string)), .may("user", .string), .may("truncation", .word("disabled")),
      .may("include", .list(.string, 0...0).called("empty: nothing more can be included")),
      .may("store", .never("responses are not kept on this box")),
      .may("background", .never("responses are not kept on this box")),
      .may("top_logprobs", .integer(0...0).called("0: use /v1/chat/completions for log probabilities")),
      .may(
        "previous_response_id", .refused("responses are not kept on this box; send the whole conversation as input")),
      .may("conversation", .refused("conversations are not kept on this box; send the whole conversation as input")),
      .may("prompt", .refused("prompts are not kept on this box"))))
}
