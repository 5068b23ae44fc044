internal import CFile
import Glibc

extension OpenFile {
  /// Where an open file stands among the names on the disk.
  enum Place: Sendable, Hashable {
    /// Its path still names it, and it has this many bytes.
    case there(bytes: UInt64)
    /// Nothing names it any more: it is gone when it is closed.
    case removed
    /// It has another name now.
    case moved
    /// Its path names another file.
    case replaced
  }

  func place() throws(StorageError) -> Place {
    var mine = stat()
    try System.call("stat", path) { fstat(descriptor, &mine) }
    var named = stat()
    do throws(StorageError) {
      try System.call("stat", path) { stat(path, &named) }
    } catch {
      guard case .notFound = error else { throw error }
      return mine.st_nlink == 0 ? .removed : .moved
    }
    guard named.st_dev == mine.st_dev, named.st_ino == mine.st_ino else { return .replaced }
    return .there(bytes: UInt64(mine.st_size))
  }

  /// Writes what was removed to its path again, out of what is still open: the bytes between these offsets, at the same
  /// offsets. Durable when it returns; never over another file.
  func putBack(from start: UInt64, to end: UInt64) throws(StorageError) -> OpenFile {
    try DurableFile.makeDirectory(DurableFile.folder(of: path))
    let temporary = path + ".\(getpid()).tmp"
    unlink(temporary)
    do throws(StorageError) {
      let copy = try OpenFile(temporary, O_RDWR | O_CREAT | O_EXCL)
      var at = start
      while at < end {
        let piece = try read(at: at, count: Int(min(end - at, 1 << 20)))
        guard !piece.isEmpty else { throw StorageError.damaged(path: path, reason: "it was cut off and removed") }
        try copy.write(piece, at: at)
        at += UInt64(piece.count)
      }
      try copy.sync()
      // link never replaces a file; rename would.
      try System.call("link", path) { link(temporary, path) }
      unlink(temporary)
      try DurableFile.syncFolder(of: path)
    } catch {
      unlink(temporary)
      throw error
    }
    return try OpenFile(path, O_RDWR)
  }

  /// Gives the bytes between these offsets back to the file system, which reads them as zeros from then on; where it can't,
  /// they are overwritten with zeros.
  func erase(from start: UInt64, to end: UInt64) throws(StorageError) {
    guard start < end else { return }
    do throws(StorageError) {
      try System.call("punch", path) { skerry_punch(descriptor, off_t(start), off_t(end - start)) }
    } catch {
      guard case .system(_, _, EOPNOTSUPP) = error else { throw error }
      let zeros = [UInt8](repeating: 0, count: 1 << 20)
      var at = start
      while at < end {
        let piece = Int(min(end - at, UInt64(zeros.count)))
        try write(piece == zeros.count ? zeros : Array(zeros.prefix(piece)), at: at)
        at += UInt64(piece)
      }
    }
  }
}
