import Glibc
import Models
import Synchronization
import Trust

/// Puts a file together from its chunks, in place, in `partial/HEX`. It can be killed at any point: the next one goes on
/// with what `partial/HEX.claims` says is here. Memory is bounded by the index, six bytes for each of its chunks, and one
/// chunk for each call under way; calls for different chunks may run at the same time.
public final class ChunkAssembler: Sendable {
  public let digest: Digest
  public let index: ChunkIndex
  private let store: ContentStore
  private let file: OpenFile
  private let claims: PartialClaims
  private let order: ChunkOrder
  private let state: Mutex<State>

  private struct State: Sendable {
    /// By the chunk's number.
    var isHere: [Bool]
    var remaining: UInt64
    /// Something was taken on the claims' word.
    var isUnproved: Bool
  }

  /// Opens the download and finds what it holds already; `progress` gets bytes looked at and bytes in all, from several
  /// threads. Throws `.full` at once when the disk can't hold the rest.
  public init(
    store: ContentStore, index: ChunkIndex, digest: Digest,
    progress: @escaping @Sendable (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) {
    self.store = store
    self.index = index
    self.digest = digest
    order = ChunkOrder(index)
    let path = store.partialPath(digest)
    file = try OpenFile(path, O_RDWR | O_CREAT)
    let before = try file.size()
    let opened = try PartialClaims.open(store.claimsPath(digest), index: index)
    claims = opened.file
    if before != index.totalLength { try file.truncate(to: index.totalLength) }
    // A file of another length is none that the claims were made for.
    let known = before == index.totalLength ? opened.claims : nil
    let found: [Bool]
    if let known {
      found = known
    } else {
      found = try file.verified(index, upTo: before, progress: progress)
      try claims.set(found)
    }
    state = Mutex(State(isHere: found, remaining: 0, isUnproved: known != nil))
    try fillZeros()
    try copyRepeated()
    state.withLock { state in
      state.remaining = index.absent(state.isHere)
    }
    progress(index.totalLength, index.totalLength)
    guard try store.freeSpace() >= remaining else { throw .full(path: path) }
  }

  /// The bytes that are still to come, uncompressed.
  public var remaining: UInt64 { state.withLock(\.remaining) }

  /// The numbers of the chunks that are still missing, one for each id, in the order of the file.
  public var missingNumbers: [UInt32] {
    state.withLock { state in
      (0..<index.count).compactMap { !state.isHere[$0] && order.isFirst($0) ? UInt32($0) : nil }
    }
  }

  /// The same as chunks.
  public var missing: [Chunk] { missingNumbers.map { index.chunks[Int($0)] } }

  /// Takes a chunk as a chunk store holds it: a zstd frame. Bytes that don't match the id are refused with
  /// `.wrongDigest` and leave no trace; a chunk that isn't missing is dropped.
  public func put(_ id: ChunkID, compressed: [UInt8]) throws {
    guard let number = order.first(of: id), state.withLock({ !$0.isHere[number] }) else { return }
    let bytes: [UInt8]
    do {
      bytes = try Zstd.decompress(compressed, limit: index.length(number))
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
    try place(bytes, at: order.numbers(of: id), id)
  }

  private func place(_ bytes: [UInt8], at numbers: [Int], _ id: ChunkID) throws(StorageError) {
    for number in numbers where state.withLock({ !$0.isHere[number] }) {
      guard index.length(number) == bytes.count else {
        throw .wrongDigest(path: ChunkStoreWriter.relativePath(of: id))
      }
      try file.write(bytes, at: index.offset(number))
      try claims.set(number)
      state.withLock { state in
        // Another call may have put the same chunk meanwhile.
        guard !state.isHere[number] else { return }
        state.isHere[number] = true
        state.remaining -= min(UInt64(bytes.count), state.remaining)
      }
    }
  }

  /// Takes what it can from another file on this machine, such as the model's previous version; each chunk is
  /// verified, several at a time. With the other file's index only useful chunks are read, without it the file is cut
  /// anew. Returns the bytes that need not be fetched now.
  public func seed(from path: String, index other: ChunkIndex? = nil) throws -> UInt64 {
    let before = remaining
    let source = try OpenFile(path, O_RDONLY)
    if let other {
      try Parallel.each(other.count) { number throws(StorageError) in
        let id = other.id(number)
        guard let here = self.order.first(of: id), self.state.withLock({ !$0.isHere[here] }) else { return }
        let bytes = try source.read(at: other.offset(number), count: other.length(number))
        // The other file may be damaged: then this chunk is fetched.
        if Digest(of: bytes) == id { try self.put(id, bytes) }
      }
    } else {
      var start: UInt64 = 0
      try ChunkedReading.ends(of: source) { end, _ in
        let bytes = try source.read(at: start, count: Int(end - start))
        start = end
        let id = Digest(of: bytes)
        if let here = order.first(of: id), state.withLock({ !$0.isHere[here] }) { try put(id, bytes) }
      }
    }
    return before - remaining
  }

  /// Verifies the whole file against its digest, syncs it and puts it in its place. Returns the blob's path.
  ///
  /// Throws `.damaged` when chunks are missing: also when a claim of an earlier run turns out false, and then `missing`
  /// names what is to be fetched. A file whose chunks are all proved right but whose digest is wrong can never become
  /// right: it is removed, `.wrongDigest`.
  public func finish(
    progress: @escaping @Sendable (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) -> String {
    let partial = store.partialPath(digest)
    guard remaining == 0 else {
      throw .damaged(path: partial, reason: "\(remaining) bytes are still missing")
    }
    var isRight = try FileDigest.of(file, progress: progress) == digest
    if !isRight, state.withLock(\.isUnproved) {
      try prove()
      guard remaining == 0 else {
        throw .damaged(path: partial, reason: "\(remaining) bytes are not what the last run left")
      }
      isRight = try FileDigest.of(file, progress: progress) == digest
    }
    guard isRight else {
      try DurableFile.remove(partial)
      try DurableFile.remove(store.claimsPath(digest))
      throw .wrongDigest(path: partial)
    }
    try file.sync()
    let path = store.blobPath(digest)
    try DurableFile.move(partial, to: path)
    try DurableFile.remove(store.claimsPath(digest))
    return path
  }

  /// Reads every chunk; what is false is missing from then on.
  private func prove() throws(StorageError) {
    let found = try file.verified(index, upTo: index.totalLength) { _, _ in }
    try claims.set(found)
    state.withLock { state in
      state.isHere = found
      state.isUnproved = false
    }
    try fillZeros()
    try copyRepeated()
    state.withLock { $0.remaining = index.absent($0.isHere) }
  }

  /// A run of zeros of the largest length is known by its id and needs no bytes: a hole reads as zeros.
  private func fillZeros() throws(StorageError) {
    let length = Int(index.maximum)
    guard index.count > 1, length <= 4 << 20 else { return }
    let numbers = order.numbers(of: Digest(of: [UInt8](repeating: 0, count: length)))
    for number in numbers where state.withLock({ !$0.isHere[number] }) && index.length(number) == length {
      if try !file.isHole(index.offset(number), length) {
        try file.write([UInt8](repeating: 0, count: length), at: index.offset(number))
      }
      state.withLock { $0.isHere[number] = true }
      try claims.set(number)
    }
  }

  /// A chunk that is here in one place and missing in another is copied.
  private func copyRepeated() throws(StorageError) {
    for first in 0..<index.count where order.isRepeated(first) {
      let id = index.id(first)
      let numbers = order.numbers(of: id)
      let (good, isWhole) = state.withLock { state in
        (numbers.first { state.isHere[$0] }, numbers.allSatisfy { state.isHere[$0] })
      }
      guard let good, !isWhole else { continue }
      let bytes = try file.read(at: index.offset(good), count: index.length(good))
      if Digest(of: bytes) == id { try place(bytes, at: numbers, id) }
    }
  }
}

extension ChunkIndex {
  /// The bytes of the chunks that are not here.
  func absent(_ isHere: [Bool]) -> UInt64 {
    var bytes: UInt64 = 0
    for number in 0..<count where !isHere[number] { bytes += UInt64(length(number)) }
    return bytes
  }
}
