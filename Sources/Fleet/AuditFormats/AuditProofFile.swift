import Trust

/// What stands beside an export in a form that is not our own: the same header, for each run of records their hashes, for
/// each run that is left out its roots, and at the end what the other file is. JSON Lines in canonical form.
public struct AuditProofFile: Sendable {
  /// Records whose hashes stand on one line.
  static let run = 256

  /// A run of records that are in the other file: `{"from":…,"hashes":[…],"to":…}`.
  public static func line(from: UInt64, hashes: [[UInt8]]) -> [UInt8] {
    JSONValue.object([
      "from": .integer(Int64(clamping: from)), "to": .integer(Int64(clamping: from + UInt64(hashes.count))),
      "hashes": .array(hashes.map { .string(String(decoding: $0, as: UTF8.self)) }),
    ]).encoded()
  }

  /// The last line: which file it is, to the byte.
  public struct Trailer: Sendable, Hashable {
    public let format: AuditFormat
    public let bytes: UInt64
    public let records: UInt64
    public let sha256: Digest
    /// Of the program that wrote it.
    public let version: String

    public init(format: AuditFormat, bytes: UInt64, records: UInt64, sha256: Digest, version: String) {
      self.format = format
      self.bytes = bytes
      self.records = records
      self.sha256 = sha256
      self.version = version
    }

    /// Without the line feed.
    public var line: [UInt8] {
      JSONValue.object([
        "format": .string(format.rawValue), "bytes": .integer(Int64(clamping: bytes)),
        "records": .integer(Int64(clamping: records)), "sha256": .string(sha256.hex), "version": .string(version),
      ]).encoded()
    }

    init?(_ value: JSONValue) {
      guard let format = value["format"]?.string.flatMap({ AuditFormat(rawValue: $0) }),
        let bytes = value["bytes"]?.integer.flatMap({ UInt64(exactly: $0) }),
        let records = value["records"]?.integer.flatMap({ UInt64(exactly: $0) }),
        let sha256 = value["sha256"]?.string.flatMap({ Digest(hex: $0) }), let version = value["version"]?.string
      else { return nil }
      self.init(format: format, bytes: bytes, records: records, sha256: sha256, version: version)
    }
  }

  /// Reads the last line of a proof file; nil when it is none.
  public static func trailer(in line: [UInt8]) -> Trailer? {
    guard let value = try? JSONValue(parsing: line), let trailer = Trailer(value), trailer.line == line else {
      return nil
    }
    return trailer
  }

  /// A line of the proof file turned back into lines of our own form, with the records that `next` takes from the other
  /// file. The first line is the header; after it come hashes and left-out runs and nothing else, each in canonical form: a
  /// record stands in the other file alone, or it is missing. Throws `AuditExportError`.
  public static func native(
    _ line: [UInt8], isFirst: Bool, next: () throws -> [UInt8]?, to push: ([UInt8]) throws -> Void
  ) throws {
    // The verifier reads the header to the letter.
    if isFirst { return try push(line + [0x0A]) }
    guard let value = try? JSONValue(parsing: line), let hashes = value["hashes"]?.array else {
      return try push(AuditExportGap(line: line).line + [0x0A])
    }
    guard let from = value["from"]?.integer.flatMap({ UInt64(exactly: $0) }), hashes.count <= run,
      self.line(from: from, hashes: hashes.map { Array(($0.string ?? "").utf8) }) == line
    else { throw AuditExportError("a line of the proof is malformed") }
    for (at, hash) in hashes.enumerated() {
      guard let record = try next() else { return }
      let start = AuditExportEntry.start + Array((hash.string ?? "").utf8) + AuditExportEntry.afterHash
      try push(start + Array("\(from + UInt64(at))".utf8) + AuditExportEntry.afterIndex + record + [0x7D, 0x0A])
    }
  }
}
