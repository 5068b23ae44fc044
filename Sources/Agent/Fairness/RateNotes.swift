import Access
import Synchronization

/// What the limits leave a caller, on its way from the gate to the response's headers, past everything in between.
final class RateNotes: Sendable {
  @TaskLocal static var current: RateNotes?

  private let standing = Mutex<Limiter.Standing?>(nil)

  func note(_ standing: Limiter.Standing) { self.standing.withLock { $0 = standing } }

  /// As OpenAI's clients know them; none where nothing is limited.
  var headers: [(name: String, value: String)] {
    guard let standing = standing.withLock({ $0 }) else { return [] }
    return RateNotes.headers("requests", standing.requests) + RateNotes.headers("tokens", standing.tokens)
  }

  private static func headers(
    _ what: String, _ left: (limit: Int, remaining: Int, reset: Double)?
  ) -> [(name: String, value: String)] {
    guard let left else { return [] }
    return [
      ("x-ratelimit-limit-\(what)", String(left.limit)), ("x-ratelimit-remaining-\(what)", String(left.remaining)),
      ("x-ratelimit-reset-\(what)", text(left.reset)),
    ]
  }

  /// `1m30s`, `12s`, `350ms`.
  static func text(_ seconds: Double) -> String {
    if seconds < 1 { return "\(Int((seconds * 1000).rounded(.up)))ms" }
    let whole = Int(seconds.rounded(.up))
    return whole < 60 ? "\(whole)s" : "\(whole / 60)m\(whole % 60)s"
  }
}
