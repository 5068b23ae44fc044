import Access
import Models
import Trust

/// The LoRA adapters that a request wants, as llama-server's `lora` member has them, but by name or digest instead of the
/// engine's own numbers: `[{name: "legal", scale: 0.5}]`.
struct AdapterChoice: Sendable, Hashable {
  var sha256: Digest
  var scale: Double

  /// What a request says; empty where it says nothing.
  struct Wish: Sendable, Hashable {
    var name: String
    var scale: Double
  }

  static func wishes(_ request: InferenceRequest) throws(APIFailure) -> [Wish] {
    // Most requests don't have it, and are not parsed again for that.
    guard EngineEventSplitter.contains(request.body, Array("\"lora\"".utf8)),
      let member = (try? JSONValue(parsing: request.body))?["lora"], member != .null
    else { return [] }
    let allowed = "\"lora\" must be an array of {name: an adapter's name, or digest: its SHA-256, scale: a number}"
    guard let list = member.array, list.count <= 16 else { throw .badRequest(allowed) }
    var wishes: [Wish] = []
    for element in list {
      guard let object = element.object, let name = object["name"]?.string ?? object["digest"]?.string,
        Set(object.keys).isSubset(of: ["name", "digest", "scale"]),
        object["scale"] == nil || object["scale"]?.number != nil
      else {
        throw .badRequest(allowed + "; the engine's own ids are not taken, since they change with each start")
      }
      let scale = object["scale"]?.number ?? 1
      guard scale.isFinite, abs(scale) <= 100 else { throw .badRequest("\"lora.scale\" must be from -100 to 100") }
      wishes.append(Wish(name: name, scale: scale))
    }
    return wishes
  }
}

extension InferenceDesk {
  /// The adapters of a request, each one that the caller may use. Refuses plainly what is no adapter of this model.
  func adapters(
    _ wishes: [AdapterChoice.Wish], _ caller: Caller, _ model: EngineModel, tokens: Int
  ) async throws -> [AdapterChoice] {
    var choices: [AdapterChoice] = []
    for wish in wishes {
      let named = await registry.name(of: wish.name) ?? String(wish.name.prefix { $0 != ":" })
      try await access.authorize(caller, .infer, .model(named), tokens: tokens)
      guard let adapter = try await registry.adapter(wish.name, of: model.sha256) else {
        throw APIFailure(
          status: 400, code: "adapter", message: "\"\(wish.name)\" is no LoRA adapter of \(model.label)",
          hint: "skerry model list shows the base of each adapter")
      }
      choices.append(AdapterChoice(sha256: adapter.manifest.sha256, scale: wish.scale))
    }
    return choices
  }

  /// An engine that has these adapters; one that was started before they arrived is started anew.
  func load(
    _ model: EngineModel, _ kind: EngineKind, with choices: [AdapterChoice]
  ) async throws -> EngineLease {
    var lease = try await load(model, kind)
    if !choices.isEmpty, lease.engine.numbers(of: choices) == nil {
      lease.end()
      await inference.reload(model.sha256, reason: "adapters")
      lease = try await load(model, kind)
      guard lease.engine.numbers(of: choices) != nil else {
        throw APIFailure(
          status: 503, code: "adapter", message: "the engine for \(model.label) does not take this LoRA adapter",
          hint: "skerry status shows what it said")
      }
    }
    return lease
  }
}

extension Engine {
  /// The member `lora` as this engine numbers its adapters; nil when it lacks one. Empty for an engine without adapters.
  ///
  /// Every adapter is named, those that were not chosen with the scale 0: llama-server forgets what a slot has computed
  /// with other adapters only where a request has such a member.
  func numbers(of choices: [AdapterChoice]) -> [String: JSONValue]? {
    var scales = Array(repeating: 0.0, count: files.adapters.count)
    for choice in choices {
      guard let number = files.adapters.firstIndex(where: { $0.digest == choice.sha256 }) else { return nil }
      scales[number] = choice.scale
    }
    guard !scales.isEmpty else { return [:] }
    return ["lora": .array(scales.enumerated().map { ["id": .integer(Int64($0)), "scale": .double($1)] })]
  }
}

extension ModelRegistry {
  /// The name of the installed file with this digest; nil for anything else.
  func name(of digest: String) -> String? {
    models.first { $0.manifest.sha256.hex == digest && !$0.isRetired }?.name.description
  }
}
