/// Why bytes are no GGUF file that an engine may be given.
public enum GGUFError: Error, Equatable, CustomStringConvertible {
  /// The first four bytes are not "GGUF".
  case notGGUF
  /// A version other than 2 and 3.
  case unsupportedVersion(UInt32)
  /// The file ends before what its header promises.
  case truncated(needed: UInt64, have: UInt64)
  /// A count or length that no real model has.
  case absurd(what: String, value: UInt64, limit: UInt64)
  /// Numbers that do not fit 64 bits together.
  case overflow(what: String)
  /// Anything else that the format forbids.
  case malformed(String)

  public var description: String {
    switch self {
    case .notGGUF: "this is no GGUF file: it does not begin with \"GGUF\""
    case .unsupportedVersion(let version): "GGUF version \(version) is not supported; versions 2 and 3 are"
    case .truncated(let needed, let have): "the GGUF file is cut short: it needs \(needed) bytes and has \(have)"
    case .absurd(let what, let value, let limit): "the GGUF file has an absurd \(what): \(value) (at most \(limit))"
    case .overflow(let what): "the GGUF file has a \(what) that overflows 64 bits"
    case .malformed(let reason): "the GGUF file is malformed: \(reason)"
    }
  }
}

/// A metadata value of a GGUF file. Arrays are walked and checked, and only their type and count are kept.
public enum GGUFValue: Hashable, Sendable {
  case unsigned(UInt64)
  case signed(Int64)
  case double(Double)
  case bool(Bool)
  case string(String)
  case array(elementType: UInt32, count: UInt64)

  /// A whole number that is not negative, however it was stored.
  public var unsigned: UInt64? {
    switch self {
    case .unsigned(let value): value
    case .signed(let value): UInt64(exactly: value)
    default: nil
    }
  }

  public var string: String? { if case .string(let value) = self { value } else { nil } }
}
