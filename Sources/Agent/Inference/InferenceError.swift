/// Why there is no engine to ask.
enum InferenceError: Error, Sendable, Hashable, CustomStringConvertible {
  /// It ended while it started; with its last words.
  case notStarted(model: String, lastWords: String)
  /// It was not ready in time.
  case tooSlow(model: String, seconds: Int, lastWords: String)
  /// It failed again and again, and is left alone for a while.
  case resting(model: String, seconds: Int, lastWords: String, failures: Int)
  /// There is no room for it among the engines that run, in bytes; `by`: who has it.
  case noMemory(model: String, needed: UInt64, budget: UInt64, used: UInt64, free: UInt64, by: [String])
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
    case .resting(let model, let seconds, let words, let failures):
      "the engine for \(model) failed \(failures) times in a row and is left alone; the next try is in \(seconds) "
        + "seconds. Its last words: \(words)"
    case .noMemory(let model, let needed, let budget, let used, let free, let others):
      InferenceError.noRoom(model, needed: needed, budget: budget, used: used, free: free, others)
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

  /// What programs know it by.
  var code: String {
    switch self {
    case .noMemory: "insufficient_memory"
    case .resting(_, _, _, let failures) where failures >= EngineBreaker.loop: "engine_crash_loop"
    case .notStarted, .tooSlow, .resting, .noProgram, .noAdapter, .noSandbox, .tampered, .stopping:
      "engine_unavailable"
    }
  }

  /// When it is worth asking again, in seconds.
  var retryAfter: Int? {
    switch self {
    case .resting(_, let seconds, _, _): seconds
    case .stopping: 5
    case .noMemory(_, let needed, let budget, _, _, _): needed > budget ? 300 : 10
    case .notStarted, .tooSlow, .noProgram, .noAdapter, .noSandbox, .tampered: nil
    }
  }

  /// Whether it speaks of the engine itself, and not of what keeps it from being started.
  var isEngines: Bool {
    switch self {
    case .notStarted, .tooSlow, .tampered, .noProgram, .noAdapter, .noSandbox: true
    case .resting, .noMemory, .stopping: false
    }
  }

  var lastWords: String {
    switch self {
    case .notStarted(_, let words), .tooSlow(_, _, let words), .resting(_, _, let words, _): words
    case .noProgram, .noAdapter, .noSandbox, .noMemory, .tampered, .stopping: description
    }
  }

  private static func noRoom(
    _ model: String, needed: UInt64, budget: UInt64, used: UInt64, free: UInt64, _ others: [String]
  ) -> String {
    func mib(_ bytes: UInt64) -> String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }
    let what = "the engine for \(model) may take \(mib(needed))"
    let plan = "skerry model plan \(model) tells what for"
    if needed > budget {
      return "\(what), more than the \(mib(budget)) that engines may have together: lower its contextTokens, slots or "
        + "promptCacheMiB, or raise engine.memoryMiB; \(plan)"
    }
    if used > budget - needed {
      return "\(what), and of the \(mib(budget)) that engines may have \(mib(used)) are taken by engines that are "
        + "answering or loading (\(others.joined(separator: ", "))): ask again when they have answered, or raise "
        + "engine.memoryMiB; \(plan)"
    }
    return "\(what), and this host has only \(mib(free)) free: end other programs or lower its contextTokens, slots or "
      + "promptCacheMiB; \(plan)"
  }
}
