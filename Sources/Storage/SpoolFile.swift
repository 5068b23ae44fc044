import Glibc
import Trust

/// A file for bytes on their way, too many for memory: written from its beginning to its end, then read at any place. It
/// is nobody's state: what a crash leaves of it is removed at the next start.
public final class SpoolFile: Sendable {
  public let path: String
  private let file: OpenFile

  /// Makes the file, for the owner alone; one that is there already is emptied.
  public init(_ path: String) throws(StorageError) {
    self.path = path
    try DurableFile.makeDirectory(DurableFile.folder(of: path))
    file = try OpenFile(path, O_RDWR | O_CREAT | O_TRUNC)
  }

  /// Writes at an offset, usually the end.
  public func write(_ bytes: [UInt8], at offset: UInt64) throws(StorageError) { try file.write(bytes, at: offset) }

  /// Up to `count` bytes from the offset; fewer only at the file's end.
  public func read(at offset: UInt64, count: Int) throws(StorageError) -> [UInt8] {
    try file.read(at: offset, count: count)
  }

  /// Its bytes so far.
  public func length() throws(StorageError) -> UInt64 { try file.size() }

  /// What was written is on the disk after this.
  public func sync() throws(StorageError) { try file.sync() }

  /// Removes it; what is open goes on reading.
  public func remove() { unlink(path) }

  /// Bytes that may still be written on this file's file system.
  public func freeSpace() throws(StorageError) -> UInt64 {
    var status = statvfs()
    try System.call("statvfs", path) { fstatvfs(file.descriptor, &status) }
    return UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }
}

/// Reads files that are too large for memory.
public enum FilePieces {
  /// Up to `count` bytes from the offset; fewer only at the file's end.
  public static func read(_ path: String, at offset: UInt64, count: Int) throws(StorageError) -> [UInt8] {
    try OpenFile(path, O_RDONLY).read(at: offset, count: count)
  }

  /// Hands on the file's bytes from the first to the last, `count` at a time.
  public static func read(_ path: String, _ count: Int, _ take: ([UInt8]) throws -> Void) throws {
    let file = try OpenFile(path, O_RDONLY)
    var offset: UInt64 = 0
    while true {
      let piece = try file.read(at: offset, count: count)
      if piece.isEmpty { return }
      try take(piece)
      offset += UInt64(piece.count)
    }
  }
}
