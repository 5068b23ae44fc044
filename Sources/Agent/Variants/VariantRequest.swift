import Models
import Trust

extension InferenceRequest {
  /// The request with what the variant adds: its words before the caller's, and its settings where the caller has none
  /// of their own. The rest stays as it was written; see `upstream`.
  func applying(_ variant: ModelVariant) -> InferenceRequest {
    guard let members = try? JSONValue(parsing: body).object else { return self }
    var added: [String: JSONValue] = [:]
    if endpoint != .embedding {
      let settings = GenerationOption.engineMembers(variant.parameters)
      let isLimited = ["max_tokens", "max_completion_tokens", "n_predict"].contains { members.has($0) }
      for (name, value) in settings where !members.has(name) && !(name == "max_tokens" && isLimited) {
        added[name] = value
      }
    }
    if endpoint == .chat, let messages = members["messages"]?.array {
      added["messages"] = variant.opening(messages)
    }
    guard !added.isEmpty else { return self }
    var changed = self
    changed.body = Array(RawJSON(body).replacing(added.mapValues { RawJSON($0) }).bytes)
    return changed
  }
}

extension [String: JSONValue] {
  fileprivate func has(_ name: String) -> Bool { (self[name] ?? .null) != .null }
}

extension ModelVariant {
  /// The conversation with the variant's words before it. A caller's own system message takes the place of the variant's.
  fileprivate func opening(_ messages: [JSONValue]) -> JSONValue? {
    let isToldOtherwise = ["system", "developer"].contains(messages.first?["role"]?.string)
    var opening: [JSONValue] = []
    if let system, !isToldOtherwise { opening.append(["role": "system", "content": .string(system)]) }
    let spoken = messagesJSON.array ?? []
    guard !opening.isEmpty || !spoken.isEmpty else { return nil }
    if isToldOtherwise { return .array(messages.prefix(1) + spoken + messages.dropFirst()) }
    return .array(opening + spoken + messages)
  }
}
