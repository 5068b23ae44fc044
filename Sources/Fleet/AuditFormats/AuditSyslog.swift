import FoundationEssentials
import Trust

/// Records as RFC 5424 messages: facility 13 (log audit), the box's id as host name, the kind as message id, the record as
/// the message. The record's number is `sequenceId` (RFC 5424 §7.3.1), counted from 1.
public enum AuditSyslog {
  static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

  static func message(_ record: AuditFormatRecord) -> [UInt8] {
    let severity =
      switch record.result {
      case .success: 6
      case .failure: 5
      case .attack: 4
      }
    let seconds = Double(record.milliseconds) / 1000
    let time = Date(timeIntervalSince1970: seconds).formatted(
      Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    let sequence = record.index % 2_147_483_647 + 1
    let head =
      "<\(13 * 8 + severity)>1 \(time) \(word(record.box, 255)) skerryd - \(word(record.keys.kind, 32)) "
      + "[meta sequenceId=\"\(sequence)\"][origin software=\"skerryd\"] "
    return Array(head.utf8) + byteOrderMark + record.bytes
  }

  /// The message with its length before it, as it travels over TLS (RFC 5425 §4.3).
  public static func frame(_ record: AuditFormatRecord) -> [UInt8] {
    let message = message(record)
    return Array("\(message.count) ".utf8) + message
  }

  /// The record in a message of ours.
  static func record(in line: [UInt8]) -> [UInt8]? {
    guard let mark = line.indices.first(where: { line[$0...].starts(with: byteOrderMark) }) else { return nil }
    return Array(line[(mark + 3)...])
  }

  /// Printable ASCII without a space, or the nil value.
  private static func word(_ text: String, _ limit: Int) -> String {
    let kept = text.utf8.filter { (0x21...0x7E).contains($0) }.prefix(limit)
    return kept.isEmpty ? "-" : String(decoding: kept, as: UTF8.self)
  }
}
