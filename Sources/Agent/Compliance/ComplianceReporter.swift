import Access
import Fleet
import Host
import Trust

/// Makes this box's compliance report from what the other duties know.
public struct ComplianceReporter: Sendable {
  /// What changes from one report to the next and lives in other duties.
  public struct Facts: Sendable {
    public var device: ComplianceReport.Device
    public var models: [ComplianceReport.Model]
    public var policy: Policy
    public var tokens: [TokenRecord]
    public var repository: ComplianceReport.Repository
    public var sync: ComplianceReport.Sync
    public var sandbox: ComplianceReport.Sandbox
    public var clock: ComplianceReport.Clock?
    public var fleetPolicy: ComplianceReport.Policy?

    public init(
      device: ComplianceReport.Device, models: [ComplianceReport.Model], policy: Policy, tokens: [TokenRecord],
      repository: ComplianceReport.Repository, sync: ComplianceReport.Sync, sandbox: ComplianceReport.Sandbox,
      clock: ComplianceReport.Clock? = nil, fleetPolicy: ComplianceReport.Policy? = nil
    ) {
      self.device = device
      self.models = models
      self.policy = policy
      self.tokens = tokens
      self.repository = repository
      self.sync = sync
      self.sandbox = sandbox
      self.clock = clock
      self.fleetPolicy = fleetPolicy
    }
  }

  private let audit: AuditLog
  private let key: SigningKey
  private let now: @Sendable () -> Int64
  private let gather: @Sendable () async throws -> Facts

  /// `gather` collects the facts anew for each report; `now` is Unix seconds.
  public init(
    audit: AuditLog, key: SigningKey, now: @escaping @Sendable () -> Int64 = { Clock.unixTime() },
    gather: @escaping @Sendable () async throws -> Facts
  ) {
    self.audit = audit
    self.key = key
    self.now = now
    self.gather = gather
  }

  /// The report as of now.
  public func report() async throws -> ComplianceReport {
    let facts = try await gather()
    return ComplianceReport(
      generatedAt: now(), device: facts.device, models: facts.models,
      roles: facts.policy.roles.map { Self.role($0, facts.policy) },
      tokens: facts.tokens.map {
        ComplianceReport.Token(name: $0.name, createdAt: $0.created, createdBy: $0.createdBy, expiresAt: $0.expires)
      },
      audit: try auditState(), repository: facts.repository, sync: facts.sync, sandbox: facts.sandbox,
      clock: facts.clock, policy: facts.fleetPolicy)
  }

  /// The report signed by the device, as it goes to the hub and into evidence. The key's id is the device's.
  public func envelope() async throws -> DSSEEnvelope {
    let report = try await report()
    return try report.signed(by: key, keyID: report.device.id)
  }

  private func auditState() throws -> ComplianceReport.Audit {
    let note = audit.signedHead()
    let head = try Checkpoint(noteText: note.text)
    let cosigned = audit.cosigned()
    let witness = audit.witness
    return ComplianceReport.Audit(
      size: head.size, root: head.root, head: note.encoded, cosignedSize: cosigned?.size ?? 0,
      cosignedAt: witness.flatMap { cosigned?.note.cosignatureTime(by: $0) }.map { Int64(clamping: $0) },
      witness: witness?.vkey, hashesRebuiltFrom: audit.recovery.hashesRebuiltFrom)
  }

  private static func role(_ role: Role, _ policy: Policy) -> ComplianceReport.Role {
    ComplianceReport.Role(
      name: role.name, summary: role.summary,
      allows: policy.allows(role.name).map(\.description),
      holders: policy.bindings.filter { $0.role == role.name }.map(\.subject).sorted())
  }
}
