import Glibc

/// A file descriptor with an owner. Each call reads errno at once and goes on after EINTR.
final class OpenFile: Sendable {
  let descriptor: Int32
  let path: String

  init(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(StorageError) {
    self.path = path
    descriptor = Int32(
      try System.call("open", path) { open(path, flags | O_CLOEXEC, mode_t(mode)) })
  }

  /// A name in an open folder; `path` is for messages.
  init(_ name: String, in folder: OpenFile, _ flags: Int32, path: String) throws(StorageError) {
    self.path = path
    descriptor = Int32(try System.call("open", path) { openat(folder.descriptor, name, flags | O_CLOEXEC) })
  }

  deinit { close(descriptor) }

  func size() throws(StorageError) -> UInt64 {
    var status = stat()
    try System.call("stat", path) { fstat(descriptor, &status) }
    return UInt64(status.st_size)
  }

  /// Up to `count` bytes from the offset; fewer only at the end of the file.
  func read(at offset: UInt64, count: Int) throws(StorageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = try bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(StorageError) in try read(at: offset, into: buffer) }
    }.get()
    bytes.removeLast(count - got)
    return bytes
  }

  /// Fills the buffer from the offset; the number of bytes, fewer than its size only at the end of the file.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int {
    var done = 0
    while done < buffer.count {
      let got = try System.call("read", path) {
        pread(descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done, off_t(offset) + off_t(done))
      }
      if got == 0 { break }
      done += got
    }
    return done
  }

  func write(_ bytes: [UInt8], at offset: UInt64) throws(StorageError) {
    try bytes.withUnsafeBytes { buffer in
      Result { () throws(StorageError) in try write(buffer, at: offset) }
    }.get()
  }

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    var done = 0
    while done < buffer.count {
      done += try System.call("write", path) {
        pwrite(descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done, off_t(offset) + off_t(done))
      }
    }
  }

  func truncate(to size: UInt64) throws(StorageError) {
    try System.call("truncate", path) { ftruncate(descriptor, off_t(size)) }
  }

  /// The data and as much of the metadata as is needed to read it back are on the disk after this.
  func syncData() throws(StorageError) { try System.call("fdatasync", path) { fdatasync(descriptor) } }

  func sync() throws(StorageError) { try System.call("fsync", path) { fsync(descriptor) } }
}

/// The one gate to errno.
enum System {
  /// Calls until it is not interrupted; a negative result is thrown as the errno of this very call.
  @discardableResult
  static func call<Result: SignedInteger>(
    _ operation: String, _ path: String, _ body: () -> Result
  ) throws(StorageError) -> Int {
    while true {
      let result = body()
      if result >= 0 { return Int(result) }
      let code = errno
      if code != EINTR { throw StorageError(errno: code, operation: operation, path: path) }
    }
  }
}
