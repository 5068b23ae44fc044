import Access
import Fleet
import FoundationEssentials
import Host
import Models
import Storage
import Trust
import Web

/// What operators and publishers call.
struct AdminAPI: Sendable {
  let state: HubState
  let repository: Repository
  let director: Director
  let files: RepositoryFiles
  /// An index of this many bytes lists the chunks of about 100 GB.
  static let largestIndex = 64 << 20

  private typealias Action = @Sendable (HTTPRequest, PathParameters) async throws -> HTTPResponse

  func add(to router: inout AdminRouter) {
    func on(_ method: String, _ pattern: String, _ verb: Verb, _ action: @escaping Action) {
      router.on(method, pattern, verb) { request, parameters, _ in try await action(request, parameters) }
    }
    on("GET", "/status", .deviceRead) { _, _ in try await status() }
    on("GET", "/online-key", .deviceRead) { _, _ in HTTPResponse.json(200, onlineKey) }
    on("GET", "/devices", .deviceRead) { _, _ in try await devices() }
    on("GET", "/devices/{id}", .deviceRead) { _, parameters in try await device(parameters["id"]) }
    on("POST", "/devices/{id}/assign", .deviceManage) { request, parameters in
      try await assign(parameters["id"], request.body.collect(upTo: 64 << 10))
    }
    on("POST", "/devices/{id}/policy", .deviceManage) { request, parameters in
      try await assignPolicy(parameters["id"], request.body.collect(upTo: 4 << 10))
    }
    on("POST", "/devices/{id}/rollback", .deviceManage) { request, parameters in
      try await rollback(parameters["id"], request.body.collect(upTo: 4 << 10))
    }
    on("DELETE", "/devices/{id}", .deviceManage) { _, parameters in try await revoke(parameters["id"]) }
    on("POST", "/enrollment-tokens", .deviceManage) { request, _ in
      try await makeToken(request.body.collect(upTo: 4 << 10))
    }
    on("POST", "/repo/missing", .repositoryPublish) { request, _ in
      try await missing(request.body.collect(upTo: 8 << 20))
    }
    on("PUT", "/repo/chunks/{id}", .repositoryPublish) { request, parameters in
      guard let id = Digest(hex: parameters["id"]) else { throw badName("a chunk's name is its SHA-256") }
      let bytes = try await request.body.collect(upTo: RepositoryFiles.largestCompressedChunk)
      try await offPool { try files.putChunk(id, bytes) }
      return HTTPResponse.empty(204)
    }
    on("PUT", "/repo/indexes/{digest}", .repositoryPublish) { request, parameters in
      let name = parameters["digest"]
      guard let digest = Digest(hex: name.hasSuffix(".caibx") ? name.dropLast(6) : name[...]) else {
        throw badName("an index's name is its SHA-256")
      }
      let bytes = try await request.body.collect(upTo: AdminAPI.largestIndex)
      try await offPool { try files.putIndex(digest, bytes) }
      return HTTPResponse.empty(204)
    }
    on("PUT", "/repo/signatures/{file}", .repositoryPublish) { request, parameters in
      guard let digest = RepositoryRoutes.signature(parameters["file"]) else {
        throw badName("a publisher's signature is called SHA256.sigstore.json")
      }
      let bytes = try await request.body.collect(upTo: SigstoreBundle.limit)
      try await offPool { try files.putSignature(digest, bytes) }
      return HTTPResponse.empty(204)
    }
    let uploads = TargetUploads(files: files)
    on("PUT", "/repo/targets/{path...}", .repositoryPublish) { request, parameters in
      try Answers.json(
        200,
        try await uploads.put(parameters["path"], range: request.headers["Content-Range"], body: request.body))
    }
    on("PUT", "/repo/metadata/{file}", .repositoryPublish) { request, parameters in
      let name = parameters["file"]
      guard let limit = RepositoryFiles.metadataLimit(name) else {
        throw badName("metadata is called N.root.json, N.targets.json, N.ROLE.json, N.snapshot.json or timestamp.json")
      }
      let bytes = try await request.body.collect(upTo: limit)
      try await offPool { try files.stage(name, bytes) }
      return HTTPResponse.empty(204)
    }
    on("PUT", "/repo/director/{file}", .repositoryPublish) { request, parameters in
      let name = parameters["file"]
      guard let limit = DirectorFiles.rootLimit(name) else { throw badName("a director's root is called N.root.json") }
      try await director.stage(name, try await request.body.collect(upTo: limit))
      return HTTPResponse.empty(204)
    }
    on("DELETE", "/repo/staged", .repositoryPublish) { _, _ in
      try await repository.discard()
      try await director.discard()
      return HTTPResponse.empty(204)
    }
    on("POST", "/repo/commit", .repositoryPublish) { _, _ in
      let versions = try await director.commit(now: Date())
      Log.shared.notice("repository published", ["timestamp": String(versions.timestamp)])
      return try Answers.json(200, versions)
    }
  }

  private func badName(_ message: String) -> HubError { HubError(.malformed, message) }

  private var onlineKey: JSONValue {
    let key = TUFKey(ed25519: state.onlineKey.verifyingKey)
    return [
      "keyid": .string(key.keyID), "keytype": .string(key.keyType), "scheme": .string(key.scheme),
      "keyval": ["public": .string(key.publicKey)],
    ]
  }

  private func status() async throws -> HTTPResponse {
    let devices = try await state.store.devices()
    let versions = try await repository.versions()
    return HTTPResponse.json(
      200,
      [
        "version": .string(skerryVersion), "url": .string(state.configuration.url), "pin": .string(state.pin),
        "witness": .string(state.witness.verifier.vkey), "onlineKey": onlineKey,
        "devices": .integer(Int64(devices.count { $0.revokedAt == nil })),
        "repository": try JSONValue(encoding: versions), "directorRoot": .integer(try await director.rootVersion()),
      ])
  }

  private func devices() async throws -> HTTPResponse {
    let versions = try await repository.versions()
    var list: [JSONValue] = []
    for device in try await state.store.devices() {
      let report = try await state.store.report(device.id)
      list.append(DeviceView(device, report: report, hub: versions, now: Clock.unixTime()).json)
    }
    return HTTPResponse.json(200, ["devices": .array(list)])
  }

  private func device(_ text: String) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    let report = try await state.store.report(device.id)
    let view = DeviceView(
      device, report: report, hub: try await repository.versions(), now: Clock.unixTime())
    return HTTPResponse.json(200, view.detailedJSON(events: try await state.store.events(device.id, limit: 50)))
  }

  private struct AssignRequest: Decodable { let models: [String]? }

  private func assign(_ text: String, _ body: [UInt8]) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    let message = try Decode.message(AssignRequest.self, from: body)
    for word in message.models ?? [] where !Assignment.isWord(word) {
      throw HubError(
        .malformed, "\(word) is no model's name",
        hint: "write NAME, NAME:VERSION, NAME=VERSION for a rollback, or * for all others")
    }
    _ = try await state.store.assign(device.id, models: Assignment(device.assigned).assigning(message.models).words)
    return try await self.device(text)
  }

  private struct PolicyRequest: Decodable { let policy: String? }

  private func assignPolicy(_ text: String, _ body: [UInt8]) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    let message = try Decode.message(PolicyRequest.self, from: body)
    let published = try await director.directed().compactMap { PolicyTarget($0)?.name }
    var name: ModelName?
    if let wanted = message.policy {
      name = published.first { $0.description == wanted }
      guard name != nil else {
        throw HubError(
          .notFound, "no policy \(wanted) is published",
          hint: published.isEmpty
            ? "publish one first: skerry repo access add"
            : "published are: " + published.map(\.description).sorted().joined(separator: ", "))
      }
    }
    _ = try await state.store.assign(device.id, models: Assignment(device.assigned).deciding(by: name).words)
    Log.shared.notice("policy assigned", ["device": device.id.hex, "policy": message.policy ?? PolicyTarget.standard])
    return try await self.device(text)
  }

  private struct Rollback: Decodable {
    let model: String
    let version: String
  }

  /// Pins a version that may be older than what the box has, and signs that this is meant.
  private func rollback(_ text: String, _ body: [UInt8]) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    let message = try Decode.message(Rollback.self, from: body)
    guard let name = ModelName(message.model), let version = ModelVersion(message.version) else {
      throw HubError(.malformed, "model and version are not a model's name and version")
    }
    let versions = try await director.directed().compactMap { try? ModelManifest($0) }.filter { $0.name == name }
    guard versions.contains(where: { $0.version == version }) else {
      throw HubError(
        .notFound, "no \(name):\(version) is published",
        hint: versions.isEmpty
          ? "publish it first: a rollback goes to a version that the repository still signs"
          : "published are: " + versions.map(\.version.description).joined(separator: ", "))
    }
    let words = Assignment(device.assigned).rollingBack(name, to: version).words
    _ = try await state.store.assign(device.id, models: words)
    Log.shared.notice("rollback", ["device": device.id.hex, "model": "\(name):\(version)"])
    return try await self.device(text)
  }

  private func revoke(_ text: String) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    _ = try await state.store.revoke(device.id, now: Clock.unixTime())
    Log.shared.notice("box revoked", ["device": device.id.hex, "name": device.name])
    return HTTPResponse.empty(204)
  }

  private struct TokenRequest: Decodable { let expiresInSeconds: Int64? }

  private func makeToken(_ body: [UInt8]) async throws -> HTTPResponse {
    let message = try body.isEmpty ? TokenRequest(expiresInSeconds: nil) : Decode.message(TokenRequest.self, from: body)
    let lifetime = message.expiresInSeconds ?? 3600
    guard (1...365 * 86400).contains(lifetime) else {
      throw HubError(.malformed, "expiresInSeconds is from 1 second to a year")
    }
    let token = try await state.makeEnrollmentToken(lifetime: lifetime, now: Clock.unixTime())
    return HTTPResponse.json(200, ["token": .string(token.encoded), "expires": .integer(token.expires)])
  }

  private struct ChunkList: Codable, Sendable { let chunks: [Digest] }

  private func missing(_ body: [UInt8]) async throws -> HTTPResponse {
    let message = try Decode.message(ChunkList.self, from: body)
    let absent = try await offPool { message.chunks.filter { !files.hasChunk($0) } }
    return HTTPResponse.json(200, ["missing": .array(absent.map { .string($0.hex) })])
  }
}
