/// An amount per minute: a minute's worth may be used at once, then it comes back evenly.
///
/// Time is seconds of a clock that never goes back; a reading that does is taken for the last one.
public struct RateBucket: Sendable, Hashable {
  /// What a minute brings.
  public private(set) var perMinute: Int
  /// What may be used now. Below zero when more was used than was foreseen: that is paid back first.
  private var level: Double
  private var readAt: Double

  /// Full.
  public init(perMinute: Int, at now: Double) {
    self.perMinute = perMinute
    level = Double(perMinute)
    readAt = now
  }

  private var rate: Double { Double(perMinute) / 60 }

  private mutating func refill(at now: Double) {
    guard now > readAt else { return }
    level = min(Double(perMinute), level + (now - readAt) * rate)
    readAt = now
  }

  /// Another limit; what is used stays used.
  public mutating func change(perMinute new: Int, at now: Double) {
    guard new != perMinute else { return }
    refill(at: now)
    level = min(Double(new), level + Double(new) - Double(perMinute))
    perMinute = new
  }

  /// How many seconds from now on the amount can be taken; 0: now. More than a minute's worth can be taken when the bucket
  /// is full.
  public mutating func wait(for amount: Int, at now: Double) -> Double {
    refill(at: now)
    let needed = min(Double(amount), Double(perMinute))
    // A billionth less than enough is an error of rounding.
    return level >= needed - 1e-9 * Double(perMinute) ? 0 : (needed - level) / rate
  }

  public mutating func take(_ amount: Int, at now: Double) {
    refill(at: now)
    level -= Double(amount)
  }

  /// Gives back what was taken and not used.
  public mutating func giveBack(_ amount: Int, at now: Double) {
    refill(at: now)
    level = min(Double(perMinute), level + Double(amount))
  }

  /// What may be used now.
  public mutating func remaining(at now: Double) -> Int {
    refill(at: now)
    return max(0, Int((level + 1e-6).rounded(.down)))
  }

  /// Seconds until nothing of it counts as used any more.
  public mutating func untilFull(at now: Double) -> Double {
    refill(at: now)
    return max(0, (Double(perMinute) - level) / rate)
  }
}
