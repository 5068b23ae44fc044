import CommandLine
import Glibc

/// A file that appears whole or not at all: written under another name beside it, then renamed.
final class OutputFile {
  private let path: String
  private let temporary: String
  private let descriptor: Int32
  private var isFinished = false

  /// Throws `CommandFailure` when the folder can't be written to.
  init(_ path: String) throws(CommandFailure) {
    self.path = path
    temporary = "\(path).\(getpid()).part"
    descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    if descriptor < 0 { throw fileFailure("write", path, errno) }
  }

  deinit {
    close(descriptor)
    if !isFinished { unlink(temporary) }
  }

  func write(_ bytes: [UInt8]) throws(CommandFailure) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written >= 0 {
        rest = rest.dropFirst(written)
      } else if errno != EINTR {
        throw fileFailure("write", path, errno)
      }
    }
  }

  func finish() throws(CommandFailure) {
    if fsync(descriptor) != 0 && errno != EINVAL { throw fileFailure("write", path, errno) }
    if rename(temporary, path) != 0 { throw fileFailure("write", path, errno) }
    isFinished = true
  }

  static func write(_ bytes: [UInt8], to path: String) throws(CommandFailure) {
    let output = try OutputFile(path)
    try output.write(bytes)
    try output.finish()
  }
}

/// Hands on a file's bytes in pieces of at most 1 MiB; `-` is standard input.
func readPieces(_ path: String, each: ([UInt8]) throws -> Bool) throws {
  let descriptor = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)
  if descriptor < 0 { throw fileFailure("read", path, errno) }
  defer { close(descriptor) }
  var buffer = [UInt8](repeating: 0, count: 1 << 20)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    if count == 0 { return }
    if count > 0 {
      if try !each(Array(buffer[..<count])) { return }
    } else if errno != EINTR {
      throw fileFailure("read", path, errno)
    }
  }
}

/// A whole file of at most `limit` bytes.
func readFile(_ path: String, limit: Int) throws -> [UInt8] {
  var bytes: [UInt8] = []
  try readPieces(path) { piece in
    bytes += piece
    if bytes.count > limit { throw CommandFailure("\(path) is larger than \(limit) bytes", status: .data) }
    return true
  }
  return bytes
}

func fileFailure(_ verb: String, _ path: String, _ code: Int32) -> CommandFailure {
  let status: ExitStatus =
    switch code {
    case ENOENT, ENOTDIR, EISDIR: .noInput
    case EACCES, EPERM: .denied
    default: .io
    }
  return CommandFailure("can't \(verb) \(path): \(String(cString: strerror(code)).lowercasedFirst)", status: status)
}

extension String {
  var lowercasedFirst: String { prefix(1).lowercased() + dropFirst() }
}
