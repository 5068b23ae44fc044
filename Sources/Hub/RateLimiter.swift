import Synchronization

/// A token bucket for each key, in bounded memory: a peer that asks too often waits, and none can crowd out the rest.
final class RateLimiter: Sendable {
  private struct Bucket {
    var tokens: Double
    var at: Duration
  }

  private let rate: Double
  private let burst: Double
  private let capacity: Int
  private let buckets = Mutex<[String: Bucket]>([:])

  /// `rate` per second on the long run, `burst` at once, for at most `capacity` keys at a time.
  init(rate: Double, burst: Double, capacity: Int = 10_000) {
    self.rate = rate
    self.burst = burst
    self.capacity = capacity
  }

  /// Whether one more is allowed at this reading of a monotonic clock.
  func allows(_ key: String, at now: Duration) -> Bool {
    buckets.withLock { buckets in
      if buckets[key] == nil, buckets.count >= capacity {
        buckets = buckets.filter { filled($0.value, now) < burst }
        // Everybody is busy: strangers wait.
        if buckets.count >= capacity { return false }
      }
      let tokens = buckets[key].map { filled($0, now) } ?? burst
      let allowed = tokens >= 1
      buckets[key] = Bucket(tokens: allowed ? tokens - 1 : tokens, at: now)
      return allowed
    }
  }

  private func filled(_ bucket: Bucket, _ now: Duration) -> Double {
    let passed = (now - bucket.at) / .seconds(1)
    return min(burst, bucket.tokens + max(0, passed) * rate)
  }
}
