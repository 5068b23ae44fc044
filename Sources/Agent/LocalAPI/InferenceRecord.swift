import Host
import Synchronization
import Trust

/// The audit record of one inference: who, which model, how much, how long, how it ended, and a keyed digest of what
/// was asked. Never what was asked or answered.
///
/// It is written once. A request whose caller went before anything could be said is recorded all the same, when the
/// last reference goes.
final class InferenceRecord: Sendable {
  enum Outcome: String, Sendable {
    case completed, failed
    /// The caller hung up.
    case cancelled
  }

  private struct State {
    var usage = EngineUsage()
    var pieces = 0
    var firstPiece: Duration?
    var isWritten = false
  }

  private let actor: String
  private let base: [String: JSONValue]
  private let startedAt = Clock.monotonic()
  private let state = Mutex(State())
  private let audit: AuditWriter
  private let counters: APICounters

  init(
    caller: String, api: String, model: EngineModel, promptDigest: String, audit: @escaping AuditWriter,
    counters: APICounters
  ) {
    actor = caller
    base = [
      "api": .string(api), "model": .string(model.name), "version": .string(model.version),
      "sha256": .string(model.sha256.hex), "prompt": .string(promptDigest),
    ]
    self.audit = audit
    self.counters = counters
  }

  var elapsed: Duration { Clock.monotonic() - startedAt }
  var usage: EngineUsage { state.withLock(\.usage) }

  /// A piece of the answer came from the engine.
  func notePiece() {
    state.withLock { state in
      state.pieces += 1
      if state.firstPiece == nil { state.firstPiece = Clock.monotonic() - startedAt }
    }
  }

  func note(_ usage: EngineUsage) { state.withLock { $0.usage = usage } }

  /// Writes the record; the second time it does nothing. Throws `AccessFailure.auditUnavailable`.
  func finish(_ outcome: Outcome, reason: String? = nil) async throws(AccessFailure) {
    guard let fields = close(outcome, reason: reason) else { return }
    do { try await audit("inference", actor, fields) } catch { throw .auditUnavailable("\(error)") }
  }

  private func close(_ outcome: Outcome, reason: String?) -> [String: JSONValue]? {
    let elapsed = elapsed
    return state.withLock { state -> [String: JSONValue]? in
      guard !state.isWritten else { return nil }
      state.isWritten = true
      // Without the engine's own count (the caller hung up), the pieces that went through are what is known.
      let completion = max(state.usage.completionTokens, outcome == .completed ? 0 : state.pieces)
      var fields = base
      fields["outcome"] = .string(outcome.rawValue)
      fields["promptTokens"] = .integer(Int64(state.usage.promptTokens))
      fields["completionTokens"] = .integer(Int64(completion))
      fields["milliseconds"] = .integer(Int64(elapsed / .milliseconds(1)))
      if let first = state.firstPiece { fields["firstTokenMilliseconds"] = .integer(Int64(first / .milliseconds(1))) }
      fields["reason"] = reason.map { .string(String($0.prefix(300))) }
      counters.count(outcome, promptTokens: state.usage.promptTokens, completionTokens: completion)
      return fields
    }
  }

  deinit {
    guard let fields = close(.cancelled, reason: "the caller had gone") else { return }
    let (audit, actor) = (audit, actor)
    Task { try? await audit("inference", actor, fields) }
  }
}

/// What `/skerry/v1/metrics` counts.
final class APICounters: Sendable {
  private struct State {
    var requests: [InferenceRecord.Outcome: Int] = [:]
    var promptTokens = 0
    var completionTokens = 0
    var responses: [Int: Int] = [:]
  }
  private let state = Mutex(State())

  func count(_ outcome: InferenceRecord.Outcome, promptTokens: Int, completionTokens: Int) {
    state.withLock { state in
      state.requests[outcome, default: 0] += 1
      state.promptTokens += promptTokens
      state.completionTokens += completionTokens
    }
  }

  func count(status: Int) { state.withLock { $0.responses[status, default: 0] += 1 } }

  /// In Prometheus' text format.
  var text: String {
    state.withLock { state in
      var lines = ["# TYPE skerry_inferences_total counter"]
      for (outcome, count) in state.requests.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        lines.append("skerry_inferences_total{outcome=\"\(outcome.rawValue)\"} \(count)")
      }
      lines += [
        "# TYPE skerry_prompt_tokens_total counter", "skerry_prompt_tokens_total \(state.promptTokens)",
        "# TYPE skerry_completion_tokens_total counter", "skerry_completion_tokens_total \(state.completionTokens)",
        "# TYPE skerry_http_responses_total counter",
      ]
      for (status, count) in state.responses.sorted(by: { $0.key < $1.key }) {
        lines.append("skerry_http_responses_total{status=\"\(status)\"} \(count)")
      }
      return lines.joined(separator: "\n") + "\n"
    }
  }
}
