import Fleet
import Trust

/// What a sync did.
public struct SyncOutcome: Codable, Hashable, Sendable {
  /// A model that could not be brought in, or without a name something else that went wrong on the way.
  public struct Failure: Codable, Hashable, Sendable {
    public var model: String
    public var message: String
  }

  /// True when models or metadata changed.
  public var changed = false
  /// Models that are now active and were not, as `NAME:VERSION`.
  public var activated: [String] = []
  public var removed: [String] = []
  public var failures: [Failure] = []
  /// Attacks that were refused on the way; each is in the audit log.
  public var attacks: [AttackReport] = []
  /// The trusted timestamp's version; 0 before the first.
  public var metadataVersion: Int64 = 0
  /// Bytes of indexes and chunks, as they travelled.
  public var fetchedBytes: UInt64 = 0
  /// Outbox items that the hub took.
  public var uploaded = 0
  /// Why models wait although the hub was there; nil: none does.
  public var waiting: String?
  /// How many audit entries the hub has cosigned.
  public var cosignedSize: UInt64 = 0
  /// Unix seconds by the hub's clock.
  public var hubTime: Int64 = 0

  /// The audit log's head went up.
  var isHeadPushed = false
  /// The hub is to get a report.
  var isReportDue = false

  public init() {}

  private enum CodingKeys: String, CodingKey {
    case changed, activated, removed, failures, attacks, metadataVersion, fetchedBytes, uploaded, waiting, cosignedSize
    case hubTime
  }
}

extension SyncOutcome {
  /// What this sync and the one before it did together.
  func after(_ earlier: SyncOutcome) -> SyncOutcome {
    var both = self
    both.changed = changed || earlier.changed
    both.activated = earlier.activated + activated
    both.removed = earlier.removed + removed
    both.attacks = earlier.attacks + attacks.filter { !earlier.attacks.contains($0) }
    both.fetchedBytes += earlier.fetchedBytes
    both.uploaded += earlier.uploaded
    return both
  }
}

/// How the sync is doing.
public struct SyncStatus: Codable, Hashable, Sendable {
  /// `idle`, `syncing`, or `not enrolled`.
  public var state: String
  public var enrolled: Bool
  public var hub: String?
  /// Whether the last probe or request reached the hub; nil before the first.
  public var reachable: Bool?
  /// Unix seconds by the box's clock.
  public var lastSuccess: Int64?
  public var lastAttempt: Int64?
  public var lastError: String?
  /// What the last sync refused, by the names of the attacks; each is in the audit log.
  public var attacks: [AttackReport]
  public var nextAttempt: Int64?
  /// Items that wait for the hub.
  public var outbox: Int
  /// How models may travel now.
  public var transfer: TransferStatus
}
