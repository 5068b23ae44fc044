import Fleet
import Trust

/// How models travel, from the keys of `sync` in agent.json5.
public struct TransferConfiguration: Sendable, Hashable {
  /// Bytes per second over all connections; 0: as fast as the line.
  public var bandwidth = 0
  /// When no models travel.
  public var quietHours = QuietHours.none
  /// Bytes per calendar month, for metered links; 0: no limit.
  public var monthlyBytes = 0

  static let keys = ["bandwidth", "quietHours", "monthlyBytes"]

  public init() {}

  init(_ members: [String: JSONField]) throws(JSONFieldError) {
    if let field = members["bandwidth"] {
      bandwidth = try field.integer(0...1 << 40)
      guard bandwidth == 0 || bandwidth >= 4096 else {
        throw field.wrong(
          "\(bandwidth) is too slow for a chunk to arrive", allowed: "0, or at least 4096 bytes a second")
      }
    }
    if let field = members["monthlyBytes"] { monthlyBytes = try field.integer(0...1 << 50) }
    if let field = members["quietHours"] {
      let allowed = "times of the day like [\"22:00-06:00\"]"
      var windows: [QuietHours.Window] = []
      for element in try field.array(of: allowed) {
        let text = try element.string(allowed)
        guard let window = QuietHours.Window(text) else {
          throw element.wrong("\"\(text)\" is no window", allowed: allowed)
        }
        windows.append(window)
      }
      guard let hours = QuietHours(windows) else {
        throw field.wrong("they leave no minute in which models may travel", allowed: "less than the whole day")
      }
      quietHours = hours
    }
  }

  var effective: [String: JSONValue] {
    [
      "bandwidth": .integer(Int64(bandwidth)), "monthlyBytes": .integer(Int64(monthlyBytes)),
      "quietHours": .array(quietHours.windows.map { .string($0.description) }),
    ]
  }

  var rules: TransferRules {
    TransferRules(
      bytesPerSecond: bandwidth == 0 ? nil : bandwidth, quiet: quietHours,
      bytesPerMonth: monthlyBytes == 0 ? nil : UInt64(monthlyBytes))
  }
}
