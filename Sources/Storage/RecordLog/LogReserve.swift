import Glibc
import Synchronization

/// Room that is kept on the disk for a log's most urgent records: a file beside it with nothing in it. It is given up when
/// the disk is full, and taken again as soon as there is as much room.
final class LogReserve: Sendable {
  private let path: String
  private let size: Int
  private let isHeld = Mutex(false)

  /// - Parameter size: bytes; 0 keeps nothing.
  init(path: String, size: Int) {
    self.path = path
    self.size = size
  }

  /// Takes the room where it is not held. Throws `StorageError.full` when the disk has not as much.
  func hold() throws(StorageError) {
    if size == 0 || isHeld.withLock({ $0 }) { return }
    let file = try OpenFile(path, O_RDWR | O_CREAT)
    // It gives its error back instead of setting errno.
    let code = posix_fallocate(file.descriptor, 0, off_t(size))
    if code != 0 {
      unlink(path)
      throw StorageError(errno: code, operation: "reserve", path: path)
    }
    isHeld.withLock { $0 = true }
  }

  /// Gives the room up; false when there was none.
  func release() -> Bool {
    isHeld.withLock { isHeld in
      guard isHeld else { return false }
      isHeld = false
      guard let file = try? OpenFile(path, O_RDWR) else { return true }
      // Journaling file systems give room back with the next commit.
      try? file.truncate(to: 0)
      try? file.sync()
      return true
    }
  }
}
