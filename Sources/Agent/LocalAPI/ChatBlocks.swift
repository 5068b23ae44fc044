import Trust

/// A chat's answer as a row of blocks: what was thought, what was said, what is to be called. OpenAI's responses and
/// Anthropic's messages are made of such blocks, streamed or whole.
struct ChatBlocks: Sendable {
  enum Kind: Sendable, Hashable {
    case thought, text
    case call(id: String, name: String)
  }

  struct Block: Sendable {
    let kind: Kind
    /// What was thought or said, or a call's arguments as JSON text.
    var text = ""
  }

  enum Event: Sendable {
    case begin(Int, Kind)
    case piece(Int, String)
    case end(Int)
  }

  private(set) var blocks: [Block] = []
  /// stop, length or tool_calls; nil while the answer goes on.
  private(set) var finish: String?
  /// The stop sequence that ended the answer.
  private(set) var stoppedAt: String?
  private(set) var sum: UsageSum
  private var isOpen = false
  private var call: Int64?
  private var size = 0
  private let newID: @Sendable () -> String

  /// No answer has more parts.
  private static let most = 4096

  init(_ shape: AnswerShape, newID: @escaping @Sendable () -> String = { RandomID.make("call") }) {
    sum = UsageSum(.chat, shape)
    self.newID = newID
  }

  /// What a chunk brings. Throws when the engine says more than anybody waits for.
  mutating func read(_ chunk: JSONValue, bytes: Int = 0) throws(APIFailure) -> [Event] {
    size += bytes
    guard size <= Aggregation.longest, blocks.count <= ChatBlocks.most else { throw .overlong }
    sum.add(chunk)
    if let word = chunk["__verbose"]?["stopping_word"]?.string, !word.isEmpty { stoppedAt = word }
    var events: [Event] = []
    for choice in chunk["choices"]?.array ?? [] where choice["index"]?.integer ?? 0 == 0 {
      let delta = choice["delta"]
      if let text = delta?["reasoning_content"]?.string, !text.isEmpty { events += add(text, to: .thought) }
      if let text = delta?["content"]?.string, !text.isEmpty { events += add(text, to: .text) }
      for call in delta?["tool_calls"]?.array ?? [] { events += add(call) }
      if let reason = choice["finish_reason"]?.string { finish = reason }
    }
    return events
  }

  /// The end of the last block.
  mutating func close() -> [Event] {
    defer { isOpen = false }
    return isOpen ? [.end(blocks.count - 1)] : []
  }

  private mutating func add(_ text: String, to kind: Kind) -> [Event] {
    var events: [Event] = []
    if !isOpen || blocks.last?.kind != kind { events = begin(kind) }
    blocks[blocks.count - 1].text += text
    return events + [.piece(blocks.count - 1, text)]
  }

  private mutating func add(_ delta: JSONValue) -> [Event] {
    let index = delta["index"]?.integer ?? 0
    var events: [Event] = []
    if !isOpen || call != index {
      let id = delta["id"]?.string.flatMap { $0.isEmpty ? nil : $0 } ?? newID()
      events = begin(.call(id: id, name: delta["function"]?["name"]?.string ?? ""))
      call = index
    }
    guard let text = delta["function"]?["arguments"]?.string, !text.isEmpty else { return events }
    blocks[blocks.count - 1].text += text
    return events + [.piece(blocks.count - 1, text)]
  }

  private mutating func begin(_ kind: Kind) -> [Event] {
    let ended = close()
    blocks.append(Block(kind: kind))
    isOpen = true
    call = nil
    return ended + [.begin(blocks.count - 1, kind)]
  }
}

/// Names that nobody guesses, in OpenAI's and Anthropic's habit.
enum RandomID {
  static func make(_ prefix: String) -> String {
    var bytes: [UInt8] = []
    for _ in 0..<2 { withUnsafeBytes(of: UInt64.random(in: 0 ... .max)) { bytes += $0 } }
    return "\(prefix)_\(Hex.encode(bytes))"
  }
}

extension InferenceDesk.Answer {
  /// The whole answer in blocks, for a caller who wants no stream; on record before it is handed out.
  func blocks() async throws -> ChatBlocks {
    var whole = ChatBlocks(shape)
    do {
      try await forEachEvent { events in
        for event in events {
          if let chunk = event.chunk { _ = try whole.read(chunk, bytes: event.bytes.count) }
        }
      }
    } catch {
      try await fail(error)
    }
    _ = whole.close()
    try await record.finish(.completed)
    return whole
  }

  /// The one document of an answer that is not streamed, its counts noted; on record before it is handed out.
  func document(upTo limit: Int, check: (JSONValue) throws -> Void = { _ in }) async throws -> JSONValue {
    do {
      defer { lease.end() }
      let document = try JSONValue(parsing: try await stream.collect(upTo: limit))
      if let usage = EngineUsage(chunk: document) { record.note(usage) }
      try check(document)
      try await record.finish(.completed)
      return document
    } catch let error as JSONSyntaxError {
      try await fail(APIFailure(status: 502, code: "engine_error", message: "the engine's answer is no JSON: \(error)"))
    } catch {
      try await fail(error)
    }
  }
}
