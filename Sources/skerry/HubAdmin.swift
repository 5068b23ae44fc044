import Access
import CommandLine
import Fleet
import Models
import Storage
import Trust
import Web

/// The repository part of a hub's admin API.
struct HubAdmin: Sendable {
  let api: API

  /// Sends what the hub lacks, stages the metadata and commits it. Returns how many chunks were sent.
  func publish(
    _ folder: RepoFolder, _ contents: RepoContents, _ objects: RepoUpload, _ progress: ProgressBar
  ) async throws -> Int {
    let missing = try await missing(objects.chunks)
    let store = try ChunkStoreWriter(root: folder.chunks)
    // A few at a time: enough to fill the line, and memory stays at a few chunks.
    try await withThrowingTaskGroup(of: Void.self) { group in
      var waiting = missing.makeIterator()
      func next() {
        guard let id = waiting.next() else { return }
        group.addTask {
          guard let bytes = try store.compressed(id) else { throw TUFError.missing(file: RepoFolder.chunkName(id)) }
          try await api.put("/admin/v1/repo/chunks/\(id.hex)", bytes)
        }
      }
      for _ in 0..<4 { next() }
      var done: UInt64 = 0
      while try await group.next() != nil {
        done += 1
        progress.update("sending chunks", done: done, total: UInt64(missing.count), unit: .items)
        next()
      }
    }
    for digest in objects.indexes {
      guard let bytes = try DurableFile.read(folder.index(digest), limit: 1 << 30) else {
        throw TUFError.missing(file: "\(digest.hex).caibx")
      }
      try await api.put("/admin/v1/repo/indexes/\(digest.hex)", bytes)
    }
    for name in objects.signatures {
      guard let bytes = try DurableFile.read("\(folder.path)/\(name)", limit: SigstoreBundle.limit) else {
        throw TUFError.missing(file: name)
      }
      try await api.put("/admin/v1/repo/\(name)", bytes)
    }
    for file in objects.files { try await RepoWholeFile.upload(file, from: folder.file(file), to: api, progress) }
    for policy in objects.policies {
      guard let bytes = try DurableFile.read("\(folder.path)/targets/\(policy.filePath)", limit: FleetPolicy.limit)
      else {
        throw TUFError.missing(file: policy.filePath)
      }
      _ = try await api.putPiece(
        "/admin/v1/repo/targets/" + URLPath.encoded(policy.filePath), bytes,
        range: "bytes 0-\(bytes.count - 1)/\(bytes.count)")
    }
    progress.finish()
    for file in contents.roots + contents.lists {
      guard let bytes = try folder.read(file) else { throw TUFError.missing(file: file) }
      try await api.put("/admin/v1/repo/metadata/\(file)", bytes)
    }
    for file in try RepoDirector.files(folder) {
      try await api.put("/admin/v1/repo/director/\(file.name)", file.bytes)
    }
    // The hub reads every new chunk again before it says yes.
    _ = try await api.json("POST", "/admin/v1/repo/commit", body: [:], timeout: .seconds(3600))
    return missing.count
  }

  /// Which of these chunks the hub does not have, asked in portions that fit a request.
  private func missing(_ chunks: [ChunkID]) async throws -> [ChunkID] {
    var missing: [ChunkID] = []
    for start in stride(from: 0, to: chunks.count, by: 10_000) {
      let portion = chunks[start..<min(start + 10_000, chunks.count)]
      let question: JSONValue = ["chunks": .array(portion.map { .string($0.hex) })]
      let answer = try await api.json("POST", "/admin/v1/repo/missing", body: question)
      guard let list = answer["missing"]?.array else {
        throw CommandFailure("the hub's answer does not say which chunks are missing", status: .hubUnavailable)
      }
      missing += list.compactMap { $0.string.flatMap { Digest(hex: $0) } }
    }
    return missing
  }
}
