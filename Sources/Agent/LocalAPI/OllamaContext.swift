import Trust

/// The `context` of Ollama's “generate”: numbers that a client hands back to carry a conversation on. Ollama's are the
/// tokens of one model; these are the conversation itself, six bytes in each number, so that they mean the same to every
/// model and version. No client looks into them.
enum OllamaContext {
  /// The first number, so that tokens of another server are told apart.
  private static let mark: Int64 = 0x736B_7279_3031
  private static let width = 6

  static func encode(_ messages: [JSONValue]) -> JSONValue {
    let bytes = JSONValue.array(messages).encoded()
    var numbers = [mark, Int64(bytes.count)]
    for start in stride(from: 0, to: bytes.count, by: width) {
      numbers.append(bytes[start..<min(start + width, bytes.count)].reduce(0) { $0 << 8 | Int64($1) })
    }
    return .array(numbers.map(JSONValue.integer))
  }

  /// The messages; none when there is no context. Throws an `APIFailure` of status 400.
  static func decode(_ context: JSONValue?) throws(APIFailure) -> [JSONValue] {
    guard let context, context != .null, context != .array([]) else { return [] }
    guard let bytes = bytes(context), let messages = (try? JSONValue(parsing: bytes))?.array,
      messages.allSatisfy({ $0["role"]?.string != nil && $0["content"]?.string != nil })
    else {
      throw .badRequest(
        "\"context\" must be what an earlier answer of this box gave; another server's can't be carried on here",
        param: "context")
    }
    return messages
  }

  private static func bytes(_ context: JSONValue) -> [UInt8]? {
    guard let values = context.array, values.count >= 2 else { return nil }
    let numbers = values.compactMap(\.integer)
    let count = numbers.count >= 2 ? Int(clamping: numbers[1]) : -1
    guard numbers.count == values.count, numbers[0] == mark, count > 0, count <= (numbers.count - 2) * width,
      count > (numbers.count - 3) * width
    else { return nil }
    var bytes: [UInt8] = []
    for number in numbers.dropFirst(2) {
      let length = min(width, count - bytes.count)
      guard number >= 0, number >> (8 * Int64(length)) == 0 else { return nil }
      for place in (0..<length).reversed() { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * Int64(place)))) }
    }
    return bytes
  }
}
