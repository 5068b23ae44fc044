import Host
import Models
import Storage
import Trust

extension ModelRegistry {
  /// The model that may be asked under this name. Throws as `resolve` does, and `RegistryError.isAdapter`.
  public func answering(_ name: String) throws -> InstalledModel {
    let model = try resolve(name)
    guard let base = model.manifest.base else { return model }
    let named = models.first { $0.manifest.sha256 == base && !$0.isRetired }
    throw RegistryError.isAdapter(model.manifest.label, base: named?.manifest.label ?? base.hex)
  }

  /// The base of an adapter is on the box, whole and active. Throws `RegistryError.baseMissing`.
  func demandBase(of manifest: ModelManifest) throws(RegistryError) {
    guard let base = manifest.base else { return }
    let found = models.first { $0.manifest.sha256 == base && $0.state == .active && !$0.isRetired }
    guard let found, found.manifest.kind == .model, found.manifest.architecture == manifest.architecture else {
      throw .baseMissing(model: manifest.label, base: base)
    }
  }

  /// The adapters of a model, opened and verified as the model itself is. One that is damaged is left out: it is then
  /// marked, and the model answers without it.
  func adapters(of base: Digest) async -> [VerifiedFile] {
    var files: [VerifiedFile] = []
    let adapters = models.filter { $0.manifest.base == base && $0.state == .active && !$0.isRetired }
    for model in adapters.prefix(16) {
      do { files.append(try await open(model)) } catch {
        Log.shared.error("an adapter is left out", ["model": model.manifest.label, "reason": "\(error)"])
      }
    }
    return files
  }

  /// What a model's engine is given to open: its file, the adapters that belong to it and the draft model that is
  /// configured, each verified. Throws what stands against the model itself.
  func engineFiles(
    _ model: EngineModel, _ kind: EngineKind, _ settings: ModelSettings
  ) async throws -> EngineFiles {
    var files = EngineFiles(model: try await verifiedFile(model.label, sha256: model.sha256))
    guard kind == .generate else { return files }
    files.adapters = await adapters(of: model.sha256)
    if case .draft(let name)? = settings.speculative {
      do {
        let draft = try answering(name)
        if draft.manifest.sha256 == model.sha256 {
          files.draftProblem = "it is the model itself"
        } else {
          files.draft = try await open(draft)
        }
      } catch { files.draftProblem = "\(error)" }
      if let problem = files.draftProblem {
        Log.shared.warning("no draft model", ["model": model.label, "draft": name, "reason": problem])
      }
    }
    return files
  }

  /// The installed adapter of this name or digest. Throws `RegistryError`, and nil for one that is no adapter of this
  /// base.
  func adapter(_ name: String, of base: Digest) throws -> InstalledModel? {
    let named = models.filter {
      !$0.isRetired && ($0.name.description == name || $0.manifest.label == name || $0.manifest.sha256.hex == name)
    }
    guard !named.isEmpty else { throw RegistryError.unknownModel(name) }
    return named.filter { $0.state == .active && $0.manifest.base == base }.max { $0.version < $1.version }
  }
}
