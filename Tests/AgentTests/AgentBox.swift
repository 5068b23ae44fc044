import Glibc
import Models
import Storage
import Testing
import Trust
import Web

@testable import Agent

/// A whole agent in a folder of its own, with the real weights installed as a model, and a client to ask it.
final class AgentBox: Sendable {
  let scratch: Scratch
  let agent: Agent
  let client = HTTPClient()
  var state: String { scratch.path + "/state" }

  /// The model `smol` is installed where there are weights; `policy` replaces the built-in roles.
  static func start(policy: String? = nil, settings: [String: String] = [:]) async throws -> AgentBox {
    let scratch = try Scratch()
    let state = scratch.path + "/state"
    try DurableFile.makeDirectory(state)
    if let weights = RealEngine.weights { try await install(weights, state) }
    if let policy {
      try DurableFile.makeDirectory(scratch.path + "/policies")
      try DurableFile.replace(scratch.path + "/policies/roles.json5", with: Array(policy.utf8))
    }
    return AgentBox(scratch, try await Agent.start(source(scratch, settings)))
  }

  static func source(_ scratch: Scratch, _ settings: [String: String] = [:]) throws -> ConfigurationSource {
    var overrides: [(key: String, value: String)] = [
      ("stateDirectory", scratch.path + "/state"), ("runtimeDirectory", scratch.path + "/run"),
      ("policyDirectory", scratch.path + "/policies"), ("listen.tcp", "\"127.0.0.1:0\""),
      ("limits.drainSeconds", "3"),
    ]
    if let program = RealEngine.program { overrides.append(("engine.path", program)) }
    overrides += settings.map { ($0.key, $0.value) }
    try DurableFile.replace(scratch.path + "/agent.json5", with: Array("{}".utf8))
    return ConfigurationSource(file: scratch.path + "/agent.json5", overrides: overrides)
  }

  private init(_ scratch: Scratch, _ agent: Agent) {
    self.scratch = scratch
    self.agent = agent
  }

  func stop() async {
    await client.close()
    await agent.stop()
  }

  /// As if a sync had brought it: the file in its place, and the row that says that it is active.
  private static func install(_ weights: String, _ state: String) async throws {
    let bytes = try #require(try DurableFile.read(weights, limit: 1 << 30))
    let digest = Digest(of: bytes)
    let store = try ContentStore(root: state + "/registry")
    let blob = store.blobPath(digest)
    try DurableFile.makeDirectory(String(blob[..<(blob.lastIndex(of: "/") ?? blob.startIndex)]))
    try DurableFile.replace(blob, with: bytes)
    let manifest = ModelManifest(
      name: try #require(ModelName("smol")), version: try #require(ModelVersion("1")), fileName: "smol.gguf",
      length: UInt64(bytes.count), sha256: digest, index: .init(length: 1, sha256: digest), architecture: "llama",
      contextLength: 2048)
    let publisher = Publisher()
    publisher.state.withLock { state in
      state.targets.append(
        TUFTarget(
          path: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON))
    }
    let identity = try DeviceIdentity.open(directory: state + "/keys")
    try publisher.keepMetadata(for: identity.id, in: state + "/registry")
    // A hub that nobody reaches.
    try Enrolment(
      hub: "https://127.0.0.1:1", pin: "sha256//" + Base64.encode([UInt8](repeating: 0, count: 32)),
      root: Digest(of: try publisher.root()), deviceID: identity.id, witness: "", enrolledAt: 1
    ).save(in: state)
    let database = try Database(path: state + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let registry = try await ModelRegistry.open(
      database: database, directory: state + "/registry", audit: { _, _, _ in },
      vouching: Vouching(device: identity.id) { (try? Enrolment.load(from: state))?.root }, now: { 1 })
    try await registry.put(
      InstalledModel(
        manifest: manifest, state: .active, signers: ["k"], installedAt: 1, problem: nil, isRetired: false))
    try await registry.vouch(for: manifest)
    database.close()
  }

  var blob: String {
    get throws {
      let folder = state + "/registry/blobs/sha256"
      return folder + "/" + (try #require(try DurableFile.names(in: folder).first))
    }
  }

  // MARK: asking

  /// Over the Unix socket, or with a token (or an empty one) over TCP.
  func request(_ method: String, _ path: String, _ body: JSONValue? = nil, token: String? = nil) -> ClientRequest {
    var made = ClientRequest(method: method, url: "http://localhost\(path)", body: body?.encoded())
    if let token {
      made.url = "http://127.0.0.1:\(agent.tcpPort ?? 0)\(path)"
      if !token.isEmpty { made.headers.set("Authorization", "Bearer \(token)") }
    } else {
      made.unixSocket = agent.socketPath
    }
    made.totalTimeout = .seconds(60)
    return made
  }

  func ask(
    _ method: String, _ path: String, _ body: JSONValue? = nil, token: String? = nil
  ) async throws -> (status: Int, json: JSONValue, headers: HTTPHeaders) {
    let response = try await client.send(request(method, path, body, token: token))
    return (response.status, (try? JSONValue(parsing: response.body)) ?? .null, response.headers)
  }

  /// The audit records of a kind.
  func records(_ kind: String) async throws -> [JSONValue] {
    let answer = try await ask("GET", "/skerry/v1/audit?limit=10000")
    return (answer.json["entries"]?.array ?? []).filter { $0["kind"]?.string == kind }
  }
}
