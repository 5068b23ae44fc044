import FoundationEssentials

/// Base64 in its two alphabets (RFC 4648 §4 with padding, §5 without).
public enum Base64 {
  public static func encode(_ bytes: some Sequence<UInt8>) -> String {
    Data(bytes).base64EncodedString()
  }

  /// The bytes, or nil when the text is not padded base64 to the letter.
  public static func decode(_ text: some StringProtocol) -> [UInt8]? {
    Data(base64Encoded: String(text)).map { [UInt8]($0) }
  }

  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// True when these characters are the digest's base64; quick, and nothing is made.
  public static func isEncoding(of digest: Digest, _ text: UnsafeRawBufferPointer) -> Bool {
    guard text.count == 44 else { return false }
    return alphabet.withUnsafeBufferPointer { letters in
      digest.withUnsafeBytes { bytes in
        var differs: UInt8 = 0
        for group in 0..<11 {
          let at = group * 3
          let third = at + 2 < 32 ? Int(bytes[at + 2]) : 0
          let bits = Int(bytes[at]) << 16 | Int(bytes[at + 1]) << 8 | third
          differs |= text[group * 4] ^ letters[bits >> 18]
          differs |= text[group * 4 + 1] ^ letters[bits >> 12 & 63]
          differs |= text[group * 4 + 2] ^ letters[bits >> 6 & 63]
          differs |= text[group * 4 + 3] ^ (group == 10 ? 0x3D : letters[bits & 63])
        }
        return differs == 0
      }
    }
  }

  /// The URL-safe alphabet without padding.
  public static func encodeURL(_ bytes: some Sequence<UInt8>) -> String {
    String(
      encode(bytes).compactMap { character -> Character? in
        switch character {
        case "+": "-"
        case "/": "_"
        case "=": nil
        default: character
        }
      })
  }

  public static func decodeURL(_ text: some StringProtocol) -> [UInt8]? {
    var standard = ""
    for character in text {
      switch character {
      case "-": standard.append("+")
      case "_": standard.append("/")
      case "+", "/", "=": return nil
      default: standard.append(character)
      }
    }
    standard += String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4)
    return decode(standard)
  }
}
