/// When models may travel, and how fast. Signed round trips, reports and metadata always may: they are small, and a
/// withdrawal must not wait for the morning.
public struct TransferRules: Sendable, Hashable {
  /// Nil: as fast as the line.
  public var bytesPerSecond: Int?
  public var quiet: QuietHours
  /// For all that travels in a calendar month; nil: no limit.
  public var bytesPerMonth: UInt64?

  public init(bytesPerSecond: Int? = nil, quiet: QuietHours = .none, bytesPerMonth: UInt64? = nil) {
    self.bytesPerSecond = bytesPerSecond
    self.quiet = quiet
    self.bytesPerMonth = bytesPerMonth
  }

  /// After so many seconds of quiet without a break the clock is wrong: no quiet hours last a day.
  public static let longestQuiet = 86_400.0

  /// Why `expected` further bytes must not travel now; nil: they may.
  ///
  /// - minute: of the day, by the box's time zone.
  /// - quietFor: seconds of running time for which it has been quiet without a break.
  public func hold(
    _ expected: UInt64, minute: Int, quietFor: Double, month: TransferMonth
  ) -> TransferHold? {
    if quietFor < TransferRules.longestQuiet, let end = quiet.end(from: minute) { return .quietHours(until: end) }
    if let bytesPerMonth, month.used &+ expected > bytesPerMonth {
      return .budget(month: month.name, used: month.used, budget: bytesPerMonth)
    }
    return nil
  }
}

/// Why models wait although the hub is there.
public enum TransferHold: Error, Sendable, Hashable, CustomStringConvertible {
  /// `until` is a minute of the day.
  case quietHours(until: Int)
  /// The next bytes would go over the month's budget.
  case budget(month: String, used: UInt64, budget: UInt64)

  public var description: String {
    switch self {
    case .quietHours(let until):
      "models wait for the end of the quiet hours at \(QuietHours.clock(until)); `skerry sync --now` does not"
    case .budget(let month, let used, let budget):
      "models wait: of the \(budget) bytes for \(month), \(used) are used; `skerry sync --now` does not"
    }
  }
}
