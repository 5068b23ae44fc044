import Glibc
import Models
import Synchronization
import Trust

/// Puts a file together from its chunks, in place, in `partial/HEX`. It can be killed at any point: the next one
/// re-hashes what is there and goes on. Memory is bounded by one chunk for each call under way; calls for different
/// chunks may run at the same time.
public final class ChunkAssembler: Sendable {
  public let digest: Digest
  public let index: ChunkIndex
  private let store: ContentStore
  private let file: OpenFile
  private let state: Mutex<State>

  private struct State: Sendable {
    /// The places that wait for a chunk.
    var missing: [ChunkID: [Chunk]]
    var remaining: UInt64
  }

  /// Opens the download and finds what it holds already; `progress` gets bytes looked at and bytes in all. Throws
  /// `.full` at once when the disk can't hold the rest.
  public init(
    store: ContentStore, index: ChunkIndex, digest: Digest, progress: (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) {
    self.store = store
    self.index = index
    self.digest = digest
    let path = store.partialPath(digest)
    file = try OpenFile(path, O_RDWR | O_CREAT)
    let before = try file.size()
    if before != index.totalLength { try file.truncate(to: index.totalLength) }
    var missing: [ChunkID: [Chunk]] = [:]
    var remaining: UInt64 = 0
    for chunk in index.chunks {
      if before <= chunk.offset {
        missing[chunk.id, default: []].append(chunk)
        remaining += UInt64(chunk.length)
      } else if try !file.holds(chunk) {
        missing[chunk.id, default: []].append(chunk)
        remaining += UInt64(chunk.length)
      }
      progress(chunk.end, index.totalLength)
    }
    guard try store.freeSpace() >= remaining else { throw .full(path: path) }
    state = Mutex(State(missing: missing, remaining: remaining))
  }

  /// The bytes that are still to come, uncompressed.
  public var remaining: UInt64 { state.withLock(\.remaining) }

  /// One chunk for each id that is still missing, in the order of the file.
  public var missing: [Chunk] {
    state.withLock { $0.missing.values.compactMap(\.first) }.sorted { $0.offset < $1.offset }
  }

  /// Takes a chunk as a chunk store holds it: a zstd frame. Bytes that don't match the id are refused with
  /// `.wrongDigest` and leave no trace; a chunk that isn't missing is dropped.
  public func put(_ id: ChunkID, compressed: [UInt8]) throws {
    guard let length = state.withLock({ $0.missing[id]?.first?.length }) else { return }
    let bytes: [UInt8]
    do {
      bytes = try Zstd.decompress(compressed, limit: length)
    } catch Zstd.Failure.outOfMemory {
      throw Zstd.Failure.outOfMemory
    } catch {
      throw StorageError.wrongDigest(path: ChunkStoreWriter.relativePath(of: id))
    }
    try put(id, bytes)
  }

  /// The same with uncompressed bytes.
  public func put(_ id: ChunkID, _ bytes: [UInt8]) throws(StorageError) {
    guard Digest(of: bytes) == id else { throw .wrongDigest(path: ChunkStoreWriter.relativePath(of: id)) }
    let places = state.withLock { $0.missing[id] ?? [] }
    for place in places {
      guard place.length == bytes.count else { throw .wrongDigest(path: ChunkStoreWriter.relativePath(of: id)) }
      try file.write(bytes, at: place.offset)
    }
    state.withLock { state in
      // Another call may have put the same chunk meanwhile.
      guard let done = state.missing.removeValue(forKey: id) else { return }
      for place in done { state.remaining -= UInt64(place.length) }
    }
  }

  /// Takes what it can from another file on this machine, such as the model's previous version; each chunk is
  /// verified. With the other file's index only useful chunks are read, without it the file is cut anew. Returns
  /// the bytes that need not be fetched now.
  public func seed(from path: String, index other: ChunkIndex? = nil) throws -> UInt64 {
    let before = remaining
    let source = try OpenFile(path, O_RDONLY)
    if let other {
      for chunk in other.chunks where state.withLock({ $0.missing[chunk.id] != nil }) {
        try take(chunk, from: source)
      }
    } else {
      var start: UInt64 = 0
      try ChunkedReading.ends(of: source) { end in
        let bytes = try source.read(at: start, count: Int(end - start))
        start = end
        let id = Digest(of: bytes)
        if state.withLock({ $0.missing[id] != nil }) { try put(id, bytes) }
      }
    }
    return before - remaining
  }

  /// Verifies the whole file against its digest, syncs it and puts it in its place. Returns the blob's path. A file
  /// whose chunks are all right but whose digest is wrong can never become right: it is removed, `.wrongDigest`.
  public func finish(progress: (UInt64, UInt64) -> Void = { _, _ in }) throws(StorageError) -> String {
    guard remaining == 0 else {
      throw .damaged(path: store.partialPath(digest), reason: "\(remaining) bytes are still missing")
    }
    guard try FileDigest.of(file, progress: progress) == digest else {
      try DurableFile.remove(store.partialPath(digest))
      throw .wrongDigest(path: store.partialPath(digest))
    }
    try file.sync()
    let path = store.blobPath(digest)
    try DurableFile.move(store.partialPath(digest), to: path)
    return path
  }

  private func take(_ chunk: Chunk, from source: OpenFile) throws(StorageError) {
    let bytes = try source.read(at: chunk.offset, count: chunk.length)
    // The other file may be damaged: then this chunk is fetched.
    if Digest(of: bytes) == chunk.id { try put(chunk.id, bytes) }
  }
}
