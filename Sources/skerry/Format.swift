import CommandLine
import FoundationEssentials
import Trust

/// Names and their values below each other, for people.
func facts(_ rows: [(String, String?)]) -> String {
  let shown = rows.compactMap { row in row.1.map { (row.0, $0) } }
  let width = shown.map { $0.0.count }.max() ?? 0
  return shown.map { name, value in
    let lines = Voice.printable(value).split(separator: "\n", omittingEmptySubsequences: false)
    let indent = "\n" + String(repeating: " ", count: width + 2)
    return name + String(repeating: " ", count: width - name.count + 2) + lines.joined(separator: indent) + "\n"
  }.joined()
}

/// Unix seconds as `2026-11-23T21:30:00Z`.
func timestamp(_ seconds: Int64) -> String {
  Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
}

/// Unix seconds and how long ago that is.
func timestampAndAge(_ seconds: Int64, now: Int64) -> String {
  let age = now - seconds
  let relation = age >= 0 ? "\(Readable.seconds(age)) ago" : "in \(Readable.seconds(-age))"
  return "\(timestamp(seconds)) (\(relation))"
}

extension JSONValue {
  /// The value on one line, text without its quotes.
  var plain: String {
    switch self {
    case .string(let text): text
    case .null: ""
    case .array(let values) where values.allSatisfy({ $0.array == nil && $0.object == nil }):
      values.map(\.plain).joined(separator: ", ")
    default: String(decoding: encoded(), as: UTF8.self)
    }
  }

  func text(_ key: String) -> String { self[key]?.plain ?? "" }
  func strings(_ key: String) -> [String] { self[key]?.array?.compactMap(\.string) ?? [] }

  /// The elements of a list that stands under a key, or is the whole answer.
  func list(_ key: String) -> [JSONValue] { self[key]?.array ?? array ?? [] }
}
