import Trust

/// The forms that an audit log is handed to other people's programs in. Each holds every record's own bytes, so that what
/// arrives can be checked against the signed tree with the proof that is written beside it.
public enum AuditFormat: String, Sendable, CaseIterable {
  /// Our own: records, hashes and heads in one file (`AuditExportHeader`).
  case jsonl
  /// OCSF 1.8 events, one a line.
  case ocsf
  /// RFC 5424 messages.
  case syslog
  /// OTLP/JSON log requests, one a line.
  case otlp
  /// RFC 4180 with a header line.
  case csv
  /// A folder in C2SP tlog-tiles' layout.
  case tiles

  /// What stands before the first record in a file.
  public var preamble: [UInt8] { self == .csv ? AuditCSV.preamble : [] }

  /// Some records in this form; `.jsonl` and `.tiles` have forms of their own.
  public func encode(_ records: [AuditFormatRecord], version: String) -> [UInt8] {
    switch self {
    case .ocsf: records.flatMap { AuditOCSF.event($0, version: version).encoded() + [0x0A] }
    case .syslog: records.flatMap { AuditSyslog.message($0) + [0x0A] }
    case .otlp: records.isEmpty ? [] : AuditOTLP.request(records, version: version).encoded() + [0x0A]
    case .csv: records.flatMap { AuditCSV.row($0) }
    case .jsonl, .tiles: []
    }
  }

  /// The records in a line of a file, which must be to the byte what `encode` makes of them: what stands beside a record was
  /// not signed. Throws `AuditExportError`.
  public func verifiedRecords(in line: [UInt8], origin: String, version: String) throws(AuditExportError) -> [[UInt8]] {
    let found = try records(in: line)
    var made: [AuditFormatRecord] = []
    for bytes in found {
      guard let index = (try? JSONValue(parsing: bytes))?["n"]?.integer.flatMap({ UInt64(exactly: $0) }),
        let record = AuditFormatRecord(origin: origin, index: index, bytes: bytes)
      else { throw AuditExportError("the line holds what is no record") }
      made.append(record)
    }
    guard encode(made, version: version).dropLast().elementsEqual(line) else {
      throw AuditExportError("what stands beside entry \(made.first?.index ?? 0) is not what its record says")
    }
    return found
  }

  /// The records in a line (or, for CSV, a row) that `encode` wrote. Throws `AuditExportError`.
  public func records(in line: [UInt8]) throws(AuditExportError) -> [[UInt8]] {
    let found: [[UInt8]]? =
      switch self {
      case .ocsf: (try? JSONValue(parsing: line))?["raw_data"]?.string.map { [Array($0.utf8)] }
      case .syslog: AuditSyslog.record(in: line).map { [$0] }
      case .otlp: (try? JSONValue(parsing: line)).flatMap(AuditOTLP.records)
      case .csv: AuditCSV.record(in: line).map { [$0] }
      case .jsonl, .tiles: nil
      }
    guard let found else { throw AuditExportError("the line is not one of the format \(rawValue)") }
    return found
  }
}

/// A record on its way into another form.
public struct AuditFormatRecord: Sendable {
  public let origin: String
  public let index: UInt64
  /// Its canonical bytes.
  public let bytes: [UInt8]
  let value: JSONValue

  /// Nil when the bytes are no JSON object.
  public init?(origin: String, index: UInt64, bytes: [UInt8]) {
    guard let value = try? JSONValue(parsing: bytes), value.object != nil else { return nil }
    self.origin = origin
    self.index = index
    self.bytes = bytes
    self.value = value
  }

  var text: String { String(decoding: bytes, as: UTF8.self) }
  var keys: AuditKeys { AuditKeys(value) }
  var milliseconds: Int64 { value["t"]?.integer ?? 0 }
  /// The box's id, or the log's whole name.
  var box: String { DeviceID(auditOrigin: origin)?.hex ?? origin }
  func string(_ name: String) -> String? { value[name]?.string }

  /// What the record says of how it ended.
  var result: Result {
    if keys.kind == "attack" { return .attack }
    switch keys.outcome {
    case "denied", "failed", "refused": return .failure
    case nil: return value["event"]?.string == "failed" || value["event"]?.string == "refused" ? .failure : .success
    default: return .success
    }
  }
  enum Result { case success, failure, attack }
}
