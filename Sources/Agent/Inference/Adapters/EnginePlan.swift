import Models
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
  /// Tokens of prompts that are computed in one go: between two such pieces a request can be given up.
  var batchTokens = EnginePlan.usualBatch
  /// Copies of a slot's sliding windows to step back to, at most.
  var checkpoints = 4
  /// What the engine is expected to take, by its parts.
  var memory = EngineMemory()
  /// Why the settings are as they are, a sentence each.
  var reasons: [String] = []

  /// What is set aside for the engine, in bytes; 0: not estimated.
  var estimatedBytes: UInt64 { memory.most }

  static let usualBatch = 128
}
