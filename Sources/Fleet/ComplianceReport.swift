import Models
import Trust

/// What a box says of itself to whoever answers for it: what it runs, who may use it, how far its audit log is
/// witnessed, and what is not as it should be. Times are Unix seconds by the box's clock.
public struct ComplianceReport: Codable, Sendable, Hashable {
  /// The DSSE payload type under which the device signs it.
  public static let payloadType = "application/vnd.skerry.report+json"
  public static let currentVersion = 1

  public struct Device: Codable, Sendable, Hashable {
    public var id: String
    public var name: String
    /// The agent's version.
    public var version: String
    /// The device's note key.
    public var key: String
    public var isEnrolled: Bool
    public var hub: String?
    public var uptimeSeconds: Int64
    /// Room left where the models are, in bytes.
    public var diskFree: UInt64?

    public init(
      id: String, name: String, version: String, key: String, isEnrolled: Bool, hub: String?, uptimeSeconds: Int64,
      diskFree: UInt64?
    ) {
      self.id = id
      self.name = name
      self.version = version
      self.key = key
      self.isEnrolled = isEnrolled
      self.hub = hub
      self.uptimeSeconds = uptimeSeconds
      self.diskFree = diskFree
    }
  }

  public struct Model: Codable, Sendable, Hashable {
    public var name: String
    public var version: String
    /// "active", "staged", "corrupt", "fetching".
    public var state: String
    public var sha256: Digest
    /// Bytes.
    public var length: UInt64
    public var architecture: String
    public var publisher: String?
    public var license: String?
    /// The TUF key ids whose signatures on the targets counted.
    public var signers: [String]
    /// Its maker's own signature, which was verified before the model went into the repository; nil when there is none.
    public var publisherSignature: PublisherSignature?
    public var installedAt: Int64?
    /// What the agent last found wrong with it.
    public var problem: String?

    public init(
      name: String, version: String, state: String, sha256: Digest, length: UInt64, architecture: String,
      publisher: String?, license: String?, signers: [String], installedAt: Int64?, problem: String?
    ) {
      self.name = name
      self.version = version
      self.state = state
      self.sha256 = sha256
      self.length = length
      self.architecture = architecture
      self.publisher = publisher
      self.license = license
      self.signers = signers
      self.installedAt = installedAt
      self.problem = problem
    }
  }

  public struct Role: Codable, Sendable, Hashable {
    public var name: String
    public var summary: String
    /// "infer on model:*", its own and inherited ones.
    public var allows: [String]
    /// Who holds it: "uid:0", "group:skerry", "token:app1", "local".
    public var holders: [String]

    public init(name: String, summary: String, allows: [String], holders: [String]) {
      self.name = name
      self.summary = summary
      self.allows = allows
      self.holders = holders
    }
  }

  public struct Token: Codable, Sendable, Hashable {
    public var name: String
    public var createdAt: Int64
    public var createdBy: String
    public var expiresAt: Int64?

    public init(name: String, createdAt: Int64, createdBy: String, expiresAt: Int64?) {
      self.name = name
      self.createdAt = createdAt
      self.createdBy = createdBy
      self.expiresAt = expiresAt
    }
  }

  public struct Audit: Codable, Sendable, Hashable {
    public var size: UInt64
    public var root: Digest
    /// The signed head as a note, so that the report can be held against an export.
    public var head: String
    public var cosignedSize: UInt64
    /// By the witness's clock.
    public var cosignedAt: Int64?
    public var witness: String?
    /// Entries that only the device vouches for.
    public var uncosignedTail: UInt64
    /// The entry from which stored hashes had to be computed again when the log was opened.
    public var hashesRebuiltFrom: UInt64?

    public init(
      size: UInt64, root: Digest, head: String, cosignedSize: UInt64, cosignedAt: Int64?, witness: String?,
      hashesRebuiltFrom: UInt64?
    ) {
      self.size = size
      self.root = root
      self.head = head
      self.cosignedSize = cosignedSize
      self.cosignedAt = cosignedAt
      self.witness = witness
      uncosignedTail = size - min(size, cosignedSize)
      self.hashesRebuiltFrom = hashesRebuiltFrom
    }
  }

  /// The trusted metadata; versions and expiries by role. Empty before the first sync.
  public struct Repository: Codable, Sendable, Hashable {
    public var versions: [String: Int]
    public var expires: [String: Int64]
    /// When the first of them expired; nil while none has.
    public var staleSince: Int64?
    /// When installed models stop answering by the signed policy; nil: never.
    public var refusesAt: Int64?
    /// For so many seconds after its expiry the signed policy lets metadata bring in something new.
    public var graceSeconds: Int64?

    public init(
      versions: [String: Int] = [:], expires: [String: Int64] = [:], staleSince: Int64? = nil, refusesAt: Int64? = nil,
      graceSeconds: Int64? = nil
    ) {
      self.versions = versions
      self.expires = expires
      self.staleSince = staleSince
      self.refusesAt = refusesAt
      self.graceSeconds = graceSeconds
    }
  }

  /// What the box knows of the time.
  public struct Clock: Codable, Sendable, Hashable {
    /// What its wall clock shows.
    public var wall: Int64
    /// The earliest that it can be, by signed statements and the time that has passed since.
    public var floor: Int64
    /// "behind" or "ahead" where the wall clock can't be right and is not believed; nil where it is.
    public var doubt: String?
    /// What the floor stands on: "reply" or "metadata"; nil: nothing signed yet.
    public var source: String?
    /// Why the last signed time that came was not believed.
    public var refused: String?
    /// By how many seconds the wall clock was ahead when the hub last signed the time.
    public var aheadOfHub: Int64?

    public init(
      wall: Int64, floor: Int64, doubt: String?, source: String?, refused: String? = nil, aheadOfHub: Int64? = nil
    ) {
      self.wall = wall
      self.floor = floor
      self.doubt = doubt
      self.source = source
      self.refused = refused
      self.aheadOfHub = aheadOfHub
    }
  }

  public struct Sync: Codable, Sendable, Hashable {
    public var lastSuccess: Int64?
    public var lastError: String?
    /// Reports and events that wait for the hub.
    public var outbox: Int

    public init(lastSuccess: Int64?, lastError: String?, outbox: Int) {
      self.lastSuccess = lastSuccess
      self.lastError = lastError
      self.outbox = outbox
    }
  }

  /// The policy that the fleet signed for this box.
  public struct Policy: Codable, Sendable, Hashable {
    public var name: String?
    public var serial: Int64?
    public var sha256: String?
    public var expires: Int64?
    /// "in force"; "stale", when it has expired, or "damaged", when it is not as it was signed: then its stale roles alone
    /// count.
    public var state: String
    /// How much of the box's own policy does not count beside it.
    public var ignored: Int
    /// Why a newer one was not taken.
    public var refused: String?

    public init(
      name: String?, serial: Int64?, sha256: String?, expires: Int64?, state: String, ignored: Int, refused: String?
    ) {
      self.name = name
      self.serial = serial
      self.sha256 = sha256
      self.expires = expires
      self.state = state
      self.ignored = ignored
      self.refused = refused
    }
  }

  public struct Sandbox: Codable, Sendable, Hashable {
    /// As configured: "required", "preferred", "off".
    public var mode: String
    /// Whether engines run in it.
    public var isActive: Bool
    /// Why not.
    public var reason: String?

    public init(mode: String, isActive: Bool, reason: String?) {
      self.mode = mode
      self.isActive = isActive
      self.reason = reason
    }
  }

  public let version: Int
  public let generatedAt: Int64
  public let device: Device
  public let models: [Model]
  public let roles: [Role]
  public let tokens: [Token]
  public let audit: Audit
  public let repository: Repository
  public let sync: Sync
  public let sandbox: Sandbox
  /// Nil in reports of older agents.
  public let clock: Clock?
  /// Nil where the fleet has signed none.
  public let policy: Policy?
  /// What is not as it should be, the worst first.
  public let findings: [ComplianceFinding]

  /// A report of these facts, with the findings that follow from them.
  public init(
    generatedAt: Int64, device: Device, models: [Model], roles: [Role], tokens: [Token], audit: Audit,
    repository: Repository, sync: Sync, sandbox: Sandbox, clock: Clock? = nil, policy: Policy? = nil
  ) {
    version = Self.currentVersion
    self.generatedAt = generatedAt
    self.device = device
    self.models = models.sorted { ($0.name, $0.version) < ($1.name, $1.version) }
    self.roles = roles.sorted { $0.name < $1.name }
    self.tokens = tokens.sorted { $0.name < $1.name }
    self.audit = audit
    self.repository = repository
    self.sync = sync
    self.sandbox = sandbox
    self.clock = clock
    self.policy = policy
    findings = ComplianceFinding.findings(
      now: generatedAt, device: device, models: self.models, roles: self.roles, tokens: self.tokens, audit: audit,
      repository: repository, sync: sync, sandbox: sandbox, clock: clock, policy: policy)
  }

  /// Canonical JSON: what is signed.
  public func encoded() throws -> [UInt8] { try JSONValue(encoding: self).encoded() }

  /// Signed by the device.
  public func signed(by key: SigningKey, keyID: String) throws -> DSSEEnvelope {
    DSSEEnvelope.sign(payload: try encoded(), type: Self.payloadType, key: key, keyID: keyID)
  }

  /// The report in an envelope when this key signed it as a report; nil otherwise.
  public init?(verifying envelope: DSSEEnvelope, key: VerifyingKey) {
    guard envelope.payloadType == Self.payloadType, let payload = envelope.verifiedPayload(key: key),
      let report: ComplianceReport = try? JSONValue(parsing: payload).decoded()
    else { return nil }
    self = report
  }
}
