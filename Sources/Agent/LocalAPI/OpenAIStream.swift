import Trust

/// Makes OpenAI's stream out of the engine's. Pieces go through as bytes, unread, wherever nothing has to be mended in
/// them; what the engine counts for each choice comes as one chunk at the end.
struct OpenAIStream: Sendable {
  private let endpoint: InferenceRequest.Endpoint
  private let shape: AnswerShape
  private var sum: UsageSum
  private var offsets: [Int64: Int] = [:]
  private var head: [String: JSONValue] = [:]

  init(_ endpoint: InferenceRequest.Endpoint, _ shape: AnswerShape) {
    self.endpoint = endpoint
    self.shape = shape
    sum = UsageSum(endpoint, shape)
  }

  /// What of these events is for the client.
  mutating func pass(_ events: [EngineEvent]) -> [UInt8] {
    var bytes: [UInt8] = []
    for event in events {
      switch event.kind {
      case .piece where !shape.isMended, .ping: bytes += event.bytes
      case .piece:
        guard let chunk = event.chunk else { break }
        bytes += EngineEvent.bytes(shape.mended(chunk, &offsets))
      case .usage(let isBare):
        guard let chunk = event.chunk else { break }
        note(chunk)
        guard !isBare, var members = shape.mended(chunk, &offsets).object else { break }
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
