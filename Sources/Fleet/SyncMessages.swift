import Trust

/// A model as a box holds it.
public struct ReportedModel: Codable, Hashable, Sendable {
  public var name: String
  public var version: String
  /// SHA-256 of the model's file, hexadecimal.
  public var sha256: String
  /// `active`, `staged`, `corrupt`, `fetching`; more may come.
  public var state: String

  public init(name: String, version: String, sha256: String, state: String) {
    self.name = name
    self.version = version
    self.sha256 = sha256
    self.state = state
  }
}

/// Versions of a repository's metadata; 0 where there is none yet.
public struct RepositoryVersions: Codable, Hashable, Sendable {
  public var root: Int
  public var timestamp: Int
  public var snapshot: Int
  public var targets: Int

  public init(root: Int = 0, timestamp: Int = 0, snapshot: Int = 0, targets: Int = 0) {
    self.root = root
    self.timestamp = timestamp
    self.snapshot = snapshot
    self.targets = targets
  }
}

/// The head of a box's audit log.
public struct AuditHead: Codable, Hashable, Sendable {
  public var size: UInt64
  public var root: Digest

  public init(size: UInt64, root: Digest) {
    self.size = size
    self.root = root
  }
}

/// The one round trip of a sync where nothing changed, upward: POST /v1/sync.
public struct SyncRequest: Codable, Hashable, Sendable {
  public var agentVersion: String
  public var name: String
  public var models: [ReportedModel]
  public var repository: RepositoryVersions
  /// The director's metadata for this box; nil before the first.
  public var director: RepositoryVersions?
  public var audit: AuditHead
  /// How many items wait in the outbox.
  public var outbox: Int
  /// The engine sandbox's state: `active`, `off` or `unavailable`.
  public var sandbox: String
  /// What the hub is to sign together with its time; another one in each request. Nil: the box asks for no time.
  public var nonce: String?

  public init(
    agentVersion: String, name: String, models: [ReportedModel], repository: RepositoryVersions,
    director: RepositoryVersions? = nil, audit: AuditHead, outbox: Int, sandbox: String, nonce: String? = nil
  ) {
    self.agentVersion = agentVersion
    self.name = name
    self.models = models
    self.repository = repository
    self.director = director
    self.audit = audit
    self.outbox = outbox
    self.sandbox = sandbox
    self.nonce = nonce
  }
}

/// The same, downward.
public struct SyncResponse: Codable, Hashable, Sendable {
  public struct Audit: Codable, Hashable, Sendable {
    /// The size of the last head that the hub cosigned; 0 before the first.
    public var cosignedSize: UInt64
    public init(cosignedSize: UInt64) { self.cosignedSize = cosignedSize }
  }

  /// Seconds since 1970.
  public var hubTime: Int64
  /// The version of the hub's timestamp.json, 0 when it has no repository.
  public var timestampVersion: Int
  /// The version of the director's timestamp.json for this box; nil or 0 when the hub has no director.
  public var directorVersion: Int?
  public var audit: Audit
  /// What the hub still lacks: `SyncResponse.auditHead`, `SyncResponse.report`. A word that a box doesn't know is no
  /// matter.
  public var wants: [String]
  /// The hub's time, signed with its online key, in answer to the request's nonce (`TimeReply`).
  public var time: DSSEEnvelope?

  public static let auditHead = "audit-head"
  public static let report = "report"

  public init(
    hubTime: Int64, timestampVersion: Int, directorVersion: Int?, audit: Audit, wants: [String],
    time: DSSEEnvelope? = nil
  ) {
    self.hubTime = hubTime
    self.timestampVersion = timestampVersion
    self.directorVersion = directorVersion
    self.audit = audit
    self.wants = wants
    self.time = time
  }
}
