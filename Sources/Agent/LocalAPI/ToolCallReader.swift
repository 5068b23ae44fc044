import Trust

/// Reads the JSON text that a model writes under `InferenceRequest.writingCalls`: `{"tool_call": {"name": N, "arguments":
/// {…}}}` becomes a call of a tool, whose arguments stream on as they come, and `{"response": "…"}` becomes plain text.
struct ToolCallReader: Sendable {
  private enum State {
    /// Nobody can say yet which of the two it is.
    case undecided
    case response
    case arguments(depth: Int, isQuoted: Bool, isEscaped: Bool)
    case over
    /// Neither: the engine heeds no schema. It goes through as it is.
    case plain
  }

  private var state = State.undecided
  private var pending: [UInt8] = []
  /// Whether a whole call has been read.
  private(set) var hasCalled = false

  /// Longer than this is no beginning of either.
  private static let longestBeginning = 64 << 10

  /// The delta for the client instead of the engine's.
  mutating func read(_ delta: JSONValue) -> JSONValue {
    guard var members = delta.object, let text = delta["content"]?.string else { return delta }
    members["content"] = nil
    pending += text.utf8
    while true {
      switch state {
      case .undecided:
        guard let call = begin(&members) else { return .object(members) }
        if let call { members["tool_calls"] = [call] }
      case .response:
        members["content"] = .string((members["content"]?.string ?? "") + readString())
        return .object(members)
      case .arguments:
        let read = String(decoding: readArguments(), as: UTF8.self)
        if !read.isEmpty { members["tool_calls"] = .array([ToolCallReader.adding(read, to: members["tool_calls"])]) }
        return .object(members)
      case .plain:
        members["content"] = .string(String(decoding: pending, as: UTF8.self))
        pending = []
        return .object(members)
      case .over:
        pending = []
        return .object(members)
      }
    }
  }

  private static func adding(_ arguments: String, to calls: JSONValue?) -> JSONValue {
    var call = calls?.array?.first?.object ?? ["index": 0]
    var function = call["function"]?.object ?? [:]
    function["arguments"] = .string(arguments)
    call["function"] = .object(function)
    return .object(call)
  }

  /// Finds out which it is. Nil: more has to come. The call to announce is inside, if it is one.
  private mutating func begin(_ members: inout [String: JSONValue]) -> JSONValue?? {
    var scan = Scan(bytes: pending)
    switch scan.beginning() {
    case .unfinished:
      guard pending.count > ToolCallReader.longestBeginning else { return nil }
      state = .plain
      return .some(nil)
    case .neither:
      state = .plain
      return .some(nil)
    case .response:
      state = .response
      pending.removeFirst(scan.at)
      return .some(nil)
    case .call(let name):
      state = .arguments(depth: 0, isQuoted: false, isEscaped: false)
      pending.removeFirst(scan.at)
      return [
        "index": 0, "id": .string(RandomID.make("call")), "type": "function",
        "function": ["name": .string(name), "arguments": ""],
      ]
    }
  }

  /// Text up to the quote that ends it, unescaped; half an escape waits for its other half.
  private mutating func readString() -> String {
    var at = 0
    while at < pending.count, pending[at] != UInt8(ascii: "\"") {
      guard pending[at] == UInt8(ascii: "\\") else {
        at += 1
        continue
      }
      var length = 2
      if at + 1 < pending.count, pending[at + 1] == UInt8(ascii: "u") {
        length = 6
        // The first half of a surrogate pair (D8 to DB) needs the second.
        if at + 3 < pending.count, pending[at + 2] | 0x20 == UInt8(ascii: "d"),
          "89ab".utf8.contains(pending[at + 3] | 0x20)
        {
          length = 12
        }
      }
      guard at + length <= pending.count else { break }
      at += length
    }
    let text = RawJSON([UInt8(ascii: "\"")] + pending[..<at] + [UInt8(ascii: "\"")]).value.string
    let isOver = at < pending.count && pending[at] == UInt8(ascii: "\"")
    let read = text ?? String(decoding: pending[..<at], as: UTF8.self)
    pending.removeFirst(at)
    if isOver { state = .over }
    return read
  }

  /// The bytes of the arguments' object, as far as they are there.
  private mutating func readArguments() -> [UInt8] {
    guard case .arguments(var depth, var isQuoted, var isEscaped) = state else { return [] }
    var read: [UInt8] = []
    for byte in pending {
      read.append(byte)
      switch byte {
      case _ where isEscaped: isEscaped = false
      case UInt8(ascii: "\\") where isQuoted: isEscaped = true
      case UInt8(ascii: "\""): isQuoted.toggle()
      case _ where isQuoted: break
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        depth -= 1
        if depth <= 0 {
          hasCalled = true
          state = .over
          pending = []
          return read
        }
      default: break
      }
    }
    pending = []
    state = .arguments(depth: depth, isQuoted: isQuoted, isEscaped: isEscaped)
    return read
  }

  /// Looks at what a model began to write.
  private struct Scan {
    enum Beginning {
      case unfinished, neither, response
      case call(String)
    }

    let bytes: [UInt8]
    var at = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// Leaves `at` behind the quote of the response, or at the arguments.
    mutating func beginning() -> Beginning {
      guard let opened = take(UInt8(ascii: "{")) else { return .unfinished }
      guard opened else { return .neither }
      switch key() {
      case nil: return .unfinished
      case "response":
        guard let quoted = take(UInt8(ascii: "\"")) else { return .unfinished }
        return quoted ? .response : .neither
      case "tool_call":
        guard let opened = take(UInt8(ascii: "{")) else { return .unfinished }
        guard opened else { return .neither }
        return call()
      default: return .neither
      }
    }

    private mutating func call() -> Beginning {
      guard let first = key() else { return .unfinished }
      guard first == "name", let name = string() else { return first == "name" ? .unfinished : .neither }
      guard let comma = take(UInt8(ascii: ",")) else { return .unfinished }
      guard comma, let second = key() else { return comma ? .unfinished : .neither }
      guard second == "arguments" else { return .neither }
      skipSpace()
      guard at < bytes.count else { return .unfinished }
      return bytes[at] == UInt8(ascii: "{") ? .call(name) : .neither
    }

    private mutating func skipSpace() { while at < bytes.count, JSONText.isSpace(bytes[at]) { at += 1 } }

    /// Whether the next byte is this one; nil when it has not come.
    private mutating func take(_ byte: UInt8) -> Bool? {
      skipSpace()
      guard at < bytes.count else { return nil }
      guard bytes[at] == byte else { return false }
      at += 1
      return true
    }

    private mutating func string() -> String? {
      skipSpace()
      guard at < bytes.count else { return nil }
      guard bytes[at] == UInt8(ascii: "\"") else { return "" }
      var end = at + 1
      while end < bytes.count, bytes[end] != UInt8(ascii: "\"") { end += bytes[end] == UInt8(ascii: "\\") ? 2 : 1 }
      guard end < bytes.count else { return nil }
      defer { at = end + 1 }
      return RawJSON(bytes[at...end]).value.string ?? ""
    }

    /// A key and its colon.
    private mutating func key() -> String? {
      guard let key = string() else { return nil }
      guard let colon = take(UInt8(ascii: ":")) else { return nil }
      return colon ? key : ""
    }
  }
}
