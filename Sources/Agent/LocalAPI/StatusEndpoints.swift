import Access
import Fleet
import Host
import Trust
import Web

extension LocalAPI {
  func addStatus(to router: inout GovernedRouter) {
    router.open(
      "GET", "/skerry/v1/health", "says that the agent answers and whether it can write records, no more"
    ) { _, _ in
      .json(200, ["ok": true, "audit": auditTrouble()])
    }
    router.on("GET", "/skerry/v1/status", .needs(.statusRead)) { request, _, caller in
      return .json(200, try await status(for: caller))
    }
    router.on("GET", "/skerry/v1/engines", .needs(.statusRead)) { request, _, _ in
      return .json(200, ["engines": .array(await engines().map(LocalAPI.engine))])
    }
    for path in ["/metrics", "/skerry/v1/metrics"] {
      router.on("GET", path, .needs(.metricsRead)) { _, _, _ in
        return .text(200, try await metrics(), type: MetricsText.contentType)
      }
    }
    router.on("GET", "/skerry/v1/report", .needs(.reportRead)) { request, _, _ in
      return .json(200, try JSONValue(encoding: try await reporter.report()))
    }
    router.on("GET", "/skerry/v1/report.html", .needs(.reportRead)) { request, _, _ in
      return .text(200, try await reporter.report().html(), type: "text/html; charset=utf-8")
    }
  }

  private func status(for caller: Caller) async throws -> JSONValue {
    let models = await registry.installed()
    let engines = await engines()
    let syncing = try await sync.status()
    let witness = log.witness?.vkey
    let enrolment = await sync.currentEnrolment()
    let account = clock.account()
    let freshness = await registry.freshness(at: account.judgement.time)
    return [
      "version": .string(agentVersion), "deviceID": .string("\(identity.id)"), "name": .string(name),
      "enrolled": .bool(syncing.enrolled), "hub": syncing.hub.map(JSONValue.string) ?? .null,
      "sandbox": [
        "mode": .string(sandbox.mode.rawValue), "state": .string(sandbox.state),
        "reason": sandbox.reason.map(JSONValue.string) ?? .null,
        "inForce": .object(sandbox.inForce.mapValues { .string($0) }),
      ],
      "uptimeSeconds": .integer((Clock.monotonic() - startedAt).components.seconds),
      "models": .array(
        models.map {
          [
            "name": .string($0.name.description), "version": .string($0.version.description),
            "state": .string($0.state.rawValue), "stale": .bool(freshness.isStale),
          ]
        }),
      "policy": access.fleetJSON(), "clock": LocalAPI.clock(account), "freshness": LocalAPI.freshness(freshness),
      "engines": .array(engines.map { LocalAPI.engine($0) }), "account": desk.gate.account(of: caller.label),
      "enginePrograms": .array(EngineAdapters(configuration).facts),
      "store": try await store(),
      "audit": audit(), "sync": try JSONValue(encoding: syncing), "outbox": .integer(Int64(syncing.outbox)),
      "keys": [
        "device": .string(log.deviceKey.vkey),
        "witness": (witness ?? enrolment?.witness).map(JSONValue.string) ?? .null,
      ],
    ]
  }

  private static func clock(_ account: TrustedClock.Account) -> JSONValue {
    [
      "time": .integer(account.judgement.time), "wall": .integer(account.judgement.wall),
      "floor": .integer(account.judgement.floor),
      "doubt": account.judgement.doubt.map { .string($0.rawValue) } ?? .null,
      "source": account.source.map { .string($0.source.rawValue) } ?? .null,
      "refused": account.refused.map(JSONValue.string) ?? .null,
      "aheadOfHub": account.aheadOfHub.map(JSONValue.integer) ?? .null,
    ]
  }

  private static func freshness(_ freshness: Freshness) -> JSONValue {
    [
      "state": .string(freshness.word), "expired": .array(freshness.expired.map { .string($0) }),
      "since": freshness.staleSince.map(JSONValue.integer) ?? .null,
      "refusesAt": freshness.refusesAt.map(JSONValue.integer) ?? .null,
    ]
  }

  /// An engine, and what its processes have in memory; nil where nobody can tell.
  struct SeenEngine: Sendable {
    let status: EngineStatus
    let bytes: UInt64?
    /// Who waits for it; nil where nobody has asked yet.
    let lane: FairGate.LaneStatus?
  }

  func engines() async -> [SeenEngine] {
    let lanes = desk.gate.lanes()
    return await inference.statuses().map { status in
      SeenEngine(
        status: status, bytes: status.pid.flatMap(Memory.residentOfTree),
        lane: lanes.first { $0.key.sha256 == status.model.sha256 && $0.key.kind == status.kind })
    }
  }

  private static func engine(_ engine: SeenEngine) -> JSONValue {
    let status = engine.status
    return [
      "model": .string(status.model.label), "sha256": .string(status.model.sha256.hex),
      "kind": .string(status.kind.rawValue), "engine": status.plan.map { .string($0.adapter) } ?? .null,
      "state": .string(status.state), "pid": status.pid.map { .integer(Int64($0)) } ?? .null,
      "loadedSeconds": .integer(Int64(status.loadedSeconds)), "requests": .integer(Int64(status.users)),
      "waiting": .integer(Int64(engine.lane?.waiting ?? 0)),
      "waitingCallers": .integer(Int64(engine.lane?.callers ?? 0)),
      "longestWaitMilliseconds": .integer(Int64((engine.lane?.longest ?? 0) * 1000)),
      "slots": status.plan.map { .integer(Int64($0.slots)) } ?? .null,
      "contextTokens": status.plan.map { .integer(Int64($0.contextTokens)) } ?? .null,
      "memoryBytes": engine.bytes.map { .integer(Int64(clamping: $0)) } ?? .null,
      "estimatedBytes": status.plan.map { .integer(Int64(clamping: $0.estimatedBytes)) } ?? .null,
      "expiresInSeconds": status.expiresInSeconds.map { .integer(Int64($0)) } ?? .null,
      "lastWords": status.lastWords.map(JSONValue.string) ?? .null,
      "lastWordsFile": status.lastWordsFile.map(JSONValue.string) ?? .null,
      "failures": .integer(Int64(status.failures)), "plan": status.plan.map(LocalAPI.plan) ?? .null,
    ]
  }

  private func audit() -> JSONValue {
    let head = log.head()
    return [
      "size": .integer(Int64(clamping: head.size)), "root": .string(head.root.hex),
      "cosignedSize": log.cosigned().map { .integer(Int64(clamping: $0.size)) } ?? .null, "trouble": auditTrouble(),
    ]
  }

  /// Since how many seconds the log can't be written, and the cause as the record of the outage will name it; null: it can.
  private func auditTrouble() -> JSONValue {
    log.trouble.map { ["seconds": .integer($0.seconds), "cause": .string($0.cause)] } ?? .null
  }
}
