import Access
import Models
import Trust
import Web

/// Ollama's “pull”: asks the fleet for a model, and obeys. A sync brings what the signed metadata gives this box; a model
/// that is not among it does not come.
extension LocalAPI {
  func pull(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let check = MemberCheck(try InferenceRequest.document(try await body(request)).object ?? [:])
    try check.optional("stream", "true or false") { $0.bool != nil }
    let name = try check.ollamaName("model", "name")
    try await access.authorize(caller, .modelList, .model(ModelVariant.untagged(name)))
    // Whoever may not sync has what is here.
    let isAllowed = access.allows(caller, .syncRun, .all(for: .syncRun))
    let isHere = await isActive(name)
    if isAllowed || !isHere { try await access.authorize(caller, .syncRun, .all(for: .syncRun)) }
    let steps = PullSteps(name: name, isSyncing: isAllowed, isHere: isHere, caller: caller)
    if check.members["stream"]?.bool ?? true {
      return .streaming(200, headers: LocalAPI.ollamaLines) { writer in
        do {
          try await pull(steps) { try await writer.write(LocalAPI.line($0)) }
        } catch let error as CancellationError {
          throw error
        } catch {
          try await writer.write(LocalAPI.line(Dialect.ollama.body(APIFailure(error))))
        }
      }
    }
    try await pull(steps) { _ in }
    return .json(200, ["status": "success"])
  }

  private struct PullSteps: Sendable {
    let name: String
    let isSyncing: Bool
    let isHere: Bool
    let caller: Caller
  }

  private func isActive(_ name: String) async -> Bool {
    if let variant = await registry.unshadowed(variants.find(name)) { return await isActive(variant.base) }
    return (try? await registry.resolve(name)) != nil
  }

  private func pull(_ steps: PullSteps, tell: @escaping (JSONValue) async throws -> Void) async throws {
    try await tell(["status": "pulling manifest"])
    if steps.isSyncing {
      do { try await sync(steps, tell) } catch {
        // What is here stays good without a hub.
        guard steps.isHere, let error = error as? SyncError else { throw error }
        try await tell(["status": .string("what is here stays: \(error)")])
      }
    }
    let model = try await given(steps)
    let digest = "sha256:" + model.manifest.sha256.hex
    let length = JSONValue.integer(Int64(clamping: model.manifest.length))
    try await tell([
      "status": .string("pulling \(model.manifest.sha256.hex.prefix(12))"), "digest": .string(digest),
      "total": length, "completed": length,
    ])
    try await tell(["status": "success"])
  }

  /// Syncs, and tells how far this model is. The sync goes on when the caller goes.
  private func sync(_ steps: PullSteps, _ tell: (JSONValue) async throws -> Void) async throws {
    // What had to go to make room comes back for who asks for it.
    try await registry.recall(steps.name, by: steps.caller.label)
    let (stream, feed) = AsyncStream.makeStream(of: SyncProgress.self, bufferingPolicy: .bufferingNewest(256))
    let sync = sync
    let syncing = Task {
      defer { feed.finish() }
      return try await sync.syncNow { feed.yield($0) }
    }
    for await progress in stream {
      guard let label = progress.model, ModelVariant.untagged(label) == ModelVariant.untagged(steps.name),
        let line = await line(of: progress, label)
      else { continue }
      try await tell(line)
    }
    let outcome = try await syncing.value
    let wanted = ModelVariant.untagged(steps.name)
    let failures = outcome.failures.filter { ModelVariant.untagged($0.model) == wanted }
    if let failure = failures.first, !steps.isHere {
      throw APIFailure(status: 502, code: "sync_incomplete", message: failure.message, hint: "skerry sync")
    }
    if let waiting = outcome.waiting, !steps.isHere, await !isActive(steps.name) {
      throw APIFailure(
        status: 503, code: "model_not_ready", message: "\(steps.name) waits: \(waiting)", hint: "skerry sync --now")
    }
  }

  /// What a step of a sync is in Ollama's words; nil for one that it has none for.
  private func line(of progress: SyncProgress, _ label: String) async -> JSONValue? {
    switch progress.phase {
    case .download:
      guard let model = await registry.installed().first(where: { $0.manifest.label == label }) else { return nil }
      return [
        "status": .string("pulling \(model.manifest.sha256.hex.prefix(12))"),
        "digest": .string("sha256:" + model.manifest.sha256.hex), "total": .integer(Int64(clamping: progress.total)),
        "completed": .integer(Int64(clamping: progress.done)),
      ]
    case .verify where progress.done == progress.total: return ["status": "verifying sha256 digest"]
    case .activate: return ["status": "writing manifest"]
    case .connect, .metadata, .check, .verify, .upload: return nil
    }
  }

  /// The model, now that the fleet was asked.
  private func given(_ steps: PullSteps) async throws -> InstalledModel {
    let name = await registry.unshadowed(variants.find(steps.name))?.base ?? steps.name
    do { return try await registry.answering(name) } catch RegistryError.unknownModel {
      throw APIFailure(
        status: 404, code: "not_given",
        message: "the fleet gives this box no model \"\(steps.name)\"; what a box holds is decided by its fleet",
        hint: "the fleet's operator publishes and assigns it: skerry repo add, skerry hub device assign")
    }
  }
}
