import Fleet
import Host
import Trust

/// For how many days this box keeps its audit records now: as configured, never fewer than the floor, unless the fleet's
/// signed statement for this box makes an exception and that has not ended. Each change of the exception is on record before
/// it counts.
struct RetentionKeeper: Sendable {
  let settings: AuditRetention
  let clock: TrustedClock
  let audit: AuditWriter
  /// What the director's trusted statement for this box says.
  let exception: @Sendable () async -> RetentionException?

  /// Throws what the audit log throws; then nothing may be let go.
  func current() async throws -> AuditRetention {
    // The later of what was signed and has passed, and what is believed: a clock that is set back makes it last no longer.
    let account = clock.account()
    let now = max(account.judgement.floor, account.judgement.time)
    let found = await exception().flatMap { now < $0.expires ? $0 : nil }
    try await tell(found)
    var made = settings
    made.days = RetentionException.days(configured: settings.days, exception: found, at: now)
    return made
  }

  private func tell(_ exception: RetentionException?) async throws {
    let told = clock.told(.retention)
    guard exception?.id != told else { return }
    if let exception {
      try await audit(
        .audit, "system",
        [
          "event": "exception", "id": .string(exception.id), "days": .integer(Int64(exception.days)),
          "reason": .string(exception.reason), "issuedBy": .string(exception.issuedBy),
          "expires": .integer(exception.expires),
        ])
      Log.shared.notice("the fleet lets audit records go early", ["days": "\(exception.days)", "id": exception.id])
    } else if let told {
      try await audit(.audit, "system", ["event": "exceptionEnded", "id": .string(told)])
    }
    try clock.setTold(.retention, exception?.id)
  }
}
