import Fleet
import Trust

/// A box as the hub knows it. Times are seconds since 1970.
public struct DeviceRecord: Sendable {
  public let id: DeviceID
  public let key: VerifyingKey
  public let name: String
  public let agentVersion: String
  public let enrolledAt: Int64
  public let lastSeen: Int64
  public let lastSequence: UInt64
  public let revokedAt: Int64?
  /// The names of the models it is to have; nil means all.
  public let assigned: [String]?
  /// What it said of itself at its last sync.
  public let state: SyncRequest?
  public let checkpoint: WitnessedHead?
  /// When its last report came.
  public let reportedAt: Int64?
}

/// The head of a box's audit log that the hub cosigned last.
public struct WitnessedHead: Sendable, Hashable {
  public let size: UInt64
  public let root: Digest
  public let cosignedAt: Int64
  /// The note with the box's signature and the hub's cosignature.
  public let note: String
}

/// The last report of a box.
public struct StoredReport: Sendable {
  public let createdAt: Int64
  public let receivedAt: Int64
  /// Whether the box's key signed it.
  public let isSigned: Bool
  /// The report itself, out of its envelope.
  public let body: JSONValue
}

/// An event that a box told of.
public struct StoredEvent: Sendable {
  public let id: String
  public let kind: String
  public let createdAt: Int64
  public let receivedAt: Int64
  public let body: JSONValue
}
