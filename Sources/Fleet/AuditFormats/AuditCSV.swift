import FoundationEssentials
import Trust

/// Records as rows of a table (RFC 4180), the record itself in the last column.
enum AuditCSV {
  static let columns = [
    "n", "time", "kind", "actor", "verb", "resource", "model", "version", "outcome", "role", "milliseconds",
    "promptTokens", "completionTokens", "record",
  ]

  static var preamble: [UInt8] { Array((columns.joined(separator: ",") + "\r\n").utf8) }

  static func row(_ record: AuditFormatRecord) -> [UInt8] {
    let keys = record.keys
    let time = Date(timeIntervalSince1970: Double(record.milliseconds) / 1000).formatted(
      Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    let cells = columns.map { column in
      switch column {
      case "n": "\(record.index)"
      case "time": time
      case "kind": cell(keys.kind)
      case "actor": cell(keys.subject)
      case "model": cell(keys.model ?? "")
      case "outcome": cell(keys.outcome ?? "")
      case "record": quoted(record.text)
      default:
        switch record.value[column] {
        case .string(let text)?: cell(text)
        case .integer(let number)?: "\(number)"
        default: ""
        }
      }
    }
    return Array((cells.joined(separator: ",") + "\r\n").utf8)
  }

  /// A spreadsheet takes what begins with one of these for a formula; an apostrophe keeps it from that.
  /// What would end a row in the middle becomes a blank.
  private static func cell(_ told: String) -> String {
    let text = String(
      String.UnicodeScalarView(told.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
    let isFormula = text.utf8.first.map { [0x3D, 0x2B, 0x2D, 0x40].contains($0) } ?? false
    return quoted(isFormula ? "'" + text : text)
  }

  private static func quoted(_ text: String) -> String {
    guard text.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) }) else { return text }
    return "\"" + text.replacing("\"", with: "\"\"") + "\""
  }

  /// The last cell of a row; nil for the header line. A record has no line feed in it, so that a row is a line.
  static func record(in row: [UInt8]) -> [UInt8]? {
    var row = row[...]
    if row.last == 0x0D { row = row.dropLast() }
    guard row.last == 0x22 else { return nil }
    // The record's own quotes are doubled, and it begins with {" after the opening one.
    let opening: [UInt8] = [0x2C, 0x22, 0x7B, 0x22, 0x22]
    var start: Int?
    var quotes = 0
    for at in row.indices {
      if quotes.isMultiple(of: 2), row[at...].starts(with: opening) { start = at + 2 }
      if row[at] == 0x22 { quotes += 1 }
    }
    guard let start else { return nil }
    var record: [UInt8] = []
    var at = start
    while at < row.endIndex - 1 {
      record.append(row[at])
      at += row[at] == 0x22 ? 2 : 1
    }
    return record
  }
}
