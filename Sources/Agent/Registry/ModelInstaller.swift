import Models
import Storage
import Trust

/// Gathers one model's file: by its chunk index, with the chunks that are here already and the rest from the source; or
/// as a whole where the publisher made no index.
struct ModelInstaller: Sendable {
  let manifest: ModelManifest
  /// Other models whose files may hold some of the chunks.
  let seeds: [ModelManifest]
  let store: ContentStore
  let source: any ModelSource
  let progress: ProgressHandler?

  /// What stays free on the disk besides the model, in bytes.
  private static let reserve: UInt64 = 32 << 20
  /// How often a file may turn out other than the last run left it. Its disk is broken then.
  private static let mends = 3

  private var label: String { manifest.label }

  /// Leaves the verified file in the store, or throws `RegistryError` and what the source and the disk throw; what
  /// arrived by then is kept. Returns the bytes fetched.
  func gather() async throws -> UInt64 {
    try checkSpace()
    // A file in its place that is not known to be whole is looked at like a download.
    if store.has(manifest.sha256) { try await offPool { [store, manifest] in try store.demote(manifest.sha256) } }
    do {
      return if let index = manifest.index { try await gather(by: index) } else { try await gatherWhole() }
    } catch let error as StorageError {
      // Somebody else filled the disk on the way: the same words as before the start, with the rest that is needed now.
      if case .full = error { try checkSpace() }
      throw error
    }
  }

  /// Is there room for what is still to come, and for the box's own work beside it?
  private func checkSpace() throws {
    let here = max(
      BlobFile.allocated(store.partialPath(manifest.sha256)), BlobFile.allocated(store.blobPath(manifest.sha256)))
    let rest = manifest.length - min(here, manifest.length) + (manifest.index?.length ?? 0)
    let needed = rest + ModelInstaller.reserve
    let free = try store.freeSpace()
    guard needed <= free else { throw RegistryError.noSpace(model: label, needed: needed, free: free) }
  }

  // MARK: by chunks

  private func gather(by signed: ModelManifest.Index) async throws -> UInt64 {
    let (index, indexBytes) = try await self.index(signed)
    let assembler = try await offPool { try open(index) }
    var travelled = indexBytes
    for attempt in 1... {
      let missing = await source.arrange(assembler.missingNumbers, of: manifest, index)
      travelled += try await ChunkFetch(
        label: label, source: source, assembler: assembler, progress: progress
      ).run(missing)
      do {
        try await offPool { try finish(assembler) }
        break
      } catch StorageError.damaged where assembler.remaining > 0 && attempt < ModelInstaller.mends {
        // What an earlier run left was not what it claimed: those chunks are fetched, and no others.
        continue
      }
    }
    return travelled
  }

  /// The chunk index from the store, or fetched and checked against the signed digest.
  private func index(_ signed: ModelManifest.Index) async throws -> (ChunkIndex, fetched: UInt64) {
    if let known = try? store.index(signed.sha256), known.totalLength == manifest.length { return (known, 0) }
    guard signed.length <= UInt64(ChunkIndex.largestIndex) else { throw RegistryError.wrongIndex(model: label) }
    let (bytes, travelled) = try await indexBytes(signed)
    let index: ChunkIndex
    do {
      index = try store.putIndex(signed.sha256, bytes)
    } catch let error as ChunkIndexError {
      throw RegistryError.badIndex(model: label, error)
    }
    guard index.totalLength == manifest.length else { throw RegistryError.indexDisagrees(model: label) }
    return (index, travelled)
  }

  /// The index as it came, with the signed length and digest. It too goes on where it stopped.
  private func indexBytes(_ signed: ModelManifest.Index) async throws -> ([UInt8], travelled: UInt64) {
    let partial = try WholeFileAssembler(store: store, digest: signed.sha256, length: signed.length)
    let before = try partial.here()
    do {
      try await source.index(signed.sha256, length: signed.length, from: before) { piece in
        try await offPool { try partial.append(piece) }
      }
    } catch StorageError.tooLarge {
      try partial.discard()
      throw RegistryError.wrongIndex(model: label)
    }
    let (bytes, here) = (try partial.content(), try partial.here())
    // One that is no longer needed, or that was wrong from the beginning.
    try partial.discard()
    guard here == signed.length, Digest(of: bytes) == signed.sha256 else {
      throw RegistryError.wrongIndex(model: label)
    }
    return (bytes, here - before)
  }

  /// Finds the chunks that are here: in a download that was cut off, in a damaged file, in other models.
  private func open(_ index: ChunkIndex) throws -> ChunkAssembler {
    let (progress, label) = (progress, label)
    let assembler = try ChunkAssembler(store: store, index: index, digest: manifest.sha256) { done, total in
      progress?(SyncProgress(.check, model: label, done: done, total: total))
    }
    for seed in seeds where assembler.remaining > 0 && store.has(seed.sha256) {
      guard let signed = seed.index, let other = try? store.index(signed.sha256) else { continue }
      _ = try assembler.seed(from: store.blobPath(seed.sha256), index: other)
    }
    return assembler
  }

  private func finish(_ assembler: ChunkAssembler) throws {
    let (progress, label) = (progress, label)
    let path: String
    do {
      path = try assembler.finish { done, total in
        progress?(SyncProgress(.verify, model: label, done: done, total: total))
      }
    } catch StorageError.wrongDigest {
      throw RegistryError.wrongDigest(model: label)
    }
    try demandModel(path)
  }

  // MARK: as a whole

  /// From where the last run stopped to the end. A file that went on from an earlier run and came out wrong is fetched
  /// once more from its beginning: a power cut may have taken some of what was there.
  private func gatherWhole() async throws -> UInt64 {
    var travelled: UInt64 = 0
    for attempt in 1... {
      let assembler = try await offPool { [store, manifest] in
        try WholeFileAssembler(store: store, digest: manifest.sha256, length: manifest.length)
      }
      let before = try assembler.here()
      if before < manifest.length { try await fetch(into: assembler, from: before) }
      travelled += try assembler.here() - before
      do {
        try await offPool { try finish(assembler) }
        break
      } catch StorageError.wrongDigest {
        guard before > 0, attempt == 1 else { throw RegistryError.wrongFile(model: label) }
      }
    }
    return travelled
  }

  private func fetch(into assembler: WholeFileAssembler, from start: UInt64) async throws {
    let (progress, manifest) = (progress, manifest)
    @Sendable func report(_ done: UInt64) {
      progress?(SyncProgress(.download, model: manifest.label, done: done, total: manifest.length))
    }
    report(start)
    do {
      try await source.file(of: manifest, from: start) { piece in
        try await offPool { try assembler.append(piece) }
        report(try assembler.here())
      }
    } catch StorageError.tooLarge {
      throw RegistryError.wrongFile(model: label)
    }
    guard try assembler.here() == manifest.length else { throw RegistryError.notServed(manifest.filePath) }
  }

  private func finish(_ assembler: WholeFileAssembler) throws {
    let (progress, label) = (progress, label)
    let path = try assembler.finish { done, total in
      progress?(SyncProgress(.verify, model: label, done: done, total: total))
    }
    try demandModel(path)
  }

  /// Refuses what is no GGUF, however well it is signed.
  private func demandModel(_ path: String) throws {
    let file = try BlobFile(path)
    do {
      let header = try GGUFHeader.parse(fileSize: manifest.length) { try file.read(at: $0, count: $1) }
      try header.demand(manifest.kind, architecture: manifest.architecture)
    } catch let error as GGUFError {
      throw RegistryError.refused(model: label, error)
    }
  }
}
