import Fleet
import Models
import Storage
import Trust

/// Targets as models.
enum RepoModels {
  static func manifest(_ target: TUFTarget) throws(ManifestError) -> ModelManifest { try ModelManifest(target) }
}

/// What a repository needs and its folder lacks.
enum RepoMissing {
  /// Lists of roles, chunks and indexes. Names alone; `check` reads them.
  static func parts(_ folder: RepoFolder, _ contents: RepoContents) throws -> [String] {
    var missing: [String] = []
    if contents.targets == nil { missing.append("the list of models (targets)") }
    for problem in contents.tree?.problems ?? [] { missing.append("the list of \(problem.role): \(problem.reason)") }
    for target in contents.models {
      if let policy = PolicyTarget(target) {
        if RepoAccess.document(of: policy, folder) == nil {
          missing.append("the policy \(policy.name): its file targets/\(policy.filePath)")
        }
        continue
      }
      guard let manifest = try? RepoModels.manifest(target) else {
        missing.append("\(target.path) is no model that Skerry knows")
        continue
      }
      if let signature = manifest.signature, !DurableFile.exists("\(folder.path)/\(signature.path)") {
        missing.append("\(manifest.label): its publisher's signature \(signature.path)")
      }
      guard let signed = manifest.index else {
        if DurableFile.size(folder.file(manifest)) != manifest.length {
          missing.append("\(manifest.label): its file targets/\(manifest.filePath)")
        }
        continue
      }
      guard let bytes = try DurableFile.read(folder.index(signed.sha256), limit: ChunkIndex.largestIndex) else {
        missing.append("\(manifest.label): its index \(signed.sha256.hex).caibx")
        continue
      }
      let index = try ChunkIndex(caibx: bytes)
      let absent = Set(index.chunks.map(\.id)).filter { !DurableFile.exists(folder.chunk($0)) }
      if !absent.isEmpty { missing.append("\(manifest.label): \(absent.count) of \(index.chunks.count) chunks") }
    }
    return missing
  }
}
