/// The name by which callers ask for a model: `[a-z0-9][a-z0-9._-]{0,63}`, for example `smollm2-135m`.
public struct ModelName: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let description: String

  /// Nil when the text breaks the rule above.
  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    guard (1...64).contains(bytes.count), let first = bytes.first, isLowerOrDigit(first) else { return nil }
    guard bytes.allSatisfy({ isLowerOrDigit($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D }) else { return nil }
    description = String(decoding: bytes, as: UTF8.self)
  }

  /// What the rule is, for error messages.
  public static let rule = "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"

  public static func < (left: ModelName, right: ModelName) -> Bool { left.description < right.description }
}

/// A model's version: 1 to 64 of letters, digits, `.`, `_`, `+` and `-`, beginning with a letter or digit.
/// Versions order by their runs of digits as numbers and all else as text, so that 1.10 follows 1.9.
public struct ModelVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let description: String

  /// Nil when the text breaks the rule above.
  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    func isWord(_ byte: UInt8) -> Bool { isLowerOrDigit(byte) || (0x41...0x5A).contains(byte) }
    guard (1...64).contains(bytes.count), let first = bytes.first, isWord(first) else { return nil }
    guard bytes.allSatisfy({ isWord($0) || [0x2E, 0x5F, 0x2B, 0x2D].contains($0) }) else { return nil }
    description = String(decoding: bytes, as: UTF8.self)
  }

  /// What the rule is, for error messages.
  public static let rule = "1 to 64 letters, digits, '.', '_', '+' and '-', beginning with a letter or digit"

  public static func < (left: ModelVersion, right: ModelVersion) -> Bool {
    let (leftParts, rightParts) = (left.parts, right.parts)
    for (mine, other) in zip(leftParts, rightParts) where mine != other {
      if let mineNumber = Number(mine), let otherNumber = Number(other), mineNumber != otherNumber {
        return mineNumber < otherNumber
      }
      return mine < other
    }
    return leftParts.count < rightParts.count
  }

  /// Digits of any length, compared as a number: without leading zeros, the longer is the greater.
  private struct Number: Comparable {
    let digits: Substring
    init?(_ text: String) {
      guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      digits = text.drop { $0 == "0" }
    }
    static func < (left: Number, right: Number) -> Bool {
      (left.digits.count, String(left.digits)) < (right.digits.count, String(right.digits))
    }
  }

  private var parts: [String] {
    var parts: [String] = []
    var wasDigit: Bool?
    for character in description {
      let isDigit = character.isNumber
      if wasDigit == isDigit, let last = parts.indices.last {
        parts[last].append(character)
      } else {
        parts.append(String(character))
      }
      wasDigit = isDigit
    }
    return parts
  }
}

private func isLowerOrDigit(_ byte: UInt8) -> Bool {
  (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
}
