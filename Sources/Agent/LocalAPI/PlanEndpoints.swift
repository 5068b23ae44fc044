import Access
import Host
import Models
import Trust
import Web

/// What engines would be started with, and why: `skerry model plan`.
extension LocalAPI {
  func addPlans(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/plan", .decides(.modelList, on: LocalAPI.someModel)) { _, _, caller in
      let models = try await visibleModels(caller).filter { $0.manifest.kind == .model }
      return .json(200, try await plans(models))
    }
    router.on("GET", "/skerry/v1/plan/{name}", .needs(.modelList, on: "name")) { _, parameters, _ in
      let model = try await find(parameters["name"])
      guard model.manifest.kind == .model else {
        throw APIFailure(
          status: 400, code: "adapter", message: "\(model.manifest.label) is a LoRA adapter: it is loaded with its base"
        )
      }
      return .json(200, try await plans([model]))
    }
  }

  private func plans(_ models: [InstalledModel]) async throws -> JSONValue {
    let box = inference.planner.box
    let statuses = await inference.statuses()
    var listed: [JSONValue] = []
    for model in models {
      let plan = await registry.plan(EngineModel(model), .generate, inference.planner)
      var members = LocalAPI.plan(plan).object ?? [:]
      let engine = statuses.first { $0.model.sha256 == model.manifest.sha256 && $0.kind == .generate }
      members["name"] = .string(model.name.description)
      members["version"] = .string(model.version.description)
      members["fits"] = .bool(plan.memory.most <= box.budget)
      members["state"] = .string(engine?.state ?? "not loaded")
      members["keepAliveSeconds"] =
        inference.planner.keepAlive(for: model.name.description).map { .integer($0.components.seconds) } ?? .null
      members["reasons"] = .array(plan.reasons.map(JSONValue.string))
      listed.append(.object(members))
    }
    return [
      "box": [
        "cores": .integer(Int64(box.cores)), "budgetBytes": .integer(Int64(clamping: box.budget)),
        "setAsideBytes": .integer(Int64(clamping: await inference.setAside)),
        "memoryBytes": .integer(Int64(clamping: Memory.total)),
        "availableBytes": .integer(Int64(clamping: Memory.available)),
      ],
      "models": .array(listed),
    ]
  }

  /// An engine's settings and what it is expected to take.
  static func plan(_ plan: EnginePlan) -> JSONValue {
    let speculation: JSONValue =
      switch plan.speculation {
      case .none: "none"
      case .ngram: "ngram"
      case .draft(let sha256): ["draft": .string(sha256.hex)]
      }
    return [
      "engine": .string(plan.adapter), "contextTokens": .integer(Int64(plan.contextTokens)),
      "slots": .integer(Int64(plan.slots)), "threads": .integer(Int64(plan.threads)),
      "promptCacheMiB": .integer(Int64(plan.promptCacheMiB)), "speculative": speculation,
      "memory": memory(plan.memory),
    ]
  }

  private static func memory(_ memory: EngineMemory) -> JSONValue {
    func bytes(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }
    return [
      "weights": bytes(memory.weights), "repacked": bytes(memory.repacked), "cache": bytes(memory.cache),
      "compute": bytes(memory.compute), "outputs": bytes(memory.outputs), "checkpoints": bytes(memory.checkpoints),
      "overhead": bytes(memory.overhead), "promptCache": bytes(memory.promptCache), "ready": bytes(memory.ready),
      "full": bytes(memory.full), "most": bytes(memory.most),
    ]
  }
}

extension ModelRegistry {
  /// The plan for a model by the headers of the stored files, which are not hashed for that: an engine gets a plan of its
  /// own, by what was verified.
  func plan(_ model: EngineModel, _ kind: EngineKind, _ planner: EnginePlanner) async -> EnginePlan {
    var beside = EnginePlanner.Beside()
    let adapters = models.filter { $0.manifest.base == model.sha256 && $0.state == .active && !$0.isRetired }
    beside.adapters = adapters.reduce(0) { $0 + $1.manifest.length }
    var draftPath: (sha256: Digest, path: String)?
    if case .draft(let name)? = planner.settings(for: model.name).speculative {
      do {
        let draft = try answering(name).manifest.sha256
        draftPath = (draft, store.blobPath(draft))
      } catch { beside.draftProblem = "\(error)" }
    }
    let (path, draft, extra) = (store.blobPath(model.sha256), draftPath, beside)
    let made = try? await offPool { () -> EnginePlan in
      var beside = extra
      if let draft, let header = GGUFHeader.read(draft.path) { beside.draft = (draft.sha256, header) }
      return planner.plan(model, kind, header: GGUFHeader.read(path), beside: beside)
    }
    return made ?? planner.plan(model, kind, header: nil)
  }
}
