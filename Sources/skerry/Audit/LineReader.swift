import CommandLine
import Fleet

/// The lines of a file, one after the other, in memory for one line and one buffer.
final class LineReader {
  private let file: InputFile
  private var at: UInt64 = 0
  private var buffer: ArraySlice<UInt8> = []

  init(_ path: String) throws { file = try InputFile(path) }

  /// The next line without its line feed; nil at the end. A last line without one counts too.
  func next() throws -> [UInt8]? {
    var line: [UInt8] = []
    while true {
      if let end = buffer.firstIndex(of: 0x0A) {
        line += buffer[..<end]
        buffer = buffer[(end + 1)...]
        return line
      }
      line += buffer
      guard line.count <= AuditVerifier.maximumLineLength else {
        throw CommandFailure(
          "\(file.path) has a line of more than \(AuditVerifier.maximumLineLength) bytes", status: .data)
      }
      buffer = try file.read(at, 1 << 18)[...]
      at += UInt64(buffer.count)
      if buffer.isEmpty { return line.isEmpty ? nil : line }
    }
  }

  /// The last line of a file, if it is a short one.
  static func last(_ path: String) throws -> [UInt8] {
    let file = try InputFile(path)
    let start = file.size > 4096 ? file.size - 4096 : 0
    let bytes = try file.read(start, 4096)
    return Array(bytes.split(separator: 0x0A).last ?? [])
  }
}
