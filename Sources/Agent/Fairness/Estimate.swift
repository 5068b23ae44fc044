import Trust

extension InferenceRequest {
  /// Tokens of an answer whose caller set no bound, as long as nobody knows better.
  static let expectedTokens = 256

  /// How many tokens it will take at most, as far as can be told before it has begun: a token is about four bytes, and an
  /// answer as long as it may be.
  var expectedTokens: Int {
    let prompt = max(1, body.count / 4)
    guard endpoint.isStreamed else { return endpoint == .embedding ? prompt : 1 }
    let answer = min(answerBound ?? InferenceRequest.expectedTokens, 1 << 24)
    return prompt + answer * min(max(1, shape.choices), 128) * prompts
  }

  /// How many of the engine's slots it takes.
  var width: Int { endpoint == .count ? 1 : max(1, shape.choices) * prompts }

  private var prompts: Int {
    guard endpoint == .completion || endpoint == .embedding, let list = prompt.array,
      list.contains(where: { $0.integer == nil })
    else { return 1 }
    return max(1, list.count)
  }

  /// The largest of the bounds in the body; nil when there is none. What is quoted in a prompt has its quotes escaped and
  /// is not found.
  private var answerBound: Int? {
    ["\"max_tokens\"", "\"max_completion_tokens\"", "\"n_predict\""].compactMap { number(after: Array($0.utf8)) }.max()
  }

  private func number(after name: [UInt8]) -> Int? {
    body.withUnsafeBufferPointer { body -> Int? in
      guard body.count > name.count else { return nil }
      for start in 0..<(body.count - name.count) where body[start] == name[0] && body[start + 1] == name[1] {
        guard body[start..<start + name.count].elementsEqual(name) else { continue }
        var at = start + name.count
        while at < body.count, JSONText.isSpace(body[at]) || body[at] == UInt8(ascii: ":") { at += 1 }
        var value = 0
        let first = at
        while at < body.count, at - first < 9, (0x30...0x39).contains(body[at]) {
          value = value * 10 + Int(body[at] - 0x30)
          at += 1
        }
        if at > first { return value }
      }
      return nil
    }
  }
}
