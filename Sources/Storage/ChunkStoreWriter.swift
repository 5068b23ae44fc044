import Glibc
import Models
import Trust

/// A casync chunk store (`.castr`): `DIR/abcd/abcd….cacnk`, a zstd frame each, by the digest of the uncompressed
/// bytes. Any static web server can serve it.
public struct ChunkStoreWriter: Sendable {
  public let root: String

  public init(root: String) throws(StorageError) {
    self.root = root
    try DurableFile.makeDirectory(root, mode: 0o755)
  }

  /// What a file became in the store.
  public struct Written: Sendable {
    public let index: ChunkIndex
    /// The digest of the whole file.
    public let digest: Digest
    public let length: UInt64
    /// The digest of `index.caibx`.
    public let indexDigest: Digest
    /// Chunks that the store did not have before.
    public let newChunks: Int
  }

  /// `abcd/abcd….cacnk`.
  public static func relativePath(of id: ChunkID) -> String { "\(id.hex.prefix(4))/\(id.hex).cacnk" }

  public func path(of id: ChunkID) -> String { "\(root)/\(ChunkStoreWriter.relativePath(of: id))" }

  /// Cuts the file into chunks and stores those that are not there; synced when it returns. `progress` gets bytes
  /// done and bytes in all. One chunk is in memory at a time.
  public func write(file path: String, progress: (UInt64, UInt64) -> Void = { _, _ in }) throws -> Written {
    let source = try OpenFile(path, O_RDONLY)
    let size = try source.size()
    var whole = SHA256()
    var chunks: [(length: Int, id: ChunkID)] = []
    var written: [ChunkID] = []
    var start: UInt64 = 0
    let zeros = [UInt8](repeating: 0, count: Chunker.maximum)
    let zerosID = Digest(of: zeros)
    var hasZeros = false
    try ChunkedReading.ends(of: source) { end, isHole in
      if isHole, hasZeros {
        whole.update(zeros)
        chunks.append((zeros.count, zerosID))
        start = end
        progress(end, size)
        return
      }
      hasZeros = hasZeros || isHole
      let bytes = try source.read(at: start, count: Int(end - start))
      guard bytes.count == Int(end - start) else {
        throw StorageError.damaged(path: path, reason: "it changed while it was read")
      }
      whole.update(bytes)
      let id = Digest(of: bytes)
      chunks.append((bytes.count, id))
      if try chunk(id) == nil {
        try place(id, try Zstd.compress(bytes))
        written.append(id)
      }
      start = end
      progress(end, size)
    }
    try sync(written)
    let index = ChunkIndex(chunks: chunks)
    return Written(
      index: index, digest: whole.finalize(), length: start, indexDigest: Digest(of: index.caibx),
      newChunks: written.count)
  }

  /// The chunk's bytes, uncompressed; nil when it is not there or damaged.
  public func chunk(_ id: ChunkID) throws(StorageError) -> [UInt8]? {
    guard let packed = try DurableFile.read(path(of: id), limit: ChunkStoreWriter.largestFile),
      let bytes = try? Zstd.decompress(packed, limit: Int(ChunkIndex.largestChunk)), Digest(of: bytes) == id
    else { return nil }
    return bytes
  }

  /// The stored frame as it is, for sending; nil when it is not there.
  public func compressed(_ id: ChunkID) throws(StorageError) -> [UInt8]? {
    try DurableFile.read(path(of: id), limit: ChunkStoreWriter.largestFile)
  }

  public func has(_ id: ChunkID) -> Bool { DurableFile.exists(path(of: id)) }

  /// Stores a frame that came from elsewhere, durably; one whose content has another digest is refused.
  public func put(_ id: ChunkID, compressed: [UInt8]) throws {
    let bytes = try Zstd.decompress(compressed, limit: Int(ChunkIndex.largestChunk))
    guard Digest(of: bytes) == id else { throw StorageError.wrongDigest(path: path(of: id)) }
    try DurableFile.makeDirectory(DurableFile.folder(of: path(of: id)), mode: 0o755)
    try DurableFile.replace(path(of: id), with: compressed, mode: 0o644)
  }

  private static let largestFile = Int(ChunkIndex.largestChunk) + (1 << 16)

  /// Without a sync: `write` syncs all of them at its end, and never trusts a chunk that it finds.
  private func place(_ id: ChunkID, _ compressed: [UInt8]) throws(StorageError) {
    let path = path(of: id)
    try DurableFile.makeDirectory(DurableFile.folder(of: path), mode: 0o755)
    let temporary = "\(path).\(getpid()).tmp"
    do {
      let file = try OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
      try file.write(compressed, at: 0)
      try System.call("rename", path) { rename(temporary, path) }
    } catch {
      unlink(temporary)
      throw error
    }
  }

  private func sync(_ ids: [ChunkID]) throws(StorageError) {
    for id in ids { try OpenFile(path(of: id), O_RDONLY).sync() }
    for folder in Set(ids.map { DurableFile.folder(of: path(of: $0)) }) {
      try OpenFile(folder, O_RDONLY | O_DIRECTORY).sync()
    }
  }
}

/// A file's cut points, with bounded memory.
enum ChunkedReading {
  /// Calls with the end of each chunk, in order, and whether it is a hole in the file, of the longest length: those are
  /// found without being read.
  static func ends(of file: OpenFile, _ body: (UInt64, Bool) throws -> Void) throws {
    let size = try file.size()
    var chunker = Chunker()
    var at: UInt64 = 0
    while true {
      let isHole = at + UInt64(Chunker.maximum) <= size ? try file.isHole(at, Chunker.maximum) : false
      if isHole, chunker.pending == 0 {
        chunker.passZeros()
        at += UInt64(Chunker.maximum)
        try body(at, true)
        continue
      }
      // In a hole no more than the chunk may still have, so that the next look is at its end.
      let piece = try file.read(at: at, count: isHole ? Chunker.maximum - chunker.pending : 1 << 20)
      if piece.isEmpty { break }
      at += UInt64(piece.count)
      for end in chunker.push(piece) { try body(end, false) }
    }
    if let end = chunker.finish() { try body(end, false) }
  }
}
