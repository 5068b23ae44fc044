public import Trust

/// One person's code of break-glass, as it is printed and sealed in an envelope: `SKB-` and 30 signs of Crockford's base 32
/// in groups of five, 130 random bits and 20 of a checksum. The checksum tells a mistyped code from a foreign one.
public struct BreakGlassCode: Sendable, Hashable, CustomStringConvertible {
  private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)
  private static let secretLength = 26
  private static let checkLength = 4

  private let signs: [UInt8]

  /// A new one from the system's randomness.
  public init() {
    let secret = SecureRandom.bytes(BreakGlassCode.secretLength).map { BreakGlassCode.alphabet[Int($0 & 31)] }
    signs = secret + BreakGlassCode.check(secret)
  }

  /// Reads what a person typed: in small or large letters, with or without hyphens and spaces, an O for a zero and an I or
  /// L for a one. Nil when it is no whole code.
  public init?(parsing text: String) {
    guard text.utf8.count <= 256 else { return nil }
    var signs: [UInt8] = []
    for byte in text.uppercased().utf8 {
      switch byte {
      case UInt8(ascii: "-"), UInt8(ascii: " "), 0x09, 0x0A, 0x0D: continue
      case UInt8(ascii: "O"): signs.append(UInt8(ascii: "0"))
      case UInt8(ascii: "I"), UInt8(ascii: "L"): signs.append(UInt8(ascii: "1"))
      default: signs.append(byte)
      }
    }
    if signs.starts(with: "SKB".utf8) { signs.removeFirst(3) }
    let secret = Array(signs.prefix(BreakGlassCode.secretLength))
    guard signs.count == BreakGlassCode.secretLength + BreakGlassCode.checkLength,
      signs.allSatisfy(BreakGlassCode.alphabet.contains),
      signs.suffix(BreakGlassCode.checkLength).elementsEqual(BreakGlassCode.check(secret))
    else { return nil }
    self.signs = signs
  }

  public var description: String {
    let groups = stride(from: 0, to: signs.count, by: 5).map { String(decoding: signs[$0..<$0 + 5], as: UTF8.self) }
    return "SKB-" + groups.joined(separator: "-")
  }

  /// What hub and box keep of it.
  public var digest: Digest { Digest(of: Array("skerry break-glass ".utf8) + signs) }

  private static func check(_ secret: [UInt8]) -> [UInt8] {
    let bytes = Digest(of: Array("skerry break-glass check ".utf8) + secret).bytes
    return bytes.prefix(checkLength).map { alphabet[Int($0 & 31)] }
  }
}
