import Glibc
import Storage

/// A stored file, opened for reading pieces of it.
final class BlobFile {
  private let descriptor: Int32
  private let path: String

  /// Throws `StorageError.notFound`.
  init(_ path: String) throws(StorageError) {
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    self.path = path
    if descriptor < 0 { throw .notFound(path: path) }
  }

  deinit { close(descriptor) }

  /// `count` bytes at the offset; fewer only at the file's end.
  func read(at offset: UInt64, count: Int) throws(StorageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress?.advanced(by: done), count - done, off_t(offset) + off_t(done))
      }
      if got < 0 {
        let code = errno
        if code == EINTR { continue }
        throw .system(path: path, operation: "read", code: code)
      }
      if got == 0 { break }
      done += got
    }
    bytes.removeLast(count - done)
    return bytes
  }

  /// The bytes that a file takes on the disk, holes left out; 0 when it is not there.
  static func allocated(_ path: String) -> UInt64 {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_blocks) * 512 : 0
  }
}
