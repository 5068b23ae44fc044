import Fleet
import Host
import Trust

/// Collects what a compliance report says, from the duties that know it.
struct ReportFacts: Sendable {
  let name: String
  let startedAt: Duration
  let identity: DeviceIdentity
  let log: AuditLog
  let access: AccessControl
  let registry: ModelRegistry
  let sandbox: SandboxState
  let registryDirectory: String
  let clock: TrustedClock

  func gather(_ sync: SyncService?) async throws -> ComplianceReporter.Facts {
    let status = try await sync?.status()
    let trusted = await registry.trusted
    let account = clock.account()
    let freshness = await registry.freshness(at: account.judgement.time)
    return ComplianceReporter.Facts(
      device: ComplianceReport.Device(
        id: "\(identity.id)", name: name, version: agentVersion, key: log.deviceKey.vkey,
        isEnrolled: status?.enrolled ?? false, hub: status?.hub,
        uptimeSeconds: (Clock.monotonic() - startedAt).components.seconds, diskFree: try? Disk.free(registryDirectory)),
      models: await registry.installed().map(ReportFacts.model), policy: access.policy, tokens: access.tokens(),
      repository: trusted.map { ReportFacts.repository($0, freshness) } ?? ComplianceReport.Repository(),
      sync: ComplianceReport.Sync(
        lastSuccess: status?.lastSuccess, lastError: status?.lastError, outbox: status?.outbox ?? 0),
      sandbox: ComplianceReport.Sandbox(
        mode: sandbox.mode.rawValue, isActive: sandbox.isActive, reason: sandbox.reason),
      clock: ComplianceReport.Clock(
        wall: account.judgement.wall, floor: account.judgement.floor, doubt: account.judgement.doubt?.rawValue,
        source: account.source?.source.rawValue, refused: account.refused, aheadOfHub: account.aheadOfHub),
      fleetPolicy: access.fleetReport())
  }

  private static func model(_ model: InstalledModel) -> ComplianceReport.Model {
    var reported = ComplianceReport.Model(
      name: model.name.description, version: model.version.description, state: model.state.rawValue,
      sha256: model.manifest.sha256, length: model.manifest.length, architecture: model.manifest.architecture,
      publisher: model.manifest.publisher, license: model.manifest.license, signers: model.signers,
      installedAt: model.installedAt, problem: model.problem)
    reported.publisherSignature = model.manifest.signature
    return reported
  }

  private static func repository(_ trusted: TrustedMetadata, _ freshness: Freshness) -> ComplianceReport.Repository {
    var versions = ["root": Int(trusted.rootVersion)]
    versions["timestamp"] = trusted.timestampVersion.map { Int($0) }
    versions["snapshot"] = trusted.snapshotVersion.map { Int($0) }
    versions["targets"] = trusted.targetsVersion.map { Int($0) }
    return ComplianceReport.Repository(
      versions: versions, expires: trusted.expirySeconds, staleSince: freshness.staleSince,
      refusesAt: freshness.refusesAt,
      graceSeconds: RepositoryPolicy(trusted.root).graceSeconds)
  }
}
