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
  /// The draft model of `EnginePlan.Speculation.draft`.
  var draft: VerifiedFile?
  /// Why there is no draft model although one is configured.
  var draftProblem: String?

  /// The model, its adapters, the draft.
  var all: [VerifiedFile] { [model] + adapters + (draft.map { [$0] } ?? []) }

  /// Throws `StorageError` when one of them was opened for writing or changed since it was verified.
  func demandUntouched() throws(StorageError) {
    for file in all { try file.demandUntouched() }
  }
}
