/// Decides when an engine that failed may be started again: after half a second, then twice as long each time, a
/// minute at most. An engine that stayed up for a minute starts from the beginning.
struct EngineBreaker: Sendable, Hashable {
  static let first = Duration.milliseconds(500)
  static let longest = Duration.seconds(60)
  static let steady = Duration.seconds(60)
  /// How many times in a row an engine is started again without anybody asking for it.
  static let unasked = 3

  private(set) var failures = 0
  private var openUntil: Duration?

  /// How long to wait still; nil: it may start now.
  func wait(at time: Duration) -> Duration? {
    guard let openUntil, openUntil > time else { return nil }
    return openUntil - time
  }

  /// It did not start, or it died after it had been up for so long.
  mutating func failed(at time: Duration, after up: Duration = .zero) {
    if up >= EngineBreaker.steady { failures = 0 }
    failures += 1
    let doubled = EngineBreaker.first * (1 << min(failures - 1, 10))
    openUntil = time + min(doubled, EngineBreaker.longest)
  }

  /// Somebody ended it on purpose.
  mutating func reset() { self = EngineBreaker() }

  /// Whether it should come back by itself.
  var mayRestartUnasked: Bool { failures <= EngineBreaker.unasked }
}
