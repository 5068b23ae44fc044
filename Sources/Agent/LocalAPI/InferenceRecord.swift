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
    var queued: Duration?
    var engine: String?
    var content: KeptContent?
    var isWritten = false
  }

  private let actor: String
  private let base: [String: JSONValue]
  private let startedAt: Duration
  private let ticket: Ticket
  private let model: String
  private let state = Mutex(State())
  private let audit: AuditWriter
  private let counters: APICounters

  /// - Parameters:
  ///   - ticket: ends with the record: the slot is given back, and what was used is counted.
  ///   - startedAt: when the request came.
  init(
    _ ticket: Ticket, api: String, model: EngineModel, variant: String? = nil, prompt: PromptDigester.Keyed,
    startedAt: Duration,
    audit: @escaping AuditWriter, counters: APICounters
  ) {
    self.ticket = ticket
    self.startedAt = startedAt
    self.model = model.name
    actor = ticket.caller
    var base: [String: JSONValue] = [
      "role": .string(ticket.role),
      "api": .string(api), "model": .string(model.name), "version": .string(model.version),
      "sha256": .string(model.sha256.hex), "prompt": .string(prompt.digest), "promptKey": .string(prompt.key),
    ]
    base["variant"] = variant.map(JSONValue.string)
    self.base = base
    self.audit = audit
    self.counters = counters
  }

  var elapsed: Duration { Clock.monotonic() - startedAt }
  var usage: EngineUsage { state.withLock(\.usage) }

  /// A piece of the answer came from the engine. Gives where the answer is kept, if a role asks for that.
  func notePiece() -> KeptContent? {
    state.withLock { state in
      state.pieces += 1
      if state.firstPiece == nil { state.firstPiece = Clock.monotonic() - startedAt }
      return state.content
    }
  }

  /// It is the request's turn at the engine.
  func noteTurn() { state.withLock { $0.queued = Clock.monotonic() - startedAt } }

  /// A role asks to keep what is asked and answered; the prompt is on disk.
  func note(_ content: KeptContent) { state.withLock { $0.content = content } }

  /// Which engine works on it.
  func note(_ engine: Engine) { state.withLock { $0.engine = engine.plan.adapter } }

  /// It came to nothing that belongs on record here: a limit said no, which is on record as such.
  func drop() {
    state.withLock { $0.isWritten = true }
    ticket.end(tokens: 0)
  }

  func note(_ usage: EngineUsage) { state.withLock { $0.usage = usage } }

  /// Writes the record; the second time it does nothing. Throws `AccessFailure.auditUnavailable`.
  func finish(_ outcome: Outcome, reason: String? = nil) async throws(AccessFailure) {
    guard let fields = close(outcome, reason: reason) else { return }
    do {
      try await InferenceRecord.write(fields, state.withLock(\.content), actor, audit)
    } catch { throw .auditUnavailable("\(error)") }
  }

  /// What is to be kept is on disk before the record that tells of it.
  private static func write(
    _ fields: [String: JSONValue], _ content: KeptContent?, _ actor: String, _ audit: AuditWriter
  ) async throws {
    guard let content else { return try await audit(.inference, actor, fields) }
    var (fields, problem) = (fields, (any Error)?.none)
    do { fields.merge(try await offPool { try content.finish() }) { _, new in new } } catch {
      fields["content"] = .string(content.place.description)
      fields["contentPrompt"] = .string(content.prompt.hex)
      fields["contentCut"] = true
      problem = error
    }
    try await audit(.inference, actor, fields)
    if let problem { throw problem }
  }

  private func close(_ outcome: Outcome, reason: String?) -> [String: JSONValue]? {
    let elapsed = elapsed
    let closed = state.withLock { state -> State? in
      guard !state.isWritten else { return nil }
      state.isWritten = true
      // Without the engine's own count (the caller hung up), the pieces that went through are what is known.
      state.usage.completionTokens = max(state.usage.completionTokens, outcome == .completed ? 0 : state.pieces)
      return state
    }
    guard let closed else { return nil }
    let usage = closed.usage
    ticket.end(tokens: usage.promptTokens + usage.completionTokens)
    counters.count(
      APICounters.Inference(
        model: model, role: ticket.role, outcome: outcome, usage: usage, queue: closed.queued,
        firstToken: closed.firstPiece, total: elapsed))
    var fields = base
    fields["outcome"] = .string(outcome.rawValue)
    fields["engine"] = closed.engine.map(JSONValue.string)
    fields["promptTokens"] = .integer(Int64(usage.promptTokens))
    fields["cachedTokens"] = .integer(Int64(usage.cachedTokens))
    fields["completionTokens"] = .integer(Int64(usage.completionTokens))
    fields["milliseconds"] = .integer(Int64(elapsed / .milliseconds(1)))
    if let queued = closed.queued { fields["queueMilliseconds"] = .integer(Int64(queued / .milliseconds(1))) }
    if let first = closed.firstPiece { fields["firstTokenMilliseconds"] = .integer(Int64(first / .milliseconds(1))) }
    fields["reason"] = reason.map { .string(String($0.prefix(300))) }
    return fields
  }

  deinit {
    guard let fields = close(.cancelled, reason: "the caller had gone") else { return }
    let (audit, actor, content) = (audit, actor, state.withLock(\.content))
    Task { try? await InferenceRecord.write(fields, content, actor, audit) }
  }
}
