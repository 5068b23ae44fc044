import Trust

/// How many tokens a request took and how long the engine worked on it, from its last chunk. Times in milliseconds.
struct EngineUsage: Sendable, Hashable {
  /// Those that came from the cache included.
  var promptTokens = 0
  var cachedTokens = 0
  var completionTokens = 0
  var promptMilliseconds = 0.0
  var completionMilliseconds = 0.0

  init() {}

  /// Nil when the chunk carries no counts.
  init?(chunk: JSONValue) {
    guard let usage = chunk["usage"], usage.object != nil else { return nil }
    promptTokens = EngineUsage.count(usage["prompt_tokens"])
    completionTokens = EngineUsage.count(usage["completion_tokens"])
    let cached = usage["prompt_tokens_details"]?["cached_tokens"] ?? chunk["timings"]?["cache_n"]
    cachedTokens = min(EngineUsage.count(cached), promptTokens)
    promptMilliseconds = EngineUsage.milliseconds(chunk["timings"]?["prompt_ms"])
    completionMilliseconds = EngineUsage.milliseconds(chunk["timings"]?["predicted_ms"])
  }

  // The engine may be in the hands of a hostile model file: numbers beyond reason would overflow in sums and conversions
  // and end the agent.
  private static func count(_ value: JSONValue?) -> Int { Int(clamping: min(max(value?.integer ?? 0, 0), 1 << 32)) }
  private static func milliseconds(_ value: JSONValue?) -> Double { min(max(value?.number ?? 0, 0), 1e12) }
}

/// One event of the engine's stream, whole, as its bytes stand on the wire.
struct EngineEvent: Sendable {
  enum Kind: Sendable, Hashable {
    /// A piece of the answer, or anything else that only goes through.
    case piece
    /// Carries the counts; `isBare` when it carries nothing else.
    case usage(isBare: Bool)
    case done
    case failure
    /// A comment that keeps the connection alive.
    case ping
    /// An event without a chunk: the engine begins some streams with `data: null`.
    case empty
  }
  let kind: Kind
  /// With the empty line that ends it.
  let bytes: [UInt8]

  /// The JSON after `data: `; nil when there is none.
  var chunk: JSONValue? {
    guard let start = bytes.firstIndex(of: UInt8(ascii: "{")) else { return nil }
    return try? JSONValue(parsing: bytes[start...])
  }

  /// A chunk as an event of its own.
  static func bytes(_ chunk: JSONValue) -> [UInt8] { Array("data: ".utf8) + chunk.encoded() + [0x0A, 0x0A] }
}

/// Cuts the engine's stream into events without parsing what goes through: only the chunk with the counts, which comes
/// once, is looked into. A quote inside a JSON string is escaped, so that `"usage":{` can only be the key.
struct EngineEventSplitter: Sendable {
  private var pending: [UInt8] = []
  /// More than this without the end of an event is no engine's stream.
  static let longest = 16 << 20

  /// The events that these bytes complete. Throws an `APIFailure` when an event never ends.
  mutating func push(_ bytes: [UInt8]) throws(APIFailure) -> [EngineEvent] {
    // The usual case: whole events and nothing pending.
    var from = max(0, pending.count - 1)
    pending += bytes
    var events: [EngineEvent] = []
    var start = 0
    while let end = EngineEventSplitter.end(pending, from: from) {
      let event = Array(pending[start..<end])
      events.append(EngineEvent(kind: EngineEventSplitter.kind(event), bytes: event))
      start = end
      from = end
    }
    if start > 0 { pending.removeFirst(start) }
    guard pending.count <= EngineEventSplitter.longest else {
      throw APIFailure(status: 502, code: "engine_error", message: "the engine sent an event without an end")
    }
    return events
  }

  private static func end(_ bytes: [UInt8], from: Int) -> Int? {
    var at = from
    while at + 1 < bytes.count {
      if bytes[at] == 0x0A, bytes[at + 1] == 0x0A { return at + 2 }
      at += 1
    }
    return nil
  }

  private static let usage = Array("\"usage\":{".utf8)
  private static let noChoices = Array("\"choices\":[]".utf8)

  private static func kind(_ event: [UInt8]) -> EngineEvent.Kind {
    if event.starts(with: "data: {\"error\"".utf8) || event.starts(with: "error:".utf8) { return .failure }
    if event.starts(with: "data: [DONE]".utf8) { return .done }
    if event.first == UInt8(ascii: ":") { return .ping }
    guard event.starts(with: "data: {".utf8) else { return .empty }
    if contains(event, usage) { return .usage(isBare: contains(event, noChoices)) }
    return .piece
  }

  static func contains(_ bytes: [UInt8], _ wanted: [UInt8]) -> Bool {
    guard let first = wanted.first, bytes.count >= wanted.count else { return false }
    return bytes.withUnsafeBufferPointer { bytes in
      for at in 0...(bytes.count - wanted.count) where bytes[at] == first {
        if bytes[at..<at + wanted.count].elementsEqual(wanted) { return true }
      }
      return false
    }
  }
}
