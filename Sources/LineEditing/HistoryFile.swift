import Glibc

/// Why the history can't be kept.
public struct HistoryError: Error, Sendable, Equatable, CustomStringConvertible {
  public let path: String
  public let reason: String
  public var description: String { "the history can't be kept in \(path): \(reason)" }
}

/// A file that holds what was typed, for its owner alone (mode 0600): one entry a line, with `\n` and `\\` for what a line
/// can't hold.
public struct HistoryFile: Sendable, Equatable {
  public let path: String
  /// A longer file begins anew, with what it ended with.
  static let longest = 4 << 20

  public init(path: String) { self.path = path }

  /// The last entries, the oldest first; none when the file can't be read.
  func newest(_ count: Int) -> [String] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return [] }
    var bytes = [UInt8](repeating: 0, count: Int(min(max(status.st_size, 0), Int(HistoryFile.longest) * 2)))
    let got = pread(descriptor, &bytes, bytes.count, 0)
    return bytes.prefix(max(0, got)).split(separator: 0x0A).suffix(count).map(HistoryFile.decoded)
  }

  /// Adds an entry, and makes the file and its folder where they are missing. Throws `HistoryError`; a link, or what is no
  /// file of the caller's own, is not written to.
  func append(_ entry: String) throws(HistoryError) {
    makeFolder()
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard descriptor >= 0 else { throw error() }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid() else {
      throw HistoryError(path: path, reason: "it is no plain file of your own")
    }
    if status.st_mode & 0o777 != 0o600, fchmod(descriptor, 0o600) != 0 { throw error() }
    var lines = HistoryFile.encoded(entry)
    if status.st_size > HistoryFile.longest {
      lines = kept() + lines
      guard ftruncate(descriptor, 0) == 0 else { throw error() }
    }
    guard write(descriptor, lines, lines.count) == lines.count else { throw error() }
  }

  /// The end of the file, at most half as long as it may be.
  private func kept() -> [UInt8] {
    var lines: [[UInt8]] = []
    var length = 0
    for entry in newest(LineEditor.historySize).reversed() {
      let line = HistoryFile.encoded(entry)
      length += line.count
      guard length <= HistoryFile.longest / 2 else { break }
      lines.append(line)
    }
    return lines.reversed().flatMap { $0 }
  }

  private static func encoded(_ entry: String) -> [UInt8] {
    entry.utf8.flatMap { byte -> [UInt8] in
      switch byte {
      case 0x5C: [0x5C, 0x5C]
      case 0x0A: [0x5C, UInt8(ascii: "n")]
      default: [byte]
      }
    } + [0x0A]
  }

  private static func decoded(_ line: ArraySlice<UInt8>) -> String {
    var bytes: [UInt8] = []
    var isEscaped = false
    for byte in line {
      if isEscaped {
        bytes.append(byte == UInt8(ascii: "n") ? 0x0A : byte)
        isEscaped = false
      } else if byte == 0x5C {
        isEscaped = true
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func error() -> HistoryError { HistoryError(path: path, reason: String(cString: strerror(errno))) }

  /// Each missing folder of the path, for its owner alone.
  private func makeFolder() {
    var at = path.startIndex
    while let slash = path[at...].dropFirst().firstIndex(of: "/") {
      mkdir(String(path[..<slash]), 0o700)
      at = slash
    }
  }
}
