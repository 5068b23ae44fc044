import Access
import Host
import Models
import Trust
import Web

/// What Ollama's clients ask about models: which there are, which are loaded, what one is.
extension LocalAPI {
  func addOllamaModels(to router: inout GovernedRouter) {
    router.on("GET", "/api/tags", .decides(.modelList, on: LocalAPI.someModel)) { try await tags($2) }
    router.on("GET", "/api/ps", .decides(.modelList, on: LocalAPI.someModel)) { try await running($2) }
    router.on("POST", "/api/show", .decides(.modelList, on: LocalAPI.bodysModel)) { try await show($0, $2) }
  }

  private func tags(_ caller: Caller) async throws -> HTTPResponse {
    var listed: [JSONValue] = []
    for model in try await visibleModels(caller) where model.manifest.kind == .model {
      listed.append(.object(await ollamaModel(model)))
    }
    for visible in await visibleVariants(caller) {
      var members = await ollamaModel(visible.base, parent: visible.base.manifest.label)
      members["name"] = .string(visible.stored.name)
      members["model"] = .string(visible.stored.name)
      members["modified_at"] = .string(OllamaResponse.time(visible.stored.createdAt))
      listed.append(.object(members))
    }
    return .json(200, ["models": .array(listed)])
  }

  private func running(_ caller: Caller) async throws -> HTTPResponse {
    let models = try await visibleModels(caller)
    var listed: [JSONValue] = []
    for engine in await engines() where engine.status.state == "ready" {
      guard let model = models.first(where: { $0.manifest.sha256 == engine.status.model.sha256 }) else { continue }
      var members = await ollamaModel(model)
      members["size"] = .integer(Int64(clamping: engine.bytes ?? model.manifest.length))
      members["size_vram"] = 0
      members["context_length"] = .integer(Int64(engine.status.plan?.contextTokens ?? 0))
      members["expires_at"] = .string(LocalAPI.expiry(engine.status))
      listed.append(.object(members))
    }
    return .json(200, ["models": .array(listed)])
  }

  /// When the engine goes if nobody asks it anything; for one that stays for ever a time that nobody lives to see, as
  /// Ollama gives it.
  private static func expiry(_ status: EngineStatus) -> String {
    guard let seconds = status.expiresInSeconds else { return "2318-01-01T00:00:00Z" }
    return OllamaResponse.time(Clock.unixTime() + Int64(seconds))
  }

  private func show(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let members = try InferenceRequest.document(try await body(request)).object ?? [:]
    let name = try MemberCheck(members).ollamaName("model", "name")
    try await access.authorize(caller, .modelList, .model(ModelVariant.untagged(name)))
    if let visible = try await visibleVariant(caller, name) {
      let variant = visible.variant
      let file = Modelfile(
        from: variant.base, system: variant.system, parameters: variant.parameters, messages: variant.messages)
      var shown = await shown(visible.base, parent: visible.base.manifest.label, file)
      shown["modified_at"] = .string(OllamaResponse.time(visible.stored.createdAt))
      if let system = variant.system { shown["system"] = .string(system) }
      if !variant.messages.isEmpty { shown["messages"] = variant.messagesJSON }
      return .json(200, .object(shown))
    }
    let model = try await find(name)
    return .json(200, .object(await shown(model, parent: "", Modelfile(from: model.name.description))))
  }

  private func shown(_ model: InstalledModel, parent: String, _ file: Modelfile) async -> [String: JSONValue] {
    let header = await headers.header(of: model.manifest)
    let capabilities = header.map { ModelCapabilities($0).names } ?? ["completion"]
    return [
      "license": .string(model.manifest.license ?? ""),
      "modelfile": .string("# sha256:\(model.manifest.sha256.hex)\n\(file)"),
      "parameters": .string(Modelfile.parameterText(file.parameters)),
      "template": .string(header?.chatTemplate ?? ""), "details": await details(model, parent: parent),
      "capabilities": .array(capabilities.map(JSONValue.string)),
      "model_info": LocalAPI.information(model.manifest, header),
      "modified_at": .string(OllamaResponse.time(model.installedAt ?? 0)),
    ]
  }

  /// The header's keys. Lists are null, as Ollama leaves them out: vocabularies fill megabytes.
  private static func information(_ manifest: ModelManifest, _ header: GGUFHeader?) -> JSONValue {
    var information: [String: JSONValue] = [
      "general.architecture": .string(manifest.architecture),
      "\(manifest.architecture).context_length": .integer(Int64(clamping: manifest.contextLength)),
    ]
    for (key, value) in header?.metadata ?? [:] where key != "tokenizer.chat_template" {
      information[key] = LocalAPI.json(value)
    }
    information["general.parameter_count"] = (header?.parameterCount).map { .integer(Int64(clamping: $0)) }
    return .object(information)
  }

  private static func json(_ value: GGUFValue) -> JSONValue {
    switch value {
    case .unsigned(let number): .integer(Int64(clamping: number))
    case .signed(let number): .integer(number)
    case .double(let number): .double(number)
    case .bool(let flag): .bool(flag)
    case .string(let text): .string(text)
    case .array: .null
    }
  }

  private func ollamaModel(_ model: InstalledModel, parent: String = "") async -> [String: JSONValue] {
    [
      "name": .string(model.name.description), "model": .string(model.name.description),
      "modified_at": .string(OllamaResponse.time(model.installedAt ?? 0)),
      "size": .integer(Int64(clamping: model.manifest.length)), "digest": .string(model.manifest.sha256.hex),
      "details": await details(model, parent: parent),
    ]
  }

  private func details(_ model: InstalledModel, parent: String) async -> JSONValue {
    let header = await headers.header(of: model.manifest)
    let family = JSONValue.string(model.manifest.architecture)
    return [
      "parent_model": .string(parent), "format": "gguf", "family": family, "families": [family],
      "parameter_size": .string(header?.parameterSize ?? ""),
      "quantization_level": .string(header?.quantization ?? ""),
    ]
  }
}
