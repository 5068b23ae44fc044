extension APIDocument {
  private static func named(_ members: Schema.Member...) -> Schema {
    .record([.must("model", .text(1...200))] + members)
  }
  private static let models = Schema.record(
    .must(
      "models",
      .list(
        .record(
          .must("name", .string), .must("model", .string), .must("size", .count), .must("digest", .string),
          .must("details", .object)))))
  private static let line = Schema.record(
    .must("model", .string), .must("created_at", .string), .must("done", .boolean))
  private static let status = Schema.record(.must("status", .string))

  static let ollama: [APIOperation] = [
    APIOperation(
      method: "GET", path: "/", summary: "That there is a server.", answers: [.text()], needsCaller: false),
    APIOperation(
      method: "GET", path: "/api/version", summary: "The agent's version.",
      answers: [.json(.record(.must("version", .string)))], needsCaller: false),
    APIOperation(
      method: "GET", path: "/api/tags", summary: "The models that the caller may know of.", answers: [.json(models)]),
    APIOperation(
      method: "GET", path: "/api/ps", summary: "Those of them that are loaded.", answers: [.json(models)]),
    APIOperation(
      method: "POST", path: "/api/show", summary: "One model.", body: named(),
      answers: [.json(.record(.must("details", .object), .must("model_info", .object)))]),
    APIOperation(
      method: "POST", path: "/api/chat", summary: "An answer to a conversation; streamed unless stream is false.",
      body: named(
        .may("messages", .list(.record(.must("role", .string), .may("content", .string)))), .may("stream", .boolean)),
      answers: [.json(line), .lines]),
    APIOperation(
      method: "POST", path: "/api/generate", summary: "An answer to a prompt; streamed unless stream is false.",
      body: named(.may("prompt", .string), .may("system", .string), .may("stream", .boolean)),
      answers: [.json(line), .lines]),
    APIOperation(
      method: "POST", path: "/api/embed", summary: "Vectors of texts.",
      body: named(Schema.Member(name: "input", schema: .anything, isRequired: false)),
      answers: [.json(.record(.must("model", .string), .must("embeddings", .list(.list(.number)))))]),
    APIOperation(
      method: "POST", path: "/api/embeddings", summary: "The vector of one text.",
      body: named(.may("prompt", .string)),
      answers: [.json(.record(.must("embedding", .list(.number))))]),
    APIOperation(
      method: "POST", path: "/api/pull", summary: "Asks the fleet for a model, and obeys.",
      body: named(.may("stream", .boolean)), answers: [.json(status), .lines]),
    APIOperation(
      method: "POST", path: "/api/create", summary: "Makes a variant of a signed model.",
      body: named(.may("from", .string), .may("system", .string), .may("stream", .boolean)),
      answers: [.json(status), .lines]),
    APIOperation(
      method: "POST", path: "/api/copy", summary: "Gives a variant or a model a further name.",
      body: .record(.must("source", .text(1...200)), .must("destination", .text(1...200))),
      answers: [.json(.anything)]),
    APIOperation(
      method: "DELETE", path: "/api/delete", summary: "Deletes a variant.", body: named(), answers: [.json(.anything)]),
    APIOperation(method: "POST", path: "/api/push", summary: "Refused: publishing is the publisher's.", answers: []),
    APIOperation(
      method: "GET", path: "/api/blobs/{digest}", summary: "Not found: this box takes no files.", answers: []),
    APIOperation(
      method: "POST", path: "/api/blobs/{digest}", summary: "Refused: this box takes no files.", answers: []),
    APIOperation(method: "POST", path: "/api/web_search", summary: "Refused: this box searches nothing.", answers: []),
    APIOperation(method: "POST", path: "/api/web_fetch", summary: "Refused: this box fetches nothing.", answers: []),
    APIOperation(
      method: "POST", path: "/v1/systemone", summary: "Refused: no engine here answers such questions.", answers: []),
  ]
}
