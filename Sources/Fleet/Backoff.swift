/// Waiting times that grow with each failure, drawn at random so that a fleet does not come back all at once
/// ("full jitter": anywhere between nothing and the current ceiling).
public struct Backoff: Hashable, Sendable {
  /// The ceiling of the first wait, seconds.
  public let base: Double
  /// The highest ceiling, seconds.
  public let cap: Double
  private var failures = 0

  public init(base: Double, cap: Double) {
    self.base = base
    self.cap = cap
  }

  /// Seconds to wait after one more failure. `random` is uniform in 0..<1.
  public mutating func next(random: Double) -> Double {
    var ceiling = base
    for _ in 0..<failures where ceiling < cap { ceiling *= 2 }
    failures = min(failures + 1, 64)
    return min(ceiling, cap) * min(max(random, 0), 1)
  }

  public mutating func reset() { failures = 0 }
}
