import Models
import Storage
import Trust

/// What an engine is started for. Embeddings want an engine of their own: pooling is chosen at its start.
enum EngineKind: String, Sendable, Hashable, CaseIterable {
  case generate, embed
}

/// A model as the inference service knows it: enough to find, start and name an engine.
struct EngineModel: Sendable, Hashable {
  let name: String
  let version: String
  let sha256: Digest
  /// The size of its file, in bytes.
  let length: UInt64
  /// What the model was trained for, in tokens; 0 when it doesn't say.
  let contextLength: Int

  var label: String { "\(name):\(version)" }
}

extension EngineModel {
  init(_ model: InstalledModel) {
    self.init(
      name: model.name.description, version: model.version.description, sha256: model.manifest.sha256,
      length: model.manifest.length, contextLength: Int(clamping: model.manifest.contextLength))
  }
}

/// What an engine is given to open: files that were verified and are held open for as long as the engine lives.
struct EngineFiles: Sendable {
  let model: VerifiedFile
  /// LoRA adapters for this model, in the order in which the engine numbers them.
  var adapters: [VerifiedFile] = []

  var all: [VerifiedFile] { [model] + adapters }

  /// Throws `StorageError` when one of them was opened for writing or changed since it was verified.
  func demandUntouched() throws(StorageError) {
    for file in all { try file.demandUntouched() }
  }
}

/// How `llama-server` is started; facts and measurements are in docs/engine.md.
enum EngineArguments {
  /// The largest context that a slot gets without being asked for: more costs memory that small boxes don't have.
  static let defaultContext = 4096

  /// `adapters` are paths, as `path` is the model's. Each starts with the scale 0: it changes nothing until it is asked for.
  static func make(
    _ model: EngineModel, _ kind: EngineKind, path: String, adapters: [String] = [], socket: String,
    _ configuration: AgentConfiguration.Engine
  ) -> [String] {
    let trained = model.contextLength > 0 ? model.contextLength : defaultContext
    let context = configuration.contextTokens > 0 ? configuration.contextTokens : min(trained, defaultContext)
    var list = [
      "--model", path, "--alias", model.name, "--host", socket, "--no-ui", "--sse-ping-interval", "1",
      "--parallel", String(configuration.slots), "--ctx-size", String(context * configuration.slots),
      "--cache-ram", String(configuration.promptCacheMiB), "--metrics", "--offline",
    ]
    switch kind {
    case .generate: list += ["--jinja"]
    case .embed: list += ["--embeddings", "--pooling", "mean"]
    }
    if !adapters.isEmpty { list += ["--lora-scaled", adapters.map { $0 + ":0" }.joined(separator: ",")] }
    if configuration.threads > 0 { list += ["--threads", String(configuration.threads)] }
    return list + configuration.arguments
  }

  /// Nothing of the agent's environment reaches the engine. With the router's port set, the engine ends as soon as
  /// its standard input does, so that it can't outlive the agent.
  static let environment = [
    "LLAMA_SERVER_ROUTER_PORT": "1", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8",
  ]
}
