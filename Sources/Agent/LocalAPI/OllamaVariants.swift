import Access
import Models
import Trust
import Web

/// Making, copying and deleting variants, as Ollama's clients do it, and what they may not do: weights come signed from
/// the fleet, or not at all.
extension LocalAPI {
  func addOllamaVariants(to router: inout GovernedRouter) {
    let made = RouteNeed.decides(
      .modelCreate, on: "the model that is made", besides: [.modelList: "on the model that it is made from too"])
    router.on("POST", "/api/create", made) { try await create($0, $2) }
    router.on("POST", "/api/copy", made) { try await copy($0, $2) }
    router.on("DELETE", "/api/delete", .decides(.modelCreate, on: LocalAPI.bodysModel)) { try await delete($0, $2) }
    router.on("POST", "/api/push", .knows(LocalAPI.refusesAlways)) { _, _, _ in
      throw APIFailure(
        status: 403, code: "publishers_alone",
        message: "a box pushes no models: publishing is the publisher's, who signs with keys that no box has",
        hint: "on the publisher's computer: skerry repo add, skerry repo publish")
    }
    router.on("GET", "/api/blobs/{digest}", .knows(LocalAPI.refusesAlways)) { _, _, _ in
      throw LocalAPI.noUploads(status: 404)
    }
    router.on("POST", "/api/blobs/{digest}", .knows(LocalAPI.refusesAlways)) { _, _, _ in
      throw LocalAPI.noUploads(status: 403)
    }
  }

  private static func noUploads(status: Int) -> APIFailure {
    APIFailure(
      status: status, code: "unsigned", message: "this box takes no files: nothing unsigned runs here",
      hint: "publish the model to the fleet, then: skerry sync")
  }

  // MARK: create

  private func create(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let members = try InferenceRequest.document(try await body(request)).object ?? [:]
    let check = MemberCheck(members)
    try check.optional("stream", "true or false") { $0.bool != nil }
    let name = try check.ollamaName("model", "name")
    try await access.authorize(caller, .modelCreate, .model(ModelVariant.untagged(name)))
    let file = try LocalAPI.modelfile(check)
    let (variant, base) = try await derived(name, file, caller)
    try await variants.put(variant, by: caller.label)

    var lines = ["using existing layer sha256:\(base.manifest.sha256.hex)"]
    let idle = variant.idleParameters
    if !idle.isEmpty {
      lines.append("\(idle.joined(separator: ", ")): kept, and without effect here: the box decides it for all callers")
    }
    lines += ["writing manifest", "success"]
    return LocalAPI.statuses(lines, isStream: members["stream"]?.bool ?? true)
  }

  /// Lines of status, or the last alone for a caller who wants no stream.
  private static func statuses(_ lines: [String], isStream: Bool) -> HTTPResponse {
    guard isStream else { return .json(200, ["status": .string(lines.last ?? "success")]) }
    return HTTPResponse(
      status: 200, headers: ollamaLines, body: .bytes(lines.flatMap { line(["status": .string($0)]) }))
  }

  /// What is asked for, by members or as a Modelfile's text.
  private static func modelfile(_ check: MemberCheck) throws(APIFailure) -> Modelfile {
    let members = check.members
    for (name, instruction) in [("template", "TEMPLATE"), ("adapters", "ADAPTER"), ("license", "LICENSE")] {
      if isGiven(members[name]) { throw .badRequest(Modelfile.refusal(of: instruction), param: name) }
    }
    if isGiven(members["files"]) {
      throw .badRequest(
        "\"files\" is refused: a variant is made from a model that the fleet has signed", param: "files")
    }
    if isGiven(members["quantize"]) {
      throw .badRequest("\"quantize\" is refused: the weights are signed as they are", param: "quantize")
    }
    for name in ["modelfile", "from", "system"] { try check.optional(name, "a string") { $0.string != nil } }
    try check.optional("parameters", "an object") { $0.object != nil }
    if let text = members["modelfile"]?.string, !text.isEmpty {
      do { return try Modelfile(parsing: text) } catch { throw APIFailure(error) }
    }
    guard let from = members["from"]?.string, !from.isEmpty else {
      throw check.wrong("from", "the name of a model on this box, a string")
    }
    return Modelfile(
      from: from, system: members["system"]?.string, parameters: members["parameters"]?.object ?? [:],
      messages: try messages(check))
  }

  private static func messages(_ check: MemberCheck) throws(APIFailure) -> [ModelVariant.Message] {
    guard let given = check.members["messages"], given != .null, given != [] else { return [] }
    return try (check.messages().array ?? []).enumerated().map { at, message throws(APIFailure) in
      guard let role = message["role"]?.string, let content = message["content"]?.string else {
        throw .badRequest("\"messages[\(at)].content\" must be a string", param: "messages[\(at)].content")
      }
      return ModelVariant.Message(role: role, content: content)
    }
  }

  private static func isGiven(_ value: JSONValue?) -> Bool {
    switch value {
    case nil, .null?, .string("")?, .array([])?: false
    case .object(let members)?: !members.isEmpty
    default: true
    }
  }

  /// The variant that a file asks for, and the model under it. What is made from a variant takes over what that one adds.
  private func derived(
    _ name: String, _ file: Modelfile, _ caller: Caller
  ) async throws -> (ModelVariant, InstalledModel) {
    let source = try await source(caller, file.from)
    let inherited = source.variant
    let variant = try ModelVariant(
      name: name, base: inherited?.base ?? source.name, system: file.system ?? inherited?.system,
      parameters: (inherited?.parameters ?? [:]).merging(file.parameters) { _, new in new },
      messages: file.messages.isEmpty ? inherited?.messages ?? [] : file.messages)
    guard await !registry.isInstalled(ModelVariant.untagged(variant.name)) else {
      throw APIFailure(
        status: 409, code: "conflict",
        message: "\(ModelVariant.untagged(variant.name)) is the name of a signed model; a variant needs another")
    }
    return (variant, source.base)
  }

  private func source(
    _ caller: Caller, _ from: String
  ) async throws -> (name: String, base: InstalledModel, variant: ModelVariant?) {
    guard let name = ModelVariant.name(from) else {
      throw APIFailure(
        status: 400, code: "bad_variant",
        message:
          "\(VariantError.base(from)); a variant is made from a model on this box, not from a file or an address",
        hint: "skerry model list")
    }
    try await access.authorize(caller, .modelList, .model(ModelVariant.untagged(name)))
    if let visible = try await visibleVariant(caller, name) { return (name, visible.base, visible.variant) }
    let model = try await find(name)
    guard model.manifest.kind == .model else {
      throw APIFailure.badRequest("\(name) is a LoRA adapter; a variant is made from a model", param: "from")
    }
    return (name, model, nil)
  }

  // MARK: copy, delete

  private func copy(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let check = MemberCheck(try InferenceRequest.document(try await body(request)).object ?? [:])
    let (from, to) = (try check.ollamaName("source"), try check.ollamaName("destination"))
    try await access.authorize(caller, .modelCreate, .model(ModelVariant.untagged(to)))
    let (variant, _) = try await derived(to, Modelfile(from: from), caller)
    try await variants.put(variant, by: caller.label)
    return .empty(200)
  }

  private func delete(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let check = MemberCheck(try InferenceRequest.document(try await body(request)).object ?? [:])
    let name = try check.ollamaName("model", "name")
    try await access.authorize(caller, .modelCreate, .model(ModelVariant.untagged(name)))
    if try await variants.remove(name, by: caller.label) { return .empty(200) }
    let model = try await find(name)
    throw APIFailure(
      status: 403, code: "fleet_decides",
      message: "\(model.manifest.label) is signed for this box: only the fleet withdraws it",
      hint:
        "the fleet's operator: skerry hub device assign; to free its memory alone: skerry model unload \(model.name)")
  }
}
