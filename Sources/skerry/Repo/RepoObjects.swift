import CommandLine
import Fleet
import Models
import Storage
import Trust

/// A model's index and chunks, as the signed metadata describes them.
enum RepoObjects {
  struct Counts {
    var models = 0
    var chunks = 0
    var skipped: [String] = []
  }

  /// Reads the model's index and every chunk, and hashes them, each and as the whole file.
  static func verify(
    _ target: TUFTarget, _ source: RepoSource, _ progress: ProgressBar, _ counts: inout Counts
  ) async throws {
    if let policy = PolicyTarget(target) { return try await RepoAccess.verify(policy, source) }
    let manifest: ModelManifest
    do { manifest = try RepoModels.manifest(target) } catch {
      counts.skipped.append(error.description)
      return
    }
    func wrong(_ what: String) -> CommandFailure { CommandFailure("\(manifest.label): \(what)", status: .data) }
    try await RepoSignatures.check(manifest, source)
    guard let signed = manifest.index else {
      try await RepoWholeFile.verify(manifest, source, progress)
      counts.models += 1
      return
    }
    let index = try await index(of: manifest, signed, source)
    var whole = SHA256()
    for chunk in index.chunks {
      guard let packed = try await source.read(RepoFolder.chunkName(chunk.id), limit: chunk.length + (1 << 16)) else {
        throw wrong("chunk \(chunk.id.hex) is missing")
      }
      guard let bytes = try? Zstd.decompress(packed, limit: chunk.length), bytes.count == chunk.length,
        Digest(of: bytes) == chunk.id
      else { throw wrong("chunk \(chunk.id.hex) is damaged") }
      whole.update(bytes)
      counts.chunks += 1
      progress.update("checking \(manifest.label)", done: chunk.end, total: manifest.length)
    }
    guard whole.finalize() == target.sha256 else { throw wrong("the chunks together do not have the signed digest") }
    counts.models += 1
  }

  /// The model's chunk index, checked against the signed length and digest.
  static func index(
    of manifest: ModelManifest, _ signed: ModelManifest.Index, _ source: RepoSource
  ) async throws -> ChunkIndex {
    func wrong(_ what: String) -> CommandFailure { CommandFailure("\(manifest.label): \(what)", status: .data) }
    let name = "indexes/\(signed.sha256.hex).caibx"
    guard let bytes = try await source.read(name, limit: Int(clamping: signed.length)) else {
      throw wrong("its index \(name) is missing")
    }
    guard UInt64(bytes.count) == signed.length, Digest(of: bytes) == signed.sha256 else {
      throw wrong("its index \(name) is damaged")
    }
    let index = try ChunkIndex(caibx: bytes)
    guard index.totalLength == manifest.length else { throw wrong("its index is of another length than the file") }
    return index
  }
}
