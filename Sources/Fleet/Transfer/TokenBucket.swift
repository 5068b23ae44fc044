/// A limit in bytes per second over all who share it. Time is seconds of a clock that never goes back.
public struct TokenBucket: Sendable, Hashable {
  /// Bytes per second.
  public let rate: Double
  /// What may be saved up while nothing travels, in bytes: a twentieth of a second's worth.
  public var burst: Double { rate / 20 }
  private var tokens: Double
  private var now: Double

  public init(rate: Double, at now: Double) {
    self.rate = max(rate, 1)
    tokens = 0
    self.now = now
  }

  /// Takes the bytes and returns nil, or returns how many seconds later to ask again. A piece is not divided: it may
  /// take more than there is, and the next ones wait for it.
  public mutating func take(_ bytes: Int, at time: Double) -> Double? {
    if time > now {
      tokens = min(tokens + (time - now) * rate, burst)
      now = time
    }
    // A millionth of a byte less than none is an error of rounding.
    guard tokens >= -1e-6 else { return -tokens / rate }
    tokens -= Double(bytes)
    return nil
  }

  /// Gives back bytes that were taken for what did not travel.
  public mutating func giveBack(_ bytes: Int) { tokens = min(tokens + Double(bytes), burst) }
}
