import Fleet
import Trust

/// What taking a bundle in did.
public struct BundleOutcome: Codable, Hashable, Sendable {
  /// The bundle's number.
  public var serial: Int64
  /// The box joined the fleet by it.
  public var enrolled = false
  public var activated: [String] = []
  public var removed: [String] = []
  public var failures: [SyncOutcome.Failure] = []
  /// Attacks that were refused on the way; each is in the audit log.
  public var attacks: [AttackReport] = []
  /// Waiting items that the hub has, and that the box forgot.
  public var acknowledged = 0
  /// How many audit entries the hub has cosigned, by this bundle.
  public var cosignedSize: UInt64?
  /// The policy file: `adopted`, `unchanged`, `off` (bundle.policies is false) or `refused`; nil when there is none.
  public var policies: String?
  public var metadataVersion: Int64 = 0

  init(serial: Int64) { self.serial = serial }
}
