/// What went wrong, for programs. A code from a newer hub is kept as `unknown`.
public enum HubErrorCode: Hashable, Sendable, CustomStringConvertible {
  case tokenUsed, tokenExpired, tokenUnknown
  case staleSequence, badSignature, unknownDevice, deviceRevoked
  case unauthorized, denied, notFound, methodNotAllowed, malformed, tooLarge, conflict, invalidMetadata, notPublished
  case busy, internalError
  case unknown(String)

  private static let spellings: [(HubErrorCode, String)] = [
    (.tokenUsed, "token_used"), (.tokenExpired, "token_expired"), (.tokenUnknown, "token_unknown"),
    (.staleSequence, "stale_sequence"), (.badSignature, "bad_signature"), (.unknownDevice, "unknown_device"),
    (.deviceRevoked, "device_revoked"), (.unauthorized, "unauthorized"), (.denied, "denied"), (.notFound, "not_found"),
    (.methodNotAllowed, "method_not_allowed"), (.malformed, "malformed"), (.tooLarge, "too_large"),
    (.conflict, "conflict"), (.invalidMetadata, "invalid_metadata"), (.notPublished, "not_published"),
    (.busy, "busy"), (.internalError, "internal"),
  ]

  public init(_ text: String) {
    self = HubErrorCode.spellings.first { $0.1 == text }?.0 ?? .unknown(text)
  }

  public var description: String {
    if case .unknown(let text) = self { return text }
    return HubErrorCode.spellings.first { $0.0 == self }?.1 ?? "internal"
  }

  /// True when the same request can't succeed later without somebody doing something.
  public var isPermanent: Bool {
    switch self {
    case .tokenUsed, .tokenExpired, .tokenUnknown, .unknownDevice, .deviceRevoked, .badSignature: true
    default: false
    }
  }
}

extension HubErrorCode: Codable {
  public init(from decoder: any Decoder) throws {
    self.init(try decoder.singleValueContainer().decode(String.self))
  }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// Every error answer of the hub: `{"error":{"code","message","hint"?,"last"?}}`.
public struct HubError: Error, Codable, Hashable, Sendable, CustomStringConvertible {
  public struct Content: Codable, Hashable, Sendable {
    public var code: HubErrorCode
    public var message: String
    public var hint: String?
    /// With `staleSequence`: the highest number the hub has from this device; the next must be above it.
    public var last: UInt64?
  }
  public var error: Content

  public init(_ code: HubErrorCode, _ message: String, hint: String? = nil, last: UInt64? = nil) {
    error = Content(code: code, message: message, hint: hint, last: last)
  }

  public var code: HubErrorCode { error.code }
  public var description: String { error.hint.map { "\(error.message); \($0)" } ?? error.message }
}
