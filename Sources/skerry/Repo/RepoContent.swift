import CommandLine
import Models
import Storage
import Trust

/// What a model's file becomes in a repository's folder: chunks and an index, or nothing but its digest.
struct RepoContent {
  let digest: Digest
  /// Nil: the file is published as a whole.
  let index: ModelManifest.Index?
  /// For people: "in 12 chunks, 3 of them new".
  let summary: String

  static func store(
    _ path: String, size: UInt64, in folder: RepoFolder, chunked: Bool, _ progress: ProgressBar
  ) throws -> RepoContent {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    defer { progress.finish() }
    guard chunked else {
      let digest = try FileDigest.of(path) { progress.update("digest of \(name)", done: $0, total: $1) }
      return RepoContent(digest: digest, index: nil, summary: "as a whole file")
    }
    let store = try ChunkStoreWriter(root: folder.chunks)
    let written = try store.write(file: path) { progress.update("chunks of \(name)", done: $0, total: $1) }
    guard written.length == size else { throw CommandFailure("\(path) changed while it was read", status: .data) }
    let index = written.index.caibx
    try DurableFile.replace(folder.index(written.indexDigest), with: index, mode: 0o644)
    return RepoContent(
      digest: written.digest, index: ModelManifest.Index(length: UInt64(index.count), sha256: written.indexDigest),
      summary: "in \(written.index.count) chunks, \(written.newChunks) of them new")
  }
}
