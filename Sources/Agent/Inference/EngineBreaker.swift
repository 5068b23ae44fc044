/// Decides when an engine that failed may be started again.
///
/// One that had given any part of an answer since its start comes back at once: whatever ended it, it works. One that
/// failed before that is waited for: half a second, then twice as long each time, a minute at most; from the third time
/// in a row on it is a crash loop. A SIGKILL comes from outside, as from the kernel when memory is short: an engine that
/// had become ready and is killed so comes back after half a second for a good while.
struct EngineBreaker: Sendable, Hashable {
  static let first = Duration.milliseconds(500)
  static let longest = Duration.seconds(60)
  static let steady = Duration.seconds(60)
  /// So many failures in a row are a crash loop; from then on nothing starts it but a request.
  static let loop = 3
  /// Kills from outside in a row before they count as failures.
  static let patience = 10

  /// Failures in a row, no part of an answer between.
  private(set) var failures = 0
  private var kills = 0
  private var openUntil: Duration?

  /// How long to wait still; nil: it may start now.
  func wait(at time: Duration) -> Duration? {
    guard let openUntil, openUntil > time else { return nil }
    return openUntil - time
  }

  /// It did not start, or it died after it had been up for so long.
  mutating func failed(
    at time: Duration, after up: Duration = .zero, hadAnswered: Bool = false, wasKilled: Bool = false
  ) {
    if up >= EngineBreaker.steady || hadAnswered { reset() }
    if hadAnswered { return }
    if wasKilled, kills < EngineBreaker.patience {
      kills += 1
      openUntil = time + EngineBreaker.first
      return
    }
    failures += 1
    let doubled = EngineBreaker.first * (1 << min(failures - 1, 10))
    openUntil = time + min(doubled, EngineBreaker.longest)
  }

  /// Somebody ended it on purpose, or it works.
  mutating func reset() { self = EngineBreaker() }

  /// Whether it fails whenever it is started.
  var isCrashLoop: Bool { failures >= EngineBreaker.loop }
  /// Whether it should come back by itself.
  var mayRestartUnasked: Bool { !isCrashLoop }
}
