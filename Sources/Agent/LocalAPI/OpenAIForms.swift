/// What OpenAI's requests look like: for the document, and for the check of what comes in.
enum OpenAIForms {
  static let model = Schema.text(1...200).called("the name of a model, a string")
    .about("A name as `/v1/models` lists it, or `name:version`.")

  // MARK: messages

  private static let text = Schema.record(.must("type", .word("text")), .must("text", .string))
  private static let image = Schema.record(
    .must("type", .word("image_url")),
    .must("image_url", .record(.must("url", .string), .may("detail", .word("auto", "low", "high"))))
  ).about("Refused by models that have no eyes.")
  private static let refusal = Schema.record(.must("type", .word("refusal")), .must("refusal", .string))
  private static let parts = Schema.list(.either(text, image, refusal), 1...Int.max)
  private static let content = Schema.either(.string, parts).called("a string or an array of parts")

  private static let call = Schema.record(
    .must("id", .string), .must("type", .word("function")),
    .must("function", .record(.must("name", .string), .must("arguments", .string))))

  private static let instruction = Schema.record(
    .must("role", .word("system", "developer", "user")), .must("content", content), .may("name", .string))
  private static let assistant = Schema.record(
    .must("role", .word("assistant")), .may("content", content), .may("name", .string), .may("refusal", .string),
    .may("tool_calls", .list(call)))
  private static let tool = Schema.record(
    .must("role", .word("tool")), .must("content", content), .must("tool_call_id", .string))
  static let message = Schema.named("ChatMessage", .either(instruction, assistant, tool).called("{role, content}"))

  // MARK: tools and formats

  static let function = Schema.record(
    .must("type", .word("function")),
    .must(
      "function",
      .record(
        .must("name", .text(1...64)), .may("description", .string),
        .may("parameters", .object.about("A JSON schema.")), .may("strict", .boolean))))
  private static let choice = Schema.either(
    .word("none", "auto", "required"),
    .record(.must("type", .word("function")), .must("function", .record(.must("name", .string)))))

  static let format = Schema.either(
    .record(.must("type", .word("text"))), .record(.must("type", .word("json_object"))),
    .record(
      .must("type", .word("json_schema")),
      .must(
        "json_schema",
        .record(
          .may("name", .text(1...64)), .must("schema", .object), .may("strict", .boolean),
          .may("description", .string)))))

  // MARK: requests

  private static let tokens = Schema.integer(1...Int64(Int32.max))
  private static let stop = Schema.either(.string, .list(.string, 0...16)).called("a string or an array of strings")
  private static let streaming: [Schema.Member] = [
    .may("stream", .boolean),
    .may(
      "stream_options",
      .record(.may("include_usage", .boolean), .may("include_obfuscation", .boolean)).about("Only with stream.")),
  ]
  private static let sampling: [Schema.Member] = [
    .may("temperature", .number(0...2)), .may("top_p", .number(0...1)),
    .may("presence_penalty", .number(-2...2)), .may("frequency_penalty", .number(-2...2)),
    .may("seed", .integer), .may("stop", stop),
    .may("n", .integer(1...128).about("At most as many as the engine has slots.")),
    .may("logit_bias", .map(.number(-100...100))), .may("user", .string), .may("lora", adapters),
  ]
  private static let adapters = Schema.list(
    .record(.may("name", .string), .may("digest", .string), .may("scale", .number(-100...100))), 0...16
  ).called("an array of {name: an adapter's name, or digest: its SHA-256, scale: a number}")
    .about("LoRA adapters of the model, for this request alone. The engine's own ids are not taken.")
  /// What is the engine's and not OpenAI's, and changes who is served how or what of it can be accounted for.
  private static let engineOwn: [Schema.Member] = [
    "id_slot", "n_cmpl", "n_predict", "n_probs", "response_fields", "sse_ping_interval", "return_progress",
    "chat_parser", "verbose",
  ].map { .may($0, .refused("it is a setting of the engine that callers may not make")) }

  static let chat = Schema.named(
    "ChatCompletionRequest",
    .record(
      [
        .must("model", model),
        .must("messages", .list(message, 1...Int.max).called("an array of at least one {role, content}")),
        .may("max_tokens", tokens), .may("max_completion_tokens", tokens), .may("logprobs", .boolean),
        .may("top_logprobs", .integer(0...20).about("Only with logprobs.")),
        .may("response_format", format),
        .may("tools", .list(function, 0...128)),
        .may("tool_choice", choice), .may("parallel_tool_calls", .boolean),
        .may("reasoning_effort", .word("none", "minimal", "low", "medium", "high", "xhigh")),
        .may("metadata", .map(.string)), .may("modalities", .list(.word("text"), 1...1)),
        .may("store", .never("answers are not kept on this box")),
        .may("audio", .refused("no model here speaks")),
        .may("web_search_options", .refused("models here don't reach the web")),
        .may("functions", .refused("use tools")), .may("function_call", .refused("use tool_choice")),
      ] + streaming + sampling + engineOwn))

  static let prompt = Schema.either(
    .string, .list(.string, 1...Int.max), .list(token, 1...Int.max), .list(.list(token, 1...Int.max), 1...Int.max)
  ).called("a string, an array of strings, an array of tokens or an array of such arrays")
  static let token = Schema.integer(0...Int64(Int32.max))

  static let completion = Schema.named(
    "CompletionRequest",
    .record(
      [
        .must("model", model), .must("prompt", prompt), .may("max_tokens", .integer(0...Int64(Int32.max))),
        .may("logprobs", .integer(0...20)),
        .may("echo", .never("the engine can't repeat the prompt")),
        .may("suffix", .refused("the engine fills no gaps")),
        .may("best_of", .integer(1...1).called("1: the engine does not choose between answers")),
      ] + streaming + sampling + engineOwn))

  static let embedding = Schema.named(
    "EmbeddingRequest",
    .record(
      .must("model", model),
      .must(
        "input",
        .either(
          .text(1...Int.max), .list(.text(1...Int.max), 1...2048), .list(token, 1...Int.max),
          .list(.list(token, 1...Int.max), 1...2048)
        ).called("a string, an array of strings, an array of tokens or an array of such arrays, none of them empty")),
      .may("encoding_format", .word("float", "base64")),
      .may("dimensions", .integer(1...Int64(Int32.max)).about("Only as many as the model has.")),
      .may("user", .string)))
}
