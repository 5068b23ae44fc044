import Trust

/// How one engine is to be started: every setting resolved, nothing left to a default.
struct EnginePlan: Sendable, Hashable {
  /// What an engine guesses with, so that the model checks several tokens at a time.
  enum Speculation: Sendable, Hashable {
    case none
    /// Tokens that followed the same ones earlier in the prompt or the answer.
    case ngram
    /// A small model of the same vocabulary, by the digest of its file.
    case draft(Digest)
  }

  /// The name of the adapter; `EngineAdapters` has it.
  var adapter = LlamaServerAdapter.name
  /// Of each slot, in tokens.
  var contextTokens: Int
  /// Requests that are answered at the same time.
  var slots: Int
  /// 0: as many as the engine finds right.
  var threads: Int
  /// The most that is spent on remembered prompts.
  var promptCacheMiB: Int
  var speculation = Speculation.none
  /// Further arguments for the engine's program, as they stand.
  var arguments: [String] = []
  /// What the engine is expected to take, in bytes; 0: not estimated.
  var estimatedBytes: UInt64 = 0

  /// The largest context that a slot gets without being asked for: more costs memory that small boxes don't have.
  static let defaultContext = 4096
}

extension EnginePlan {
  /// What the configuration says for every model.
  init(_ model: EngineModel, _ configuration: AgentConfiguration.Engine) {
    let trained = model.contextLength > 0 ? model.contextLength : EnginePlan.defaultContext
    self.init(
      contextTokens: configuration.contextTokens > 0
        ? configuration.contextTokens : min(trained, EnginePlan.defaultContext),
      slots: configuration.slots, threads: configuration.threads, promptCacheMiB: configuration.promptCacheMiB,
      arguments: configuration.arguments)
  }
}
