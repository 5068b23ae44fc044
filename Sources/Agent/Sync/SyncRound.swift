import Fleet
import FoundationEssentials
import Host
import Trust
import Web

/// One sync, from the first request to the last. Each step leaves what it has done on disk.
struct SyncRound: Sendable {
  let client: HubClient
  let registry: ModelRegistry
  let log: AuditLog
  let witness: NoteVerifier
  let tables: SyncTables
  let facts: SyncFacts
  /// The boxes beside this one; nil: there are none to share with.
  let site: SiteService?
  let report: (@Sendable () async throws -> JSONValue)?
  let clock: TrustedClock
  let progress: ProgressHandler

  /// What the box says of itself.
  struct SyncFacts: Sendable {
    var agentVersion: String
    var name: String
    var sandbox: String
  }

  /// Metadata that expires within this many seconds is refreshed, so that a quiet repository's is never stale.
  private static let renewal: TimeInterval = 24 * 3600
  private static let batchBytes = 1 << 20
  /// Entries of syncs that changed nothing: so many alone do not make a request of their own.
  private static let quietEntries: UInt64 = 24

  /// `quiet` counts audit entries since the last cosigned head that only say that nothing changed.
  func run(quiet: UInt64) async throws -> SyncOutcome {
    var outcome = SyncOutcome()
    progress(SyncProgress(.connect))
    let nonce = Hex.encode(SecureRandom.bytes(16))
    let answer = try await client.post("/v1/sync", try await request(nonce: nonce), as: SyncResponse.self)
    outcome.hubTime = answer.hubTime
    if let time = answer.time { clock.hear(time, nonce: nonce, device: client.identity.id.hex) }
    try await intake.settleTime()
    outcome.cosignedSize = answer.audit.cosignedSize

    outcome.uploaded += try await flush()
    try await pushHead(quiet: quiet, &outcome)
    try await models(answer, &outcome)
    try await intake.settleTime(last: true)
    outcome.metadataVersion = await registry.trusted?.timestampVersion ?? 0

    outcome.isReportDue = outcome.changed || answer.wants.contains(SyncResponse.report)
    return outcome
  }

  /// After a sync that changed the box: its head with the record of that sync, a report, and how it is now, so that
  /// the hub's view is not the one before.
  func tell(_ outcome: inout SyncOutcome) async throws {
    try await pushHead(quiet: 0, &outcome)
    try await queueReport()
    outcome.uploaded += try await flush()
    _ = try await client.post("/v1/sync", try await request(), as: SyncResponse.self)
  }

  /// Hands over the audit log's head when it has grown by more than entries that say nothing. A log that the hub can't
  /// accept is told of, and keeps nothing else from being done.
  func pushHead(quiet: UInt64, _ outcome: inout SyncOutcome) async throws {
    let (size, cosigned) = (log.head().size, outcome.cosignedSize)
    if size >= cosigned, size - cosigned <= quiet, quiet < SyncRound.quietEntries { return }
    progress(SyncProgress(.upload))
    do {
      outcome.cosignedSize = try await AuditPush(client: client, log: log, witness: witness).push(cosigned: cosigned)
      try await tables.remember(log)
      outcome.isHeadPushed = true
    } catch let error as SyncError where error.isAboutAuditLog {
      outcome.failures.append(SyncOutcome.Failure(model: "", message: error.description))
    }
  }

  func request(nonce: String? = nil) async throws -> SyncRequest {
    let models = await registry.installed()
    let trusted = await registry.trusted
    let head = log.head()
    return SyncRequest(
      agentVersion: facts.agentVersion, name: facts.name,
      models: models.map {
        ReportedModel(
          name: $0.name.description, version: $0.version.description, sha256: $0.manifest.sha256.hex,
          state: $0.state.rawValue)
      },
      repository: SyncRound.versions(trusted),
      director: await registry.director.map(SyncRound.versions),
      audit: AuditHead(size: head.size, root: head.root), outbox: try await tables.pending(), sandbox: facts.sandbox,
      nonce: nonce)
  }

  private static func versions(_ trusted: TrustedMetadata?) -> RepositoryVersions {
    RepositoryVersions(
      root: Int(trusted?.rootVersion ?? 0), timestamp: Int(trusted?.timestampVersion ?? 0),
      snapshot: Int(trusted?.snapshotVersion ?? 0), targets: Int(trusted?.targetsVersion ?? 0))
  }

  /// Sends what waits, most important first, until nothing does. Returns how many items the hub took.
  private func flush() async throws -> Int {
    var sent = 0
    while true {
      let items = try await tables.batch(limit: OutboxBatch.maximumItems, bytes: SyncRound.batchBytes)
      if items.isEmpty { return sent }
      progress(SyncProgress(.upload, done: UInt64(sent), total: UInt64(sent + items.count)))
      let reply = try await client.post("/v1/outbox", OutboxBatch(items: items), as: OutboxReply.self)
      let accepted = Set(reply.accepted)
      let removed = try await tables.remove(items.map(\.id).filter(accepted.contains))
      guard removed > 0 else { throw SyncError.garbage(what: "/v1/outbox", reason: "it took none of the items") }
      sent += removed
    }
  }

  private func models(_ answer: SyncResponse, _ outcome: inout SyncOutcome) async throws {
    let (image, director) = (await registry.trusted, await registry.director)
    let renewBy = Date(timeIntervalSince1970: TimeInterval(clock.now())).addingTimeInterval(SyncRound.renewal)
    guard answer.timestampVersion > 0 else { return }
    let isOther =
      Int64(answer.timestampVersion) != image?.timestampVersion ?? 0
      || Int64(answer.directorVersion ?? 0) != director?.timestampVersion ?? 0
    let isEnding = [image, director].contains { $0?.expired(at: renewBy).isEmpty == false }
    let hasWork = await intake.hasWork()
    guard isOther || isEnding || hasWork else {
      if director == nil { outcome.failures.append(.init(model: "", message: "\(DirectorError.missing)")) }
      return
    }

    progress(SyncProgress(.metadata))
    let hub = HubFleetSource(client: client)
    let taken = try await intake.run(from: site?.source(over: hub) ?? hub, progress: progress)
    outcome.activated = taken.models.activated
    outcome.removed = taken.models.removed
    outcome.attacks = taken.attacks
    outcome.failures += taken.failures.map { SyncOutcome.Failure(model: $0.model, message: $0.message) }
    outcome.fetchedBytes = taken.models.fetchedBytes
    outcome.waiting = taken.models.hold.map { "\($0)" }
    outcome.changed = taken.models.isChanged || taken.isMetadataChanged || taken.isPolicyChanged
  }

  private var intake: Intake {
    let log = log
    return Intake(registry: registry, device: client.identity.id, clock: clock) { kind, actor, fields in
      try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
    }
  }

  func queueReport() async throws {
    guard let report else { return }
    let body: JSONValue
    do {
      body = try await report()
    } catch {
      Log.shared.error("the compliance report could not be made", ["reason": "\(error)"])
      return
    }
    try await tables.add(
      OutboxItem(id: OutboxItem.newID(), kind: OutboxItem.report, priority: 1, created: clock.now(), body: body))
  }
}
