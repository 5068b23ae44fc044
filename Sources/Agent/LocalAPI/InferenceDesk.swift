import Access
import Host
import Models
import Trust
import Web

/// Takes a checked request from an identified caller to the engine: decision, model, engine, stream.
struct InferenceDesk: Sendable {
  let access: AccessControl
  let registry: ModelRegistry
  let variants: VariantStore
  let inference: InferenceService
  let client: HTTPClient
  let digester: PromptDigester
  let content: ContentKeeper
  /// No content is kept for longer: the records that tell of it must be there.
  let contentDays: Int
  let audit: AuditWriter
  let counters: APICounters
  let gate: FairGate
  /// How many requests the model's engine answers at the same time.
  let slots: @Sendable (EngineModel) -> Int
  let clock: TrustedClock
  /// How many seconds an engine may be silent before it is given up.
  let patience: Int
  let templates = EngineTemplates()

  /// The engine's answer to a request, on its way.
  struct Answer: Sendable {
    let model: EngineModel
    let lease: EngineLease
    let record: InferenceRecord
    let stream: ClientStream
    /// How long it took to have an engine ready.
    let loading: Duration
    let endpoint: InferenceRequest.Endpoint
    let shape: AnswerShape
  }

  /// What a caller's word for a model means: the installed model that answers, and the variant whose words it is given.
  struct Admission: Sendable {
    let model: EngineModel
    let variant: ModelVariant?
    /// Nothing may leave the agent before it is settled.
    let decision: PendingDecision
  }

  /// The model that the caller may ask. The decision comes first: who may not know of a model is not told whether
  /// there is one. A variant may be asked by who may ask it and the model that it is made from. A request for what there
  /// is not is on record like any other refusal: once, and how often.
  func admit(_ caller: Caller, _ name: String, tokens: Int? = nil) async throws -> Admission {
    try await admit(caller, name, await variant(named: name), tokens: tokens)
  }

  /// The variant that a name stands for; nil for anything else.
  private func variant(named name: String) async -> ModelVariant? {
    guard let stored = variants.find(name) else { return nil }
    return await registry.unshadowed(stored)
  }

  private func admit(
    _ caller: Caller, _ name: String, _ variant: ModelVariant?, tokens: Int?
  ) async throws -> Admission {
    guard let variant else {
      let (model, decision) = try await answering(caller, name, tokens)
      return Admission(model: model, variant: nil, decision: decision)
    }
    try await access.authorize(caller, .infer, .model(ModelVariant.untagged(name)), tokens: tokens)
    do {
      let (model, decision) = try await answering(caller, variant.base, tokens)
      return Admission(model: model, variant: variant, decision: decision)
    } catch RegistryError.unknownModel {
      throw APIFailure.baseMissing(variant)
    }
  }

  private func answering(
    _ caller: Caller, _ name: String, _ tokens: Int?
  ) async throws -> (model: EngineModel, decision: PendingDecision) {
    let found: Result<InstalledModel, any Error>
    do { found = .success(try await registry.answering(name)) } catch { found = .failure(error) }
    var isVain = false
    if case .failure = found { isVain = true }
    let decision = try await access.permit(
      caller, .infer, .model(ModelVariant.untagged(name)), tokens: tokens, isVain: isVain)
    do { return (EngineModel(try found.get()), decision) } catch let error as RegistryError {
      // Who asks for what had to go has it back with the next sync.
      try await decision.settled()
      if case .evicted(let label) = error { try await registry.recall(label, by: caller.label) }
      throw error
    }
  }

  /// Has the model's engine ready, for as long as the lease is kept. Throws `RegistryError.stale` for a model that the
  /// signed policy lets answer no longer, whether or not its engine runs.
  func load(_ model: EngineModel, _ kind: EngineKind = .generate) async throws -> EngineLease {
    try await registry.demandUsable(model.label, at: clock.now())
    await registry.noteUse(model.sha256)
    return try await inference.acquire(model, kind)
  }

  /// Changes a request by what is known of the model that it is for.
  typealias Shaping = @Sendable (InferenceRequest, Admission) async throws -> InferenceRequest

  /// Sends the request to the engine; returns when it has begun to answer. Limits come first, before anything is on
  /// record; then the decision; then a place in the queue.
  func ask(
    _ request: InferenceRequest, _ caller: Caller, api: String, shaping: Shaping? = nil
  ) async throws -> Answer {
    let startedAt = Clock.monotonic()
    let variant = await self.variant(named: request.model)
    let ticket = try await gate.admit(
      caller, .model(ModelVariant.untagged(request.model)),
      base: variant.map { .model(ModelVariant.untagged($0.base)) }, tokens: request.expectedTokens)
    let admission = try await admit(caller, request.model, variant, tokens: request.expectedTokens)
    let model = admission.model
    let prompt = request.prompt.encoded()
    let record = InferenceRecord(
      ticket, api: api, model: model, variant: admission.variant?.name,
      prompt: try digest(prompt), startedAt: startedAt, audit: audit, counters: counters)
    do {
      var request = try await shaping?(request, admission) ?? request
      if let variant = admission.variant { request = request.applying(variant) }
      if let image = request.image { throw APIFailure.noEyes(model.name, param: image) }
      let choices = try await adapters(try AdapterChoice.wishes(request), caller, model, tokens: request.expectedTokens)
      let kind = request.endpoint == .embedding ? EngineKind.embed : .generate
      do {
        try await gate.enter(
          ticket, InferenceService.Key(sha256: model.sha256, kind: kind), slots: slots(model), width: request.width)
      } catch let failure as APIFailure {
        record.drop()
        throw failure
      }
      record.noteTurn()
      let turn = record.elapsed
      let lease = try await load(model, kind, with: choices)
      let loading = record.elapsed - turn
      record.note(lease.engine)
      if request.offersTools, !(await templates.knowTools(lease, client)) { request = try request.writingCalls(.may) }
      if let days = admission.decision.keepDays {
        record.note(
          try await content.keep(
            prompt, days: min(days, contentDays), of: caller.label, model: model, audit: audit))
      }
      let stream = try await open(request, model, lease, adding: lease.engine.numbers(of: choices) ?? [:])
      if !request.endpoint.isStreamed { lease.engine.noteAnswer() }
      // The engine worked meanwhile; the caller gets nothing of it before the decision is on record.
      try await admission.decision.settled()
      var shape = request.shape
      if lease.engine.requestName != model.name { shape.modelName = model.name }
      return Answer(
        model: model, lease: lease, record: record, stream: stream, loading: loading, endpoint: request.endpoint,
        shape: shape)
    } catch {
      let outcome = error is CancellationError ? InferenceRecord.Outcome.cancelled : .failed
      try await record.finish(outcome, reason: APIFailure.recordable(error))
      throw error
    }
  }

  private func digest(_ prompt: [UInt8]) throws(AccessFailure) -> PromptDigester.Keyed {
    do { return try digester.digest(prompt) } catch { throw .auditUnavailable("\(error)") }
  }

  private func open(
    _ request: InferenceRequest, _ model: EngineModel, _ lease: EngineLease, adding members: [String: JSONValue]
  ) async throws -> ClientStream {
    var upstream = lease.address.request(
      "POST", request.endpoint.rawValue, headers: ["Content-Type": "application/json"],
      body: request.upstream(alias: lease.engine.requestName, adding: members))
    // A long prompt on a slow box keeps the engine silent for long; a hung engine for ever.
    upstream.lowSpeed = (bytesPerSecond: 1, seconds: patience)
    upstream.maxResponseBytes = 1 << 30
    let stream: ClientStream
    do {
      do { stream = try await client.stream(upstream) } catch let error as HTTPClientError where error.retryable {
        // The engine closes connections that rested for five seconds; one that it is just closing fails the first time.
        guard lease.engine.process.isRunning else { throw InferenceDesk.lost(lease) }
        try Task.checkCancellation()
        stream = try await client.stream(upstream)
      }
    } catch let error as HTTPClientError {
      if error.kind == .cancelled || Task.isCancelled { throw CancellationError() }
      throw InferenceDesk.lost(lease)
    }
    guard stream.status == 200 else { throw await EngineRefusal.failure(stream, request.endpoint) }
    return stream
  }

  static func lost(_ lease: EngineLease) -> APIFailure {
    APIFailure(
      status: 503, code: "engine_lost",
      message: "the engine for \(lease.engine.model.label) ended while it answered", retryAfter: 1)
  }
}

extension InferenceDesk.Answer {
  /// Walks through the engine's events; `each` gets what is for the caller. Returns when the engine said that it is
  /// done; throws `APIFailure` when it never did.
  func forEachEvent(_ each: ([EngineEvent]) async throws -> Void) async throws {
    defer { lease.end() }
    var splitter = EngineEventSplitter()
    var isDone = false
    var sum = UsageSum(endpoint, shape)
    var mender = AnswerMender(shape)
    do {
      for try await bytes in stream {
        let events = mender.mend(try splitter.push(bytes))
        for event in events {
          switch event.kind {
          case .piece:
            if let kept = record.notePiece(), let chunk = event.chunk {
              kept.add(chunk, bytes: event.bytes.count, endpoint, shape)
            }
            lease.engine.noteAnswer()
          case .usage:
            guard let chunk = event.chunk else { break }
            sum.add(chunk)
            if let usage = EngineUsage(chunk: sum.chunk) { record.note(usage) }
          case .done: isDone = true
          case .failure: throw InferenceDesk.Answer.failure(event)
          case .ping, .empty: break
          }
        }
        if !events.isEmpty { try await each(events) }
      }
    } catch let error as HTTPClientError {
      if error.kind == .cancelled || Task.isCancelled { throw CancellationError() }
      throw InferenceDesk.lost(lease)
    }
    guard isDone else {
      try Task.checkCancellation()
      throw InferenceDesk.lost(lease)
    }
  }

  /// The whole answer, for a caller who wants no stream; on record before it is handed out.
  func collect(_ endpoint: InferenceRequest.Endpoint) async throws -> Aggregation {
    var whole = Aggregation(endpoint, shape)
    do {
      try await forEachEvent { events in
        for event in events {
          if let chunk = event.chunk { whole.add(chunk, bytes: event.bytes.count) }
        }
        guard !whole.isOverlong else { throw APIFailure.overlong }
      }
    } catch {
      try await fail(error)
    }
    try await record.finish(.completed)
    return whole
  }

  /// Streams the answer to its caller: `begin` first, then what `pass` makes of the engine's events as they come, and what
  /// `end` makes once the inference is on record. What goes wrong is on record too, and the caller is told as `failed` says.
  func relay(
    to writer: ResponseWriter, begin: [UInt8] = [], pass: ([EngineEvent]) throws -> [UInt8], end: () -> [UInt8],
    failed: (APIFailure) -> [UInt8]
  ) async throws {
    do {
      if !begin.isEmpty { try await writer.write(begin) }
      try await forEachEvent { events in
        let bytes = try pass(events)
        if !bytes.isEmpty { try await writer.write(bytes) }
      }
      try await record.finish(.completed)
      try await writer.write(end())
    } catch is CancellationError {
      try await fail(CancellationError())
    } catch {
      try? await writer.write(failed(APIFailure(error)))
      try await fail(error)
    }
  }

  /// Records how it ended, and throws it on.
  func fail(_ error: any Error) async throws -> Never {
    if error is CancellationError {
      try await record.finish(.cancelled)
    } else {
      try await record.finish(.failed, reason: APIFailure.recordable(error))
    }
    throw error
  }

  private static func failure(_ event: EngineEvent) -> APIFailure {
    EngineRefusal.failure(event.chunk ?? .null)
  }
}
