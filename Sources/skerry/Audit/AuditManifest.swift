import CommandLine
import Fleet
import Glibc
import Trust

/// Makes what stands beside an export that has its proofs in itself: `FILE.proof` with the header once more, and as its last
/// line which file it is, to the byte.
struct AuditManifest: ~Copyable {
  private let format: AuditFormat
  private var header: [UInt8] = []
  private var hasher = SHA256()
  private var bytes: UInt64 = 0

  init(_ format: AuditFormat) { self.format = format }

  /// The line that the export begins with.
  mutating func begin(_ header: AuditExportHeader) { self.header = header.line + [0x0A] }

  mutating func add(_ piece: [UInt8]) {
    hasher.update(piece)
    bytes += UInt64(piece.count)
  }

  /// Writes it. Gives what the answer tells of it.
  consuming func finish(_ path: String, records: UInt64) throws -> [String: JSONValue] {
    let (format, header, bytes) = (format, header, bytes)
    let sha256 = hasher.finalize()
    let trailer = AuditProofFile.Trailer(
      format: format, bytes: bytes, records: records, sha256: sha256, version: skerryVersion)
    try OutputFile.write(header + trailer.line + [0x0A], to: path + ".proof")
    return [
      "proof": .string(path + ".proof"), "format": .string(format.rawValue), "bytes": .integer(Int64(clamping: bytes)),
      "sha256": .string(sha256.hex),
    ]
  }
}

/// What `FILE.proof` says of an export that has its proofs in itself.
struct AuditManifestCheck: ~Copyable {
  private let path: String
  private let header: [UInt8]
  private let trailer: AuditProofFile.Trailer
  private var hasher = SHA256()
  private var bytes: UInt64 = 0
  private var start: [UInt8] = []

  /// Nil when no such file is there, or it is of an export that has its proofs nowhere else. Throws `CommandFailure` when it is
  /// none at all.
  init?(_ file: String, _ format: AuditFormat) throws {
    path = file + ".proof"
    guard access(path, F_OK) == 0 else { return nil }
    guard let trailer = AuditProofFile.trailer(in: try LineReader.last(path)), let header = try LineReader(path).next()
    else { throw wrongProof(file, "\(path) does not end as a proof does: it is cut off or of another file") }
    guard trailer.format == format else { return nil }
    self.trailer = trailer
    self.header = header
  }

  mutating func add(_ piece: [UInt8]) {
    hasher.update(piece)
    bytes += UInt64(piece.count)
    if start.count < header.count { start += piece.prefix(header.count - start.count) }
  }

  /// Throws when what was read, which is as it was signed, is not what was written with this proof. `head` is the signed text
  /// of what does not begin with the header itself.
  consuming func finish(_ file: String, head: String? = nil) throws {
    let (path, trailer, bytes) = (path, trailer, bytes)
    let isSame = head.map { (try? AuditExportHeader(line: header))?.checkpoint.text == $0 } ?? (header == start)
    guard hasher.finalize() == trailer.sha256, bytes == trailer.bytes, isSame else {
      throw wrongProof(file, "\(path) is of another export than the one beside it")
    }
  }
}

func wrongProof(_ file: String, _ reason: String) -> CommandFailure {
  CommandFailure(
    "\(file): the audit log is NOT as it was signed: \(reason)",
    hint: "keep both files as they are; they are evidence, and export the log again from the box", status: .data)
}
