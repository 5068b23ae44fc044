/// What was used within the last 24 hours, by the hour. An hour counts until 24 hours after its end, so that no 24 hours
/// ever hold more than the limit.
///
/// Hours are numbered by a clock that never goes back, also not over restarts of the machine.
public struct DayWindow: Sendable, Hashable {
  /// The last hour in which something that was used in an hour still counts.
  public static let reach: Int64 = 24
  private var hours: [(hour: Int64, tokens: Int)] = []

  public init() {}

  public static func == (one: DayWindow, other: DayWindow) -> Bool {
    one.hours.elementsEqual(other.hours) { $0 == $1 }
  }

  public func hash(into hasher: inout Hasher) {
    for entry in hours {
      hasher.combine(entry.hour)
      hasher.combine(entry.tokens)
    }
  }

  private mutating func forget(before now: Int64) { hours.removeAll { $0.hour + DayWindow.reach < now } }

  /// Adds to an hour, or takes away when what was foreseen was not used. An hour that no longer counts is passed over.
  public mutating func add(_ tokens: Int, in hour: Int64, now: Int64) {
    forget(before: now)
    guard hour + DayWindow.reach >= now, tokens != 0 else { return }
    if let at = hours.firstIndex(where: { $0.hour == hour }) {
      hours[at].tokens = max(0, hours[at].tokens + tokens)
    } else if tokens > 0 {
      hours.append((hour, tokens))
      hours.sort { $0.hour < $1.hour }
    }
  }

  public mutating func used(at now: Int64) -> Int {
    forget(before: now)
    return hours.reduce(0) { $0 + $1.tokens }
  }

  /// How many seconds from now on so much can be used within the limit; 0: now. More than the limit can be used when
  /// nothing else counts.
  public mutating func wait(for tokens: Int, limit: Int, at seconds: Double) -> Double {
    let now = Int64(seconds / 3600)
    var used = used(at: now)
    let needed = min(tokens, limit)
    if used <= limit - needed { return 0 }
    for entry in hours {
      used -= entry.tokens
      if used <= limit - needed { return Double(entry.hour + DayWindow.reach + 1) * 3600 - seconds }
    }
    return 0
  }

  /// Seconds until nothing counts as used any more.
  public mutating func untilEmpty(at seconds: Double) -> Double {
    forget(before: Int64(seconds / 3600))
    return hours.last.map { Double($0.hour + DayWindow.reach + 1) * 3600 - seconds } ?? 0
  }
}
