import Models
import Storage
import Trust

/// Gathers one model's file: its index, the chunks that are here already, the rest from the source.
struct ModelInstaller: Sendable {
  let manifest: ModelManifest
  /// Other models whose files may hold some of the chunks.
  let seeds: [ModelManifest]
  let store: ContentStore
  let source: any ModelSource
  let progress: ProgressHandler?

  /// Chunks that are fetched at the same time.
  private static let parallel = 4
  /// What stays free on the disk besides the model, in bytes.
  private static let reserve: UInt64 = 32 << 20
  /// An index longer than this is absurd: it would describe 100 GB.
  private static let longestIndex: UInt64 = 64 << 20

  private var label: String { manifest.label }

  /// Leaves the verified file in the store, or throws `RegistryError` and what the source and the disk throw; what
  /// arrived by then is kept. Returns the bytes fetched.
  func gather() async throws -> UInt64 {
    try checkSpace()
    let (index, indexBytes) = try await self.index()
    let assembler = try await offPool { try open(index) }
    let missing = await source.arrange(assembler.missing, of: manifest, index)
    let chunkBytes = try await fetch(missing, into: assembler)
    try await offPool { try finish(assembler) }
    return indexBytes + chunkBytes
  }

  /// Before the first byte: is there room for all of it?
  private func checkSpace() throws {
    let here = max(
      BlobFile.allocated(store.partialPath(manifest.sha256)), BlobFile.allocated(store.blobPath(manifest.sha256)))
    let needed = manifest.length - min(here, manifest.length) + manifest.index.length + ModelInstaller.reserve
    let free = try store.freeSpace()
    guard needed <= free else { throw RegistryError.noSpace(model: label, needed: needed, free: free) }
  }

  /// The chunk index from the store, or fetched and checked against the signed digest.
  private func index() async throws -> (ChunkIndex, fetched: UInt64) {
    let digest = manifest.index.sha256
    if let known = try? store.index(digest), known.totalLength == manifest.length { return (known, 0) }
    guard manifest.index.length <= ModelInstaller.longestIndex else { throw RegistryError.wrongIndex(model: label) }
    let bytes = try await source.index(digest, limit: Int(manifest.index.length))
    guard bytes.count == manifest.index.length, Digest(of: bytes) == digest else {
      throw RegistryError.wrongIndex(model: label)
    }
    let index: ChunkIndex
    do {
      index = try store.putIndex(digest, bytes)
    } catch let error as ChunkIndexError {
      throw RegistryError.badIndex(model: label, error)
    }
    guard index.totalLength == manifest.length else { throw RegistryError.indexDisagrees(model: label) }
    return (index, UInt64(bytes.count))
  }

  /// Finds the chunks that are here: in a download that was cut off, in a damaged file, in other models.
  private func open(_ index: ChunkIndex) throws -> ChunkAssembler {
    // A file in its place that is not known to be whole is looked at chunk by chunk like a download.
    if store.has(manifest.sha256) { try store.demote(manifest.sha256) }
    let assembler = try ChunkAssembler(store: store, index: index, digest: manifest.sha256) { done, total in
      progress?(SyncProgress(.check, model: label, done: done, total: total))
    }
    for seed in seeds where assembler.remaining > 0 && store.has(seed.sha256) {
      guard let other = try? store.index(seed.index.sha256) else { continue }
      _ = try assembler.seed(from: store.blobPath(seed.sha256), index: other)
    }
    return assembler
  }

  /// Fetches chunks, a few at a time; each is verified before it is written. Returns the bytes that travelled.
  private func fetch(_ missing: [Chunk], into assembler: ChunkAssembler) async throws -> UInt64 {
    var remaining = missing.makeIterator()
    var travelled: UInt64 = 0
    func report() {
      let done = manifest.length - assembler.remaining
      progress?(SyncProgress(.download, model: label, done: done, total: manifest.length))
    }
    report()
    try await withThrowingTaskGroup(of: Int.self) { group in
      func add() {
        guard let chunk = remaining.next() else { return }
        group.addTask { try await fetch(chunk, into: assembler) }
      }
      for _ in 0..<ModelInstaller.parallel { add() }
      while let bytes = try await group.next() {
        travelled += UInt64(bytes)
        report()
        add()
      }
    }
    return travelled
  }

  private func fetch(_ chunk: Chunk, into assembler: ChunkAssembler) async throws -> Int {
    // Incompressible bytes grow a little: Zstandard's own bound is 1/256 and a few bytes.
    let compressed = try await source.chunk(chunk.id, limit: chunk.length + chunk.length / 128 + 1024)
    do {
      try await offPool { try assembler.put(chunk.id, compressed: compressed) }
    } catch StorageError.wrongDigest {
      throw RegistryError.badChunk(model: label, chunk.id)
    }
    return compressed.count
  }

  /// Verifies the whole, puts it in its place, and refuses what is no GGUF, however well it is signed.
  private func finish(_ assembler: ChunkAssembler) throws {
    let path: String
    do {
      path = try assembler.finish { done, total in
        progress?(SyncProgress(.verify, model: label, done: done, total: total))
      }
    } catch StorageError.wrongDigest {
      throw RegistryError.wrongDigest(model: label)
    }
    let file = try BlobFile(path)
    do {
      let header = try GGUFHeader.parse(fileSize: manifest.length) { try file.read(at: $0, count: $1) }
      try header.demand(manifest.kind, architecture: manifest.architecture)
    } catch let error as GGUFError {
      throw RegistryError.refused(model: label, error)
    }
  }
}
