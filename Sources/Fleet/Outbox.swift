import Trust

/// Something a box has to tell the hub, kept on its disk until the hub has it on its own.
public struct OutboxItem: Codable, Hashable, Sendable {
  /// 32 hexadecimal digits, made once; the hub knows a repeated item by it.
  public var id: String
  /// `report` or `event`; more may come.
  public var kind: String
  /// 0 is sent first.
  public var priority: Int
  /// Seconds since 1970 by the box's clock.
  public var created: Int64
  public var body: JSONValue

  public static let report = "report"
  public static let event = "event"

  public init(id: String, kind: String, priority: Int, created: Int64, body: JSONValue) {
    self.id = id
    self.kind = kind
    self.priority = priority
    self.created = created
    self.body = body
  }

  public static func newID() -> String { Hex.encode(SecureRandom.bytes(16)) }
}

/// POST /v1/outbox.
public struct OutboxBatch: Codable, Hashable, Sendable {
  /// The hub takes at most this many a batch.
  public static let maximumItems = 100

  public var items: [OutboxItem]
  public init(items: [OutboxItem]) { self.items = items }
}

/// The ids that are on the hub's disk now, repeated ones too: the box may forget them.
public struct OutboxReply: Codable, Hashable, Sendable {
  public var accepted: [String]
  public init(accepted: [String]) { self.accepted = accepted }
}
