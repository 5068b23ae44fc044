import Trust

/// Checks members of a request; each complaint names the member and what it must be.
struct MemberCheck {
  let members: [String: JSONValue]

  init(_ members: [String: JSONValue]) { self.members = members }

  func wrong(_ name: String, _ allowed: String) -> APIFailure {
    members[name] == nil
      ? .badRequest("\"\(name)\" is missing; it must be \(allowed)")
      : .badRequest("\"\(name)\" must be \(allowed)")
  }

  func modelName() throws(APIFailure) -> String {
    guard let name = members["model"]?.string, !name.isEmpty, name.utf8.count <= 200 else {
      throw wrong("model", "the name of a model, a string")
    }
    return name
  }

  func one(of name: String, _ allowed: String, _ fits: (JSONValue) -> Bool) throws(APIFailure) -> JSONValue {
    guard let value = members[name], fits(value) else { throw wrong(name, allowed) }
    return value
  }

  func optional(_ name: String, _ allowed: String, _ fits: (JSONValue) -> Bool) throws(APIFailure) {
    if let value = members[name], value != .null, !fits(value) { throw wrong(name, allowed) }
  }

  func wholeNumbers(_ names: String...) throws(APIFailure) {
    for name in names { try optional(name, "a whole number") { $0.integer != nil } }
  }

  func numbers(_ names: String...) throws(APIFailure) {
    for name in names { try optional(name, "a number") { $0.number != nil } }
  }

  /// OpenAI's and Ollama's messages: at least one, each with a role, and content that is text, parts or absent.
  func messages() throws(APIFailure) -> JSONValue {
    guard let list = members["messages"]?.array, !list.isEmpty else {
      throw wrong("messages", "an array of at least one {role, content}")
    }
    for (position, message) in list.enumerated() {
      guard message["role"]?.string != nil else {
        throw .badRequest("\"messages[\(position)].role\" must be a string")
      }
      switch message["content"] {
      case nil, .null?, .string?, .array?: break
      default: throw .badRequest("\"messages[\(position)].content\" must be a string or an array of parts")
      }
    }
    return .array(list)
  }
}
