extension APIDocument {
  private static let usage = Schema.named(
    "Usage",
    .record(
      .must("prompt_tokens", .count), .must("completion_tokens", .count), .must("total_tokens", .count)))
  private static let model = Schema.named(
    "Model",
    .record(
      .must("id", .string), .may("object", .word("model")), .may("created", .integer), .may("owned_by", .string)))
  private static let logprobs = Schema.orNull(.object)
  private static let call = Schema.record(
    .must("id", .string), .must("type", .word("function")),
    .must("function", .record(.must("name", .string), .must("arguments", .string))))

  private static let chat = Schema.named(
    "ChatCompletion",
    .record(
      .must("id", .string), .must("object", .word("chat.completion")), .must("created", .integer),
      .must("model", .string),
      .must(
        "choices",
        .list(
          .record(
            .must("index", .count), .must("finish_reason", .orNull(.string)), .must("logprobs", logprobs),
            .must(
              "message",
              .record(
                .must("role", .word("assistant")), .must("content", .orNull(.string)),
                .may("tool_calls", .list(call))))))),
      .must("usage", .orNull(usage))))
  private static let completion = Schema.named(
    "Completion",
    .record(
      .must("id", .string), .must("object", .word("text_completion")), .must("created", .integer),
      .must("model", .string),
      .must(
        "choices",
        .list(
          .record(
            .must("index", .count), .must("finish_reason", .orNull(.string)), .must("logprobs", logprobs),
            .must("text", .string)))),
      .must("usage", .orNull(usage))))
  private static let embeddings = Schema.named(
    "Embeddings",
    .record(
      .must("object", .word("list")), .must("model", .string),
      .must(
        "data",
        .list(
          .record(
            .must("object", .word("embedding")), .must("index", .count),
            .must(
              "embedding",
              .either(.list(.number), .string.about("Base64 of 32-bit floats, little-endian.")))))),
      .must("usage", .record(.must("prompt_tokens", .count), .must("total_tokens", .count)))))
  private static let response = Schema.named(
    "Response",
    .record(
      .must("id", .string), .must("object", .word("response")), .must("created_at", .integer),
      .must("status", .word("completed", "incomplete", "in_progress", "failed")), .must("model", .string),
      .must(
        "output", .list(.record(.must("id", .string), .must("type", .word("message", "reasoning", "function_call"))))),
      .must("store", .boolean), .must("usage", .orNull(.object))))

  static let openAI: [APIOperation] = [
    APIOperation(
      method: "GET", path: "/v1/models", summary: "The models that the caller may know of.",
      answers: [.json(.record(.must("data", .list(model))))]),
    APIOperation(method: "GET", path: "/v1/models/{id}", summary: "One model.", answers: [.json(model)]),
    APIOperation(
      method: "POST", path: "/v1/chat/completions", summary: "An answer to a conversation.", body: OpenAIForms.chat,
      answers: [.json(chat), .events]),
    APIOperation(
      method: "POST", path: "/v1/completions", summary: "How a text goes on.", body: OpenAIForms.completion,
      answers: [.json(completion), .events]),
    APIOperation(
      method: "POST", path: "/v1/embeddings", summary: "Vectors of texts.", body: OpenAIForms.embedding,
      answers: [.json(embeddings)]),
    APIOperation(
      method: "POST", path: "/v1/responses", summary: "An answer in items; it is not kept.",
      body: ResponsesForms.request, answers: [.json(response), .events]),
    APIOperation(
      method: "POST", path: "/v1/responses/input_tokens", summary: "How many tokens a request would take.",
      body: ResponsesForms.request,
      answers: [.json(.record(.must("object", .word("response.input_tokens")), .must("input_tokens", .count)))]),
    APIOperation(
      method: "GET", path: "/v1/responses/{id}", summary: "Not found: responses are not kept.", answers: []),
    APIOperation(
      method: "DELETE", path: "/v1/responses/{id}", summary: "Not found: responses are not kept.", answers: []),
  ]

  static let anthropic: [APIOperation] = [
    APIOperation(
      method: "POST", path: "/v1/messages", summary: "An answer to a conversation, in Anthropic's form.",
      body: AnthropicForms.request,
      answers: [
        .json(
          .named(
            "MessageAnswer",
            .record(
              .must("id", .string), .must("type", .word("message")), .must("role", .word("assistant")),
              .must("model", .string),
              .must("content", .list(.record(.must("type", .word("text", "thinking", "tool_use"))))),
              .must("stop_reason", .orNull(.word("end_turn", "max_tokens", "stop_sequence", "tool_use"))),
              .must("stop_sequence", .orNull(.string)),
              .must("usage", .record(.must("input_tokens", .count), .must("output_tokens", .count)))))), .events,
      ]),
    APIOperation(
      method: "POST", path: "/v1/messages/count_tokens", summary: "How many tokens a conversation takes.",
      body: AnthropicForms.count, answers: [.json(.record(.must("input_tokens", .count)))]),
  ]
}
