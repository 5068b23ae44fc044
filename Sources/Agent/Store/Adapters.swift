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
}
