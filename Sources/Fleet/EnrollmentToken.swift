import Trust

/// Why a string is no enrolment token.
public enum EnrollmentTokenError: Error, Equatable, CustomStringConvertible {
  /// It begins like one and was cut short or mistyped: the checksum is missing or wrong.
  case cut
  case malformed(String)
  /// Made by a newer Skerry.
  case unknownVersion(String)
  /// Its end has passed for certain.
  case expired

  public var description: String {
    switch self {
    case .cut: "this enrolment token is cut off or mistyped; copy the whole line that began with skerry1."
    case .malformed(let what): "this is no enrolment token: \(what)"
    case .unknownVersion(let version): "this enrolment token has version \(version); this Skerry reads version 1"
    case .expired: "this enrolment token has expired; ask the hub's operator for a new one"
    }
  }
}

/// All that a box needs to join a fleet, as one string: where the hub is, which key it must show, which root of
/// trust it must hand over, and the secret that is good for one box.
///
/// Written as `skerry1.PAYLOAD.CHECK`: PAYLOAD is JSON in base64url, CHECK the first 4 bytes of SHA-256 over what
/// stands before its dot, as hexadecimal digits. The check finds slips of the hand; it protects nothing.
public struct EnrollmentToken: Hashable, Sendable, Codable {
  /// The hub's address, `https://host:port`.
  public let hub: String
  /// The hub's TLS key, `sha256//BASE64` of its SubjectPublicKeyInfo.
  public let pin: String
  /// SHA-256 of the repository's 1.root.json.
  public let root: Digest
  /// Good for one enrolment. The hub keeps its digest only.
  public let secret: String
  /// Seconds since 1970 after which the hub refuses it.
  public let expires: Int64

  static let prefix = "skerry1."
  static let maximumLength = 4096

  public init(hub: String, pin: String, root: Digest, secret: String, expires: Int64) {
    self.hub = hub
    self.pin = pin
    self.root = root
    self.secret = secret
    self.expires = expires
  }

  /// Reads a token; white space around it does not matter. Says nothing about whether the hub will take it.
  public init(parsing text: some StringProtocol) throws(EnrollmentTokenError) {
    let blank: Set<Character> = [" ", "\t", "\n", "\r", "\r\n"]
    let text = String(text.drop { blank.contains($0) }.reversed().drop { blank.contains($0) }.reversed())
    guard text.utf8.count <= EnrollmentToken.maximumLength else { throw .malformed("it is too long") }
    guard !text.isEmpty else { throw .malformed("it is empty") }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts[0] == "skerry1" else {
      if parts[0].hasPrefix("skerry"), parts[0].count > 6, parts[0].dropFirst(6).allSatisfy(\.isNumber) {
        throw .unknownVersion(String(parts[0].dropFirst(6)))
      }
      if EnrollmentToken.prefix.hasPrefix(text) { throw .cut }
      throw .malformed("it does not begin with skerry1.")
    }
    guard parts.count <= 3 else { throw .malformed("it has more than three parts") }
    guard parts.count == 3, parts[2] == EnrollmentToken.check(of: parts[0] + "." + parts[1]) else { throw .cut }
    guard let payload = Base64.decodeURL(parts[1]) else { throw .malformed("its middle is not base64url") }
    do {
      self = try JSONValue(parsing: payload).decoded()
    } catch { throw .malformed("its content is not what a token holds") }
    guard hub.hasPrefix("https://"), hub.utf8.count > 8, hub.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw .malformed("the hub's address is no https:// address")
    }
    guard pin.hasPrefix("sha256//"), Base64.decode(pin.dropFirst(8))?.count == Digest.length else {
      throw .malformed("the hub's key pin is not sha256//BASE64")
    }
  }

  /// The token as it is handed over.
  public var encoded: String {
    // Strings, a digest and an integer always encode.
    let payload: JSONValue = [
      "hub": .string(hub), "pin": .string(pin), "root": .string(root.hex), "secret": .string(secret),
      "expires": .integer(expires),
    ]
    let signed = EnrollmentToken.prefix + Base64.encodeURL(payload.encoded())
    return signed + "." + EnrollmentToken.check(of: signed)
  }

  private static func check(of text: some StringProtocol) -> String {
    Hex.encode(Digest(of: Array(text.utf8)).bytes.prefix(4))
  }
}
