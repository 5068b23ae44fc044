import Trust

/// How much the box keeps and how it looks after it: `store` in agent.json5.
public struct StorePolicy: Sendable, Hashable {
  /// The most that models, indexes and downloads under way may take together, in bytes. 0: as much as the disk has.
  public var quotaBytes: UInt64 = 0
  /// Whether the version before the active one stays for a rollback.
  public var keepPrevious = true
  /// How fast the scrubber reads. 0: it does not run by itself.
  public var scrubBytesPerSecond: UInt64 = 4 << 20
  /// From the beginning of one scrub to that of the next.
  public var scrubIntervalSeconds = 7 * 86_400

  public init() {}

  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["quotaBytes", "keepPrevious", "scrubBytesPerSecond", "scrubIntervalSeconds"])
    if let field = members["quotaBytes"] { quotaBytes = UInt64(try field.integer(0...1 << 50)) }
    if let field = members["keepPrevious"] { keepPrevious = try field.bool() }
    if let field = members["scrubBytesPerSecond"] { scrubBytesPerSecond = UInt64(try field.integer(0...1 << 40)) }
    if let field = members["scrubIntervalSeconds"] { scrubIntervalSeconds = try field.integer(60...86_400 * 366) }
  }

  var effective: JSONValue {
    [
      "quotaBytes": .integer(Int64(clamping: quotaBytes)), "keepPrevious": .bool(keepPrevious),
      "scrubBytesPerSecond": .integer(Int64(clamping: scrubBytesPerSecond)),
      "scrubIntervalSeconds": .integer(Int64(scrubIntervalSeconds)),
    ]
  }
}
