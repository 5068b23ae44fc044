import Access
import Trust
import Web

extension LocalAPI {
  func addStore(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/store", .needs(.statusRead)) { request, _, _ in
      return .json(200, try await store())
    }
    router.on("POST", "/skerry/v1/store/gc", .needs(.modelManage)) { request, _, _ in
      let members = try await members(request, ["dryRun"])
      let isDryRun =
        members["dryRun"] == nil
        ? false : try required(members, "dryRun") { field throws(JSONFieldError) in try field.bool() }
      return .json(200, LocalAPI.collection(try await registry.collect(isDryRun: isDryRun), isDryRun: isDryRun))
    }
    router.on("POST", "/skerry/v1/store/scrub", .needs(.modelManage)) { request, _, _ in
      return .json(200, LocalAPI.scrub(try await scrubber.scrubNow()))
    }
    for (verb, isPinned) in [("pin", true), ("unpin", false)] {
      router.on("POST", "/skerry/v1/models/{name}/\(verb)", .needs(.modelManage, on: "name")) { _, parameters, caller in
        let model = try await registry.setPin(parameters["name"], isPinned, by: caller.label)
        return .json(
          200,
          [
            "name": .string(model.name.description), "version": .string(model.version.description),
            "pinned": .bool(isPinned),
          ])
      }
    }
  }

  /// The store in a few numbers.
  func store() async throws -> JSONValue {
    let size = try await registry.size()
    let evicted = await registry.evicted()
    return [
      "usedBytes": .integer(Int64(clamping: size.used)), "freeBytes": .integer(Int64(clamping: size.free)),
      "quotaBytes": .integer(Int64(clamping: configuration.store.quotaBytes)),
      "evicted": .array(evicted.map { .string($0.manifest.label) }), "scrub": LocalAPI.scrub(await scrubber.state()),
    ]
  }

  static func evicted(_ eviction: StoreMarks.Eviction) -> JSONValue {
    let manifest = eviction.manifest
    return [
      "name": .string(manifest.name.description), "version": .string(manifest.version.description),
      "state": "evicted", "kind": .string(manifest.kind.rawValue),
      "base": manifest.base.map { .string($0.hex) } ?? .null, "sha256": .string(manifest.sha256.hex),
      "length": .integer(Int64(clamping: manifest.length)), "architecture": .string(manifest.architecture),
      "signers": [], "loaded": false, "pinned": false, "evictedAt": .integer(eviction.at),
      "problem": "evicted to make room; ask for it, and the next sync brings it back",
    ]
  }

  private static func scrub(_ status: Scrubber.Status) -> JSONValue {
    [
      "running": .bool(status.isRunning), "startedAt": status.startedAt.map(JSONValue.integer) ?? .null,
      "finishedAt": status.finishedAt.map(JSONValue.integer) ?? .null,
      "doneBytes": .integer(Int64(clamping: status.done)), "totalBytes": .integer(Int64(clamping: status.total)),
      "damaged": .array(status.damaged.map { .string($0) }),
    ]
  }

  private static func collection(_ result: StoreCollection, isDryRun: Bool) -> JSONValue {
    [
      "dryRun": .bool(isDryRun), "removed": .array(result.removed.map { .string($0) }),
      "kept": .object(result.kept.mapValues { .string($0.rawValue) }), "files": .integer(Int64(result.files)),
      "bytes": .integer(Int64(clamping: result.bytes)),
    ]
  }
}
