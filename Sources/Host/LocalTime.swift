import Glibc

/// A time by this machine's time zone.
public struct LocalTime: Sendable, Hashable {
  /// From 0 to 1439.
  public let minuteOfDay: Int
  /// Years times twelve and the month from 0.
  public let month: Int
  /// 0 for Monday.
  public let weekday: Int

  /// `unix` is seconds since 1970.
  public init(unix: Int64) {
    var time = time_t(unix)
    var parts = tm()
    localtime_r(&time, &parts)
    minuteOfDay = Int(parts.tm_hour) * 60 + Int(parts.tm_min)
    weekday = (Int(parts.tm_wday) + 6) % 7
    month = (Int(parts.tm_year) + 1900) * 12 + Int(parts.tm_mon)
  }
}
