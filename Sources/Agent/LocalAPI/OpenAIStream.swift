import Trust

/// Makes OpenAI's stream out of the engine's. Pieces go through as bytes, unread; what the engine counts for each choice
/// comes as one chunk at the end.
struct OpenAIStream: Sendable {
  private var sum: UsageSum
  private var head: [String: JSONValue] = [:]

  init(_ endpoint: InferenceRequest.Endpoint, _ shape: AnswerShape) {
    sum = UsageSum(endpoint, shape)
  }

  /// What of these events is for the client.
  mutating func pass(_ events: [EngineEvent]) -> [UInt8] {
    var bytes: [UInt8] = []
    for event in events {
      switch event.kind {
      case .piece, .ping: bytes += event.bytes
      case .usage(let isBare):
        guard let chunk = event.chunk else { break }
        note(chunk)
        guard !isBare, var members = chunk.object else { break }
        members["usage"] = nil
        bytes += EngineEvent.bytes(.object(members))
      case .done, .empty, .failure: break
      }
    }
    return bytes
  }

  private mutating func note(_ chunk: JSONValue) {
    sum.add(chunk)
    for key in ["id", "created", "model", "system_fingerprint", "object"] where chunk[key] != nil {
      head[key] = chunk[key]
    }
  }

  /// The chunk with all counts and no choices; empty when the engine gave none.
  var counts: [UInt8] {
    guard let usage = sum.usage else { return [] }
    var members = head
    members["choices"] = []
    members["usage"] = usage
    members["timings"] = sum.timings
    return EngineEvent.bytes(.object(members))
  }
}
