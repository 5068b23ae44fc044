import Trust
import Web

/// What an engine's own complaint means for the caller. llama-server answers 500 to much that is the request's fault;
/// clients would ask again and again.
enum EngineRefusal {
  /// The failure behind an answer that is not 200.
  static func failure(_ stream: ClientStream, _ endpoint: InferenceRequest.Endpoint) async -> APIFailure {
    let body = (try? await stream.collect(upTo: 64 << 10)) ?? []
    let error = (try? JSONValue(parsing: body))?["error"] ?? .null
    return failure(status: stream.status, error, endpoint)
  }

  static func failure(status: Int, _ error: JSONValue, _ endpoint: InferenceRequest.Endpoint) -> APIFailure {
    // vLLM and others put text where llama-server puts an object.
    let said = error["message"]?.string ?? error.string
    let message = said.map { String($0.prefix(1000)) } ?? "the engine answered \(status)"
    if isTooLong(error, message) {
      return APIFailure(
        status: 400, code: "context_length_exceeded", message: message,
        hint: "shorten the request, or give the model more context: models.NAME.contextTokens",
        param: endpoint.promptName)
    }
    switch status {
    case 429, 503:
      return APIFailure(status: 503, code: "engine_busy", message: "the engine is busy: \(message)", retryAfter: 1)
    case 501: return APIFailure(status: 501, code: "engine_cannot", message: "this engine can't do that: \(message)")
    case 404, 405:
      return APIFailure(
        status: 501, code: "engine_cannot", message: "this engine has nothing at \(endpoint.rawValue)")
    case 400..<500:
      return APIFailure(status: 400, code: "engine_refused", message: message, param: param(message))
    case _ where isAboutTheRequest(message):
      return APIFailure(status: 400, code: "engine_refused", message: message, param: param(message))
    default: return APIFailure(status: 502, code: "engine_error", message: "the engine answered: \(message)")
    }
  }

  /// The failure behind an error in the middle of a stream.
  static func failure(_ chunk: JSONValue) -> APIFailure {
    let message = chunk["error"]?["message"]?.string ?? chunk["message"]?.string ?? "no reason given"
    return APIFailure(status: 502, code: "engine_error", message: "the engine failed: \(message.prefix(1000))")
  }

  private static func isTooLong(_ error: JSONValue, _ message: String) -> Bool {
    error["type"] == "exceed_context_size_error"
      || message.hasPrefix("input (") && message.contains("is too large to process")
  }

  /// What llama-server says while it reads a request: before anything was computed, whatever the status.
  private static let readingComplaints = [
    "Failed to parse", "[json.exception", "image input is not supported", "audio input is not supported",
    "video input is not supported", "Unsupported", "\"prompt\"", "\"input\"", "Only ", "Cannot use", "Invalid ",
    "JSON schema", "Failed to initialize samplers", "Field '", "Unable to generate parser", "tools param",
    "Failed to apply", "Jinja", "Expected ", "Conversation roles",
  ]

  private static func isAboutTheRequest(_ message: String) -> Bool {
    readingComplaints.contains { message.hasPrefix($0) } || message.contains("template")
  }

  /// The member that the engine named.
  private static func param(_ message: String) -> String? {
    for (prefix, name) in [
      ("Failed to parse tools", "tools"), ("Failed to parse messages", "messages"), ("Prompt contains", "prompt"),
      ("JSON schema", "response_format"), ("Unable to generate parser", "response_format"),
      ("Failed to initialize samplers", "grammar"),
    ] where message.hasPrefix(prefix) {
      return name
    }
    guard message.hasPrefix("Field '") else { return nil }
    return message.dropFirst(7).firstIndex(of: "'").map { String(message.dropFirst(7)[..<$0]) }
  }
}

extension APIFailure {
  static func noEyes(_ model: String, param: String) -> APIFailure {
    APIFailure(
      status: 400, code: "no_eyes", message: "\(model) has no eyes: it reads text only, and \"\(param)\" is an image",
      param: param)
  }

  static let overlong = APIFailure(
    status: 502, code: "engine_error", message: "the engine's answer is longer than \(Aggregation.longest >> 20) MiB")
}
