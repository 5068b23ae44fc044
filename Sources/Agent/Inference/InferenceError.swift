/// Why there is no engine to ask.
enum InferenceError: Error, Sendable, Hashable, CustomStringConvertible {
  /// It ended while it started; with its last words.
  case notStarted(model: String, lastWords: String)
  /// It was not ready in time.
  case tooSlow(model: String, seconds: Int, lastWords: String)
  /// It failed again and again, and is left alone for a while.
  case resting(model: String, seconds: Int, lastWords: String)
  case noProgram(path: String, remedy: String)
  /// The configuration names an adapter that nothing describes.
  case noAdapter(name: String, known: [String])
  case noSandbox(reason: String)
  /// Somebody touched its file after it was verified.
  case tampered(model: String, reason: String)
  /// The agent is ending.
  case stopping

  var description: String {
    switch self {
    case .notStarted(let model, let words): "the engine for \(model) did not start: \(words)"
    case .tooSlow(let model, let seconds, let words):
      "the engine for \(model) was not ready within \(seconds) seconds; raise engine.startSeconds or choose a smaller "
        + "model. Its last words: \(words)"
    case .resting(let model, let seconds, let words):
      "the engine for \(model) failed again and again; the next try is in \(seconds) seconds. Its last words: \(words)"
    case .noProgram(let path, let remedy): "there is no engine at \(path); \(remedy)"
    case .noAdapter(let name, let known):
      "no engine is called \"\(name)\"; there are \(known.joined(separator: ", "))"
    case .noSandbox(let reason):
      "the configuration wants the engine in a sandbox and this host allows none: \(reason)"
    case .tampered(let model, let reason):
      "the engine for \(model) was ended before it answered: \(reason); find out who did, then ask again"
    case .stopping: "the agent is stopping"
    }
  }

  /// When it is worth asking again, in seconds.
  var retryAfter: Int? {
    switch self {
    case .resting(_, let seconds, _): seconds
    case .stopping: 5
    case .notStarted, .tooSlow, .noProgram, .noAdapter, .noSandbox, .tampered: nil
    }
  }
}
