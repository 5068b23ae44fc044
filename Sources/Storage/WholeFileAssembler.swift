import Glibc
import Trust

/// Gathers a file that has no chunk index, from its first byte to its last, in `partial/HEX`. What is there is the
/// file's beginning: a kill leaves a shorter one, and the next run goes on at its end. Nothing of it is known to be right
/// before the whole is.
public final class WholeFileAssembler: Sendable {
  public let digest: Digest
  public let length: UInt64
  private let store: ContentStore
  private let file: OpenFile

  /// Opens the download. A file that was gathered by chunks has holes and is of no use here: it is begun anew.
  public init(store: ContentStore, digest: Digest, length: UInt64) throws(StorageError) {
    self.store = store
    self.digest = digest
    self.length = length
    file = try OpenFile(store.partialPath(digest), O_RDWR | O_CREAT)
    if DurableFile.exists(store.claimsPath(digest)) {
      try file.truncate(to: 0)
      try DurableFile.remove(store.claimsPath(digest))
    }
    if try file.size() > length { try file.truncate(to: 0) }
    guard try store.freeSpace() >= length - here() else { throw .full(path: store.partialPath(digest)) }
  }

  /// How many bytes are here.
  public func here() throws(StorageError) -> UInt64 { try file.size() }

  /// Appends the next bytes. More than the file has is `.tooLarge`, and nothing of the piece is kept.
  public func append(_ bytes: [UInt8]) throws(StorageError) {
    let at = try here()
    guard at + UInt64(bytes.count) <= length else {
      throw .tooLarge(path: file.path, limit: Int(clamping: length))
    }
    try file.write(bytes, at: at)
  }

  /// What is here, for a short file.
  public func content() throws(StorageError) -> [UInt8] { try file.read(at: 0, count: Int(try file.size())) }

  /// Forgets what is here.
  public func discard() throws(StorageError) { try DurableFile.remove(store.partialPath(digest)) }

  /// Verifies the whole and puts it in its place. Returns the blob's path. A wrong one is removed, `.wrongDigest`:
  /// without chunks nobody can tell which part is at fault.
  public func finish(
    progress: @escaping @Sendable (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) -> String {
    let partial = store.partialPath(digest)
    guard try here() == length else { throw .damaged(path: partial, reason: "it is not complete") }
    guard try FileDigest.of(file, progress: progress) == digest else {
      try DurableFile.remove(partial)
      throw .wrongDigest(path: partial)
    }
    try file.sync()
    let path = store.blobPath(digest)
    try DurableFile.move(partial, to: path)
    return path
  }
}
