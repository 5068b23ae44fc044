/// Rows in columns of equal width, for people; scripts take `--json`.
public struct Table: Sendable {
  public enum Alignment: Sendable { case left, right }
  private let header: [String]
  private let alignments: [Alignment]
  private var rows: [[String]] = []

  /// The header's words; columns named in `right` are set flush right.
  public init(_ header: String..., right: Set<String> = []) { self.init(header, right: right) }

  public init(_ header: [String], right: Set<String> = []) {
    self.header = header
    alignments = header.map { right.contains($0) ? .right : .left }
  }

  /// Adds a row; missing cells are empty, and those beyond the header are dropped.
  public mutating func add(_ cells: String...) { add(cells) }

  public mutating func add(_ cells: [String]) { rows.append(cells.map(oneLine)) }

  /// The table, with a final line feed. Empty cells read `-`.
  public func render() -> String {
    let all = [header.map { $0.uppercased() }] + rows
    let widths = header.indices.map { column in all.map { Table.cell($0, column).count }.max() ?? 0 }
    return all.map { row in
      var line = ""
      for column in header.indices {
        let text = Table.cell(row, column)
        let padding = String(repeating: " ", count: widths[column] - text.count)
        let isLast = column == header.count - 1
        if column > 0 { line += "  " }
        line += alignments[column] == .right ? padding + text : isLast ? text : text + padding
      }
      return line + "\n"
    }.joined()
  }

  private static func cell(_ row: [String], _ column: Int) -> String {
    column < row.count && !row[column].isEmpty ? row[column] : "-"
  }

  private func oneLine(_ text: String) -> String {
    Voice.printable(text.split(whereSeparator: \.isNewline).joined(separator: " "))
  }
}

/// Numbers as people read them.
public enum Readable {
  /// Bytes in binary units: `97.7 MiB`.
  public static func bytes(_ count: UInt64) -> String {
    var value = Double(count)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 && unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count) B" : "\(fixed(value)) \(units[unit])"
  }

  /// Seconds as the two largest units: `2d 3h`, `4m 10s`.
  public static func seconds(_ count: Int64) -> String {
    let parts = [(count / 86400, "d"), (count / 3600 % 24, "h"), (count / 60 % 60, "m"), (count % 60, "s")]
    let shown = parts.drop { $0.0 == 0 }.prefix(2).filter { $0.0 != 0 }
    return shown.isEmpty ? "0s" : shown.map { "\($0.0)\($0.1)" }.joined(separator: " ")
  }

  /// A number with one digit after the point.
  public static func fixed(_ value: Double) -> String {
    let tenths = Int64((abs(value) * 10).rounded())
    return "\(value < 0 ? "-" : "")\(tenths / 10).\(tenths % 10)"
  }
}
