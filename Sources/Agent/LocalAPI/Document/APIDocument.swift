import Trust

/// What the API's document says of one route. Each route has exactly one: a test walks the router.
struct APIOperation: Sendable {
  /// A value in the query.
  struct Query: Sendable {
    let name: String
    let schema: Schema
    var isRequired = false
    let summary: String
  }

  /// What comes back when all goes well, under one content type.
  struct Answer: Sendable {
    var status = 200
    let type: String
    let schema: Schema

    static func json(_ schema: Schema, status: Int = 200) -> Answer {
      Answer(status: status, type: "application/json", schema: schema)
    }
    static let events = Answer(
      type: "text/event-stream",
      schema: Schema.record(.must("data", .string)).about("Events, where the request asks for a stream.")
    )
    static let lines = Answer(
      type: "application/x-ndjson", schema: Schema.string.about("One JSON object a line."))
    static func text(_ type: String = "text/plain") -> Answer { Answer(type: type, schema: .string) }
    static func binary(_ type: String) -> Answer { Answer(type: type, schema: .string) }
  }

  let method: String
  /// As the router has it.
  let path: String
  let summary: String
  var query: [Query] = []
  /// The form of a JSON body.
  var body: Schema?
  /// The content type of a body that is no JSON.
  var bodyType: String?
  var isBodyOptional = false
  /// None: it is always refused.
  let answers: [Answer]
  /// Who may: false for what says nothing about the box.
  var needsCaller = true

  var id: String {
    let words = path.split { "/{}._-".contains($0) }.map { $0.prefix(1).uppercased() + $0.dropFirst() }
    return method.lowercased() + (words.isEmpty ? "Root" : words.joined())
  }
}

/// The OpenAPI 3.1 document of everything that the agent answers on the box.
enum APIDocument {
  /// One list for each API; a new route gets a line in one of them.
  static let operations = openAI + anthropic + ollama + skerry

  static func make() -> JSONValue {
    var writer = SchemaWriter()
    var paths: [String: [String: JSONValue]] = [:]
    for operation in operations {
      paths[operation.path, default: [:]][operation.method.lowercased()] = write(operation, &writer)
    }
    var responses: [String: JSONValue] = [:]
    for (name, schema) in errors {
      responses[name] = [
        "description": "Refused, or failed.",
        "content": ["application/json": ["schema": writer.write(.named("\(name)Body", schema))]],
      ]
    }
    return [
      "openapi": "3.1.0",
      "info": [
        "title": "Skerry on the box", "version": .string(agentVersion),
        "description":
          "OpenAI's, Anthropic's and Ollama's APIs for applications, and Skerry's own for its command line. On the Unix socket the caller is who the kernel says, on loopback TCP who holds a token.",
        "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
      ],
      "servers": [["url": "http://127.0.0.1:7433"]],
      "paths": .object(paths.mapValues { .object($0) }),
      "components": [
        "schemas": .object(writer.components), "responses": .object(responses),
        "securitySchemes": [
          "token": ["type": "http", "scheme": "bearer", "description": "skerry token create NAME --role chat"],
          "key": ["type": "apiKey", "in": "header", "name": "X-Api-Key"],
        ],
      ],
      "security": [["token": []], ["key": []]],
    ]
  }

  private static func write(_ operation: APIOperation, _ writer: inout SchemaWriter) -> JSONValue {
    let dialect = Dialect(path: operation.path)
    var members: [String: JSONValue] = [
      "operationId": .string(operation.id), "summary": .string(operation.summary), "tags": [.string(dialect.name)],
    ]
    if !operation.needsCaller { members["security"] = [] }
    var parameters: [JSONValue] = []
    for part in operation.path.split(separator: "/") where part.hasPrefix("{") {
      parameters.append([
        "name": .string(String(part.dropFirst().dropLast())), "in": "path", "required": true,
        "schema": ["type": "string", "minLength": 1],
      ])
    }
    for value in operation.query {
      parameters.append([
        "name": .string(value.name), "in": "query", "required": .bool(value.isRequired),
        "description": .string(value.summary), "schema": writer.write(value.schema),
      ])
    }
    if !parameters.isEmpty { members["parameters"] = .array(parameters) }
    if let body = operation.body {
      members["requestBody"] = [
        "required": .bool(!operation.isBodyOptional),
        "content": ["application/json": ["schema": writer.write(body)]],
      ]
    } else if let type = operation.bodyType {
      members["requestBody"] = [
        "required": true, "content": .object([type: ["schema": ["type": "string", "contentEncoding": "binary"]]]),
      ]
    }
    members["responses"] = .object(responses(operation, dialect, &writer))
    return .object(members)
  }

  private static func responses(
    _ operation: APIOperation, _ dialect: Dialect, _ writer: inout SchemaWriter
  ) -> [String: JSONValue] {
    var responses: [String: JSONValue] = [:]
    for status in Set(operation.answers.map(\.status)) {
      var content: [String: JSONValue] = [:]
      for answer in operation.answers where answer.status == status {
        content[answer.type] = ["schema": writer.write(answer.schema)]
      }
      responses[String(status)] = ["description": "What was asked for.", "content": .object(content)]
    }
    for status in statuses(operation) {
      responses[String(status)] = ["$ref": .string("#/components/responses/\(dialect.name)Error")]
    }
    return responses
  }

  /// What can go wrong at any route, and at one that takes a body, asks an engine or changes something.
  private static func statuses(_ operation: APIOperation) -> [Int] {
    var statuses = [400, 401, 403, 404, 405, 408, 414, 431, 500, 503, 504]
    if operation.method != "GET" { statuses += [409, 413, 415, 422, 429, 501, 502, 507] }
    if operation.path == "/metrics" || operation.path == "/" { statuses.removeAll { $0 == 404 } }
    return statuses
  }

  // MARK: errors

  private static let errors: [(String, Schema)] = [
    (
      "OpenAIError",
      .record(
        .must(
          "error",
          .record(
            .must("message", .string), .must("type", .string), .must("code", .string),
            .must("param", .orNull(.string)), .may("hint", .string))))
    ),
    (
      "AnthropicError",
      .record(
        .must("type", .word("error")),
        .must(
          "error", .record(.must("type", .string), .must("message", .string), .must("code", .string))))
    ),
    ("OllamaError", .record(.must("error", .string))),
    (
      "SkerryError",
      .record(
        .must("error", .record(.must("code", .string), .must("message", .string), .may("hint", .string))))
    ),
  ]
}

extension Dialect {
  var name: String {
    switch self {
    case .openAI: "OpenAI"
    case .anthropic: "Anthropic"
    case .ollama: "Ollama"
    case .skerry: "Skerry"
    }
  }
}
