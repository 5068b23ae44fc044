/// What has travelled in a calendar month, kept through restarts.
///
/// The month is the wall clock's, and that may be wrong. A clock that goes back takes no bytes off the account and does
/// not hold it for ever: what was used is carried into the month that it says. A clock that stands still does not
/// either: after 31 days of the box's own running time a new month begins whatever the clock says.
public struct TransferMonth: Sendable, Hashable {
  /// Years times twelve and the month from 0, so that a higher number is later.
  public private(set) var month: Int
  /// Bytes.
  public var used: UInt64
  /// Seconds that the box has run since the month began for it.
  public private(set) var running: Double

  static let longestMonth = 31.0 * 86_400

  public init(month: Int, used: UInt64 = 0, running: Double = 0) {
    self.month = month
    self.used = used
    self.running = running
  }

  /// The clock now says `current`, and `seconds` of running time have passed since the last call.
  public mutating func advance(to current: Int, after seconds: Double) {
    running += max(seconds, 0)
    if current > month || running >= TransferMonth.longestMonth {
      self = TransferMonth(month: current)
    } else if current < month {
      month = current
    }
  }

  /// `2027-03`.
  public var name: String {
    let (year, rest) = (month / 12, month % 12 + 1)
    return "\(year)-" + (rest < 10 ? "0" : "") + "\(rest)"
  }

  // MARK: as text

  /// `MONTH USED RUNNING`, as it is kept.
  public var text: String { "\(month) \(used) \(Int64(running))" }

  public init?(_ text: String) {
    let parts = text.split(separator: " ")
    guard parts.count == 3, let month = Int(parts[0]), (0...120_000).contains(month), let used = UInt64(parts[1]),
      let running = Int64(parts[2]), running >= 0
    else { return nil }
    self.init(month: month, used: used, running: Double(running))
  }
}
