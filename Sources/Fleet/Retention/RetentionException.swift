public import Trust

/// What lets one box keep its audit records for fewer days than any box otherwise does: told by the fleet in the director's
/// signed statement for that box (`skerry.retention` in the signed part of its targets), with a reason and an end.
public struct RetentionException: Codable, Sendable, Hashable {
  /// 16 hexadecimal digits; names it in every record.
  public let id: String
  /// For so many days at least records are kept while it holds.
  public let days: Int
  public let reason: String
  /// Unix seconds, by the hub's clock.
  public let issued: Int64
  public let expires: Int64
  /// The operator of the hub who issued it: `operator:first`.
  public let issuedBy: String

  /// No box keeps records for less without one, in days.
  public static let floor = 180
  public static let lifetime: ClosedRange<Int64> = 3600...(366 * 86_400)
  /// In characters.
  public static let reasonLength = 8...500

  public init(id: String, days: Int, reason: String, issued: Int64, expires: Int64, issuedBy: String) {
    self.id = id
    self.days = days
    self.reason = reason
    self.issued = issued
    self.expires = expires
    self.issuedBy = issuedBy
  }

  /// Whether it is one that a box obeys, whoever signed it.
  public var isSound: Bool {
    id.utf8.count == 16 && Hex.decode(id) != nil && (1..<RetentionException.floor).contains(days)
      && RetentionException.isReason(reason) && RetentionException.lifetime.contains(expires - issued)
      && issued > 0 && (1...128).contains(issuedBy.utf8.count)
  }

  public static func isReason(_ text: String) -> Bool {
    reasonLength.contains(text.unicodeScalars.count) && text.unicodeScalars.allSatisfy(AuditText.isShown)
  }

  /// For how many days records are kept at this time, in Unix seconds: as configured, and never fewer than the floor, or
  /// than an exception that holds says.
  public static func days(configured: Int, exception: RetentionException?, at now: Int64) -> Int {
    guard let exception, exception.isSound, now < exception.expires else { return max(configured, floor) }
    return max(configured, exception.days)
  }
}

extension TUFTargets {
  /// The exception for the statement's box; nil when there is none, or one of a form that this version does not obey.
  public var retention: RetentionException? {
    guard let value = document.signed["skerry"]?["retention"],
      let exception = try? value.decoded(as: RetentionException.self), exception.isSound
    else { return nil }
    return exception
  }
}

extension TUFSigned {
  /// The same statement with the exception for its box.
  public func adding(_ exception: RetentionException?) throws -> TUFSigned {
    try exception.map { with("retention", try JSONValue(encoding: $0)) } ?? self
  }
}
