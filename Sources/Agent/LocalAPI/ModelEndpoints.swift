import Access
import Trust
import Web

extension LocalAPI {
  func addModels(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/models", .decides(.modelList, on: LocalAPI.someModel)) { _, _, caller in
      let models = try await visibleModels(caller)
      let loaded = await loaded()
      let stale = await stale()
      let evicted = await registry.evicted().filter {
        access.allows(caller, .modelList, .model($0.manifest.name.description))
      }
      var listed: [JSONValue] = []
      for model in models { listed.append(await shown(model, loaded, stale)) }
      return .json(200, ["models": .array(listed + evicted.map(LocalAPI.evicted))])
    }
    router.on("GET", "/skerry/v1/models/{name}", .needs(.modelList, on: "name")) { _, parameters, _ in
      let model = try await find(parameters["name"])
      return .json(200, await shown(model, await loaded(), await stale()))
    }
    router.on("POST", "/skerry/v1/models/{name}/verify", .needs(.modelManage, on: "name")) { _, parameters, _ in
      let model = try await find(parameters["name"])
      let isIntact: Bool
      do { isIntact = try await registry.verify(model.manifest.label) } catch RegistryError.corrupt { isIntact = false }
      // An engine that has the damaged file open must not go on with it.
      if !isIntact { await inference.unload(model.manifest.sha256, drain: .zero) }
      let now = try await find(model.manifest.label)
      return .json(
        200,
        [
          "name": .string(model.name.description), "version": .string(model.version.description),
          "ok": .bool(isIntact), "state": .string(now.state.rawValue),
          "problem": now.problem.map(JSONValue.string) ?? .null,
        ])
    }
    router.on("POST", "/skerry/v1/models/{name}/load", .needs(.modelManage, on: "name")) { _, parameters, _ in
      let model = try await find(parameters["name"])
      _ = try await desk.load(EngineModel(try await registry.answering(model.manifest.label)))
      return .json(200, ["name": .string(model.name.description), "loaded": true])
    }
    router.on("POST", "/skerry/v1/models/{name}/unload", .needs(.modelManage, on: "name")) { _, parameters, _ in
      let model = try await find(parameters["name"])
      let wasLoaded = await inference.unload(model.manifest.sha256)
      return .json(200, ["name": .string(model.name.description), "loaded": false, "wasLoaded": .bool(wasLoaded)])
    }
  }

  private func loaded() async -> Set<Digest> {
    Set(await inference.statuses().filter { $0.state == "ready" }.map(\.model.sha256))
  }

  /// `fresh`, `stale` or `refused`: what the expiry of the metadata means for every model.
  private func stale() async -> String { await registry.freshness(at: clock.now()).word }

  private func shown(_ model: InstalledModel, _ loaded: Set<Digest>, _ freshness: String) async -> JSONValue {
    var members = LocalAPI.model(model, loaded, freshness).object ?? [:]
    members["pinned"] = .bool(await registry.isPinned(model))
    members["lastUse"] = await registry.lastUse(model).map(JSONValue.integer) ?? .null
    return .object(members)
  }

  private static func model(_ model: InstalledModel, _ loaded: Set<Digest>, _ freshness: String) -> JSONValue {
    let manifest = model.manifest
    return [
      "name": .string(model.name.description), "version": .string(model.version.description),
      "kind": .string(manifest.kind.rawValue), "base": manifest.base.map { .string($0.hex) } ?? .null,
      "state": .string(model.state.rawValue), "sha256": .string(manifest.sha256.hex),
      "length": .integer(Int64(clamping: manifest.length)), "architecture": .string(manifest.architecture),
      "contextLength": .integer(Int64(clamping: manifest.contextLength)),
      "license": manifest.license.map(JSONValue.string) ?? .null,
      "publisher": manifest.publisher.map(JSONValue.string) ?? .null,
      "publisherSignature": manifest.signature?.json ?? .null,
      "signers": .array(model.signers.map(JSONValue.string)),
      "installedAt": model.installedAt.map(JSONValue.integer) ?? .null,
      "problem": model.problem.map(JSONValue.string) ?? .null, "loaded": .bool(loaded.contains(manifest.sha256)),
      "freshness": .string(freshness),
    ]
  }
}
