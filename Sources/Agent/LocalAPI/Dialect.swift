import Trust

/// Each API has its own form for errors, which its clients know.
enum Dialect: Sendable {
  case openAI, anthropic, ollama, skerry

  init(path: String) {
    if path.hasPrefix("/v1/messages") {
      self = .anthropic
    } else if path == "/v1/systemone" {
      self = .ollama
    } else {
      self = path.hasPrefix("/v1/") ? .openAI : path.hasPrefix("/api/") ? .ollama : .skerry
    }
  }

  func body(_ failure: APIFailure) -> JSONValue {
    switch self {
    case .ollama:
      return ["error": .string(failure.hint.map { "\(failure.message); \($0)" } ?? failure.message)]
    case .skerry:
      var error: [String: JSONValue] = ["code": .string(failure.code), "message": .string(failure.message)]
      error["hint"] = failure.hint.map(JSONValue.string)
      return ["error": .object(error)]
    case .openAI:
      var error: [String: JSONValue] = [
        "code": .string(failure.code), "message": .string(failure.message),
        "type": .string(Dialect.openAIType(failure.status)), "param": failure.param.map(JSONValue.string) ?? .null,
      ]
      error["hint"] = failure.hint.map(JSONValue.string)
      return ["error": .object(error)]
    case .anthropic:
      // Its clients show the message alone.
      let message = failure.hint.map { "\(failure.message); \($0)" } ?? failure.message
      return [
        "type": "error",
        "error": [
          "type": .string(Dialect.anthropicType(failure.status)), "message": .string(message),
          "code": .string(failure.code),
        ],
      ]
    }
  }

  private static func openAIType(_ status: Int) -> String {
    switch status {
    case 401: "authentication_error"
    case 403: "permission_error"
    case 429: "rate_limit_error"
    case 400..<500: "invalid_request_error"
    default: "server_error"
    }
  }

  private static func anthropicType(_ status: Int) -> String {
    switch status {
    case 401: "authentication_error"
    case 403: "permission_error"
    case 404: "not_found_error"
    case 413: "request_too_large"
    case 429: "rate_limit_error"
    case 400..<500: "invalid_request_error"
    case 503: "overloaded_error"
    case 504: "timeout_error"
    default: "api_error"
    }
  }
}

extension APIFailure {
  /// OpenAI's and Anthropic's clients ask again by themselves after 409, 429 and 5xx, unless this header says that it is
  /// no use: nothing changes by itself within the minute for which they wait at most.
  var shouldRetry: Bool? {
    guard status == 409 || status == 429 || status >= 500 else { return nil }
    if let retryAfter { return retryAfter <= 60 ? nil : false }
    return [500, 502, 504].contains(status) ? nil : false
  }
}
