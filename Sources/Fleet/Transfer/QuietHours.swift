/// Times of the day, by the box's own time zone, in which no models travel.
public struct QuietHours: Sendable, Hashable {
  public static let minutesPerDay = 1440

  /// From a minute of the day to another, which is not in it; it may pass midnight.
  public struct Window: Sendable, Hashable, CustomStringConvertible {
    public let start: Int
    public let end: Int

    /// Takes `22:00-06:00`; nil for anything else, and for a window that begins where it ends.
    public init?(_ text: some StringProtocol) {
      let sides = text.split(separator: "-", omittingEmptySubsequences: false)
      guard sides.count == 2, let start = Window.minute(sides[0]), let end = Window.minute(sides[1]), start != end
      else { return nil }
      (self.start, self.end) = (start, end)
    }

    private static func minute(_ text: some StringProtocol) -> Int? {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { 0x30...0x39 ~= $0 } }),
        let hour = Int(parts[0]), let minute = Int(parts[1]), hour < 24, minute < 60
      else { return nil }
      return hour * 60 + minute
    }

    public func contains(_ minute: Int) -> Bool {
      start < end ? (start..<end).contains(minute) : minute >= start || minute < end
    }

    public var description: String { "\(QuietHours.clock(start))-\(QuietHours.clock(end))" }
  }

  public let windows: [Window]

  /// Nil when they leave no minute of the day: then nothing would ever travel.
  public init?(_ windows: [Window]) {
    self.windows = windows
    guard (0..<QuietHours.minutesPerDay).contains(where: { minute in !windows.contains { $0.contains(minute) } })
    else { return nil }
  }

  /// No quiet hours.
  public static let none = QuietHours(always: [])
  private init(always windows: [Window]) { self.windows = windows }

  public func isQuiet(_ minute: Int) -> Bool { windows.contains { $0.contains(minute) } }

  /// The minute of the day at which it is no longer quiet; nil when it is not quiet at this one.
  public func end(from minute: Int) -> Int? {
    guard isQuiet(minute) else { return nil }
    let later = (1...QuietHours.minutesPerDay).lazy.map { (minute + $0) % QuietHours.minutesPerDay }
    return later.first { !isQuiet($0) }
  }

  /// `06:00`.
  public static func clock(_ minute: Int) -> String {
    let (hour, rest) = (minute / 60, minute % 60)
    return (hour < 10 ? "0" : "") + "\(hour):" + (rest < 10 ? "0" : "") + "\(rest)"
  }
}
