/// A value as SQLite stores it.
public enum SQLValue: Sendable, Hashable {
  case null
  case integer(Int64)
  case real(Double)
  case text(String)
  case blob([UInt8])

  public init(_ value: Int) { self = .integer(Int64(value)) }
  /// Values beyond Int64's range have no place in SQLite and are clamped.
  public init(_ value: UInt64) { self = .integer(Int64(clamping: value)) }
  public init(_ value: Bool) { self = .integer(value ? 1 : 0) }
  public init(_ value: String?) { self = value.map { .text($0) } ?? .null }
  public init(_ value: Int64?) { self = value.map { .integer($0) } ?? .null }
  public init(_ value: [UInt8]?) { self = value.map { .blob($0) } ?? .null }
}

extension SQLValue: ExpressibleByIntegerLiteral, ExpressibleByStringLiteral, ExpressibleByNilLiteral,
  ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral
{
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(stringLiteral value: String) { self = .text(value) }
  public init(nilLiteral: ()) { self = .null }
  public init(floatLiteral value: Double) { self = .real(value) }
  public init(booleanLiteral value: Bool) { self.init(value) }
}

/// One row of a query's result; columns go by the names that the query gives them.
public struct Row: Sendable {
  let columns: [String: Int]
  let values: [SQLValue]

  /// The value, or nil when the query has no such column.
  public subscript(_ column: String) -> SQLValue? { columns[column].map { values[$0] } }

  public func integer(_ column: String) throws(StorageError) -> Int64 {
    guard let value = try optionalInteger(column) else { throw .unexpectedValue(column: column, wanted: "an integer") }
    return value
  }

  public func text(_ column: String) throws(StorageError) -> String {
    guard let value = try optionalText(column) else { throw .unexpectedValue(column: column, wanted: "text") }
    return value
  }

  public func blob(_ column: String) throws(StorageError) -> [UInt8] {
    guard let value = try optionalBlob(column) else { throw .unexpectedValue(column: column, wanted: "a blob") }
    return value
  }

  public func real(_ column: String) throws(StorageError) -> Double {
    switch self[column] {
    case .real(let value): return value
    case .integer(let value): return Double(value)
    default: throw .unexpectedValue(column: column, wanted: "a number")
    }
  }

  public func bool(_ column: String) throws(StorageError) -> Bool { try integer(column) != 0 }

  /// nil for NULL; another type is an error.
  public func optionalInteger(_ column: String) throws(StorageError) -> Int64? {
    switch self[column] {
    case .integer(let value): return value
    case .null: return nil
    default: throw .unexpectedValue(column: column, wanted: "an integer")
    }
  }

  public func optionalText(_ column: String) throws(StorageError) -> String? {
    switch self[column] {
    case .text(let value): return value
    case .null: return nil
    default: throw .unexpectedValue(column: column, wanted: "text")
    }
  }

  public func optionalBlob(_ column: String) throws(StorageError) -> [UInt8]? {
    switch self[column] {
    case .blob(let value): return value
    case .null: return nil
    default: throw .unexpectedValue(column: column, wanted: "a blob")
    }
  }
}
