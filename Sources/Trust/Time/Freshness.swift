import FoundationEssentials

/// How old the trusted metadata is, and what the signed policy makes of it.
public struct Freshness: Hashable, Sendable {
  /// The roles that have expired, sorted; the director's as `director/ROLE`.
  public let expired: [String]
  /// When the first of them expired; nil while none has. Unix seconds.
  public let staleSince: Int64?
  /// When installed models stop answering if nothing newer comes; nil: never.
  public let refusesAt: Int64?
  /// Installed models no longer answer.
  public let isRefused: Bool

  /// True when something has expired. What is installed goes on running all the same, for as long as the policy says.
  public var isStale: Bool { staleSince != nil }

  /// `expires` by role; `now` in Unix seconds.
  public init(expires: [String: Int64], policy: RepositoryPolicy, now: Int64) {
    let expired = expires.filter { $0.value <= now }
    self.expired = expired.keys.sorted()
    staleSince = expired.values.min()
    // From the first expiry on, which may lie ahead.
    refusesAt = policy.staleSeconds.flatMap { limit in
      expires.values.min().map { $0.addingReportingOverflow(limit).partialValue }
    }
    isRefused = refusesAt.map { $0 <= now } ?? false
  }
}

extension TrustedMetadata {
  /// When each role's trusted metadata expires, in Unix seconds.
  public var expirySeconds: [String: Int64] { expiries.mapValues { Int64($0.timeIntervalSince1970) } }
}
