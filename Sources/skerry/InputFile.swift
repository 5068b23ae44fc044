import CommandLine
import Glibc

/// A file that is only read, at any place in it.
final class InputFile: Sendable {
  private let descriptor: Int32
  let path: String
  /// Bytes.
  let size: UInt64

  init(_ path: String) throws {
    self.path = path
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      let code = errno
      throw CommandFailure(
        "can't open \(path): \(String(cString: strerror(code)))", status: code == ENOENT ? .noInput : .io)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw CommandFailure("\(path) is no regular file", status: .noInput)
    }
    size = UInt64(status.st_size)
  }

  deinit { close(descriptor) }

  /// Up to `count` bytes from the offset; fewer only at the file's end.
  func read(_ offset: UInt64, _ count: Int) throws -> [UInt8] {
    var failed: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
      while done < count {
        let got = pread(descriptor, buffer.baseAddress?.advanced(by: done), count - done, off_t(offset) + off_t(done))
        if got < 0, errno == EINTR { continue }
        if got < 0 { failed = errno }
        if got <= 0 { return }
        done += got
      }
    }
    guard failed == 0 else {
      throw CommandFailure("can't read \(path): \(String(cString: strerror(failed)))", status: .io)
    }
    return bytes
  }
}

/// The path without links and dots. What does not exist yet counts as a plain folder below what does.
func realPath(_ path: String) -> String {
  if let resolved = realpath(path, nil) {
    defer { free(resolved) }
    return String(cString: resolved)
  }
  var parts = path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
  guard let last = parts.popLast() else { return "/" }
  let parent = realPath(
    path.hasPrefix("/") ? "/" + parts.joined(separator: "/") : parts.isEmpty ? "." : parts.joined(separator: "/"))
  switch last {
  case ".": return parent
  case "..": return parent.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
  default: return parent == "/" ? "/" + last : parent + "/" + last
  }
}
