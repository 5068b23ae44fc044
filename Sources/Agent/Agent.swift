import Access
import Fleet
import Glibc
import Host
import Storage
import Synchronization
import Trust
import Web

/// The agent, put together from its duties, and its life from start to stop.
public final class Agent: Sendable {
  private let source: ConfigurationSource
  private let configuration: AgentConfiguration
  // Held until the agent has stopped: one agent for each state directory.
  private let lock: Mutex<InstanceLock?>
  private let database: Database
  private let log: AuditLog
  private let identity: DeviceIdentity
  let access: AccessControl
  private let breakGlass: BreakGlass
  private let registry: ModelRegistry
  private let inference: InferenceService
  private let sync: SyncService
  private let clock: TrustedClock
  private let usage: UsageLedger
  private let keeper: ClockKeeper
  private let site: SiteService
  private let server: HTTPServer
  private let clients: [HTTPClient]
  private let letGo: @Sendable () -> Void
  private let tasks = Mutex<[Task<Void, Never>]>([])
  /// The local API's routes and what each asks, for the checks that they are governed and described.
  let routes: [GovernedRoute]

  /// Where the agent listens on TCP; nil where it doesn't.
  public var tcpPort: Int? { server.boundPorts.first { $0 > 0 } }
  public var socketPath: String { configuration.socketPath }

  /// Opens the state, mends what a crash left, and begins to serve. Throws `AgentStartError`; then nothing was changed
  /// and nothing listens.
  public static func start(_ source: ConfigurationSource) async throws(AgentStartError) -> Agent {
    do { return try await Agent(source, try source.load()) } catch { throw AgentStartError(error) }
  }

  private init(_ source: ConfigurationSource, _ configuration: AgentConfiguration) async throws {
    let startedAt = Clock.monotonic()
    let state = configuration.stateDirectory
    try DurableFile.makeDirectory(state, mode: 0o700)
    lock = Mutex(try InstanceLock(directory: state))
    let database = try Database(path: state + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let identity = try DeviceIdentity.open(directory: state + "/keys")
    let log = try AuditLog(
      directory: state + "/audit", key: identity.key, origin: identity.auditOrigin,
      settings: RecordLog.Settings(reserve: 1 << 20))
    try await SyncTables(database: database).hold(log)
    let clock = TrustedClock(path: state + "/time.json")
    let counters = APICounters()
    let usage = try await UsageLedger(
      database: database, log: log, keepDays: configuration.limits.usageDays, now: clock.now)
    let audit: AuditWriter = { kind, actor, fields in
      try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
      counters.recorded(kind, fields)
      if kind == .inference { usage.kick() }
    }
    let access = try await AccessControl(
      policyFile: configuration.policyDirectory + "/roles.json5", database: database,
      labels: configuration.labels, now: clock.now, isAuditWell: { log.trouble == nil }, audit: audit)

    let runningEngines = Late<InferenceService>()
    let registry = try await ModelRegistry.open(
      database: database, directory: state + "/registry",
      audit: audit,
      isInUse: { await runningEngines.value?.isInUse($0.sha256) ?? false }, policy: configuration.store,
      vouching: Vouching(device: identity.id) { (try? Enrolment.load(from: state))?.root }, now: clock.now)
    await registry.checkVouchers()
    let policies = FleetPolicies(access: access, directory: state + "/policy", log: log)
    try await policies.recall(registry)
    await registry.setPolicies(policies)
    access.identities.set(
      try Identities(
        configuration.identityProviders, device: identity.id, clock: clock.judgement,
        passKeys: { await registry.director.flatMap { OperatorPass.keys(of: $0.root) } }))
    let keeper = ClockKeeper(clock: clock, audit: audit, access: access, registry: registry)

    try DurableFile.makeDirectory(configuration.runtimeDirectory, mode: 0o755)
    try DurableFile.makeDirectory(configuration.engineSocketDirectory, mode: 0o700)
    UnpackedFolder.sweep(state + "/engines")
    let sandbox = await SandboxState.find(configuration.engine.sandbox)
    let planner = EnginePlanner(
      configuration: configuration.engine, models: configuration.models, box: .find(configuration.engine))
    let inference = InferenceService(
      launcher: EngineLauncher(
        adapters: EngineAdapters(configuration), configuration: configuration.engine,
        socketDirectory: configuration.engineSocketDirectory,
        folderDirectory: state + "/engines", sandbox: sandbox,
        isReady: { await EngineHealth.isReady($0, $1) }),
      planner: planner,
      locate: { model, kind in try await registry.engineFiles(model, kind, planner.settings(for: model.name)) },
      audit: audit)
    runningEngines.set(inference)
    await inference.setInstalled { Set(await registry.installed().map(\.manifest.sha256)) }
    await registry.setWarmUp { model, registry in
      await runningEngines.value?.warmUp(EngineModel(model)) {
        EngineFiles(model: try await registry.open(model))
      }
    }

    let name = configuration.name ?? hostname()
    let hubClient = HTTPClient()
    let engineClient = HTTPClient()
    let syncing = Late<SyncService>()
    let facts = ReportFacts(
      name: name, startedAt: startedAt, identity: identity, log: log, access: access, registry: registry,
      sandbox: sandbox, registryDirectory: state + "/registry", clock: clock)
    let reporter = ComplianceReporter(audit: log, key: identity.key, now: clock.now) {
      try await facts.gather(syncing.value)
    }
    let site = SiteService(
      configuration: configuration.site, identity: identity, store: registry.store,
      surroundings: SiteService.Surroundings(
        audit: audit, whole: { await registry.verified(index: $0) }, now: clock.now))
    let sync = try await SyncService(
      configuration: SyncService.Configuration(
        stateDirectory: state, name: name, agentVersion: agentVersion,
        probeSeconds: Double(configuration.sync.probeSeconds),
        intervalSeconds: Double(configuration.sync.intervalSeconds), transfer: configuration.sync.transfer.rules),
      surroundings: SyncService.Surroundings(
        sandbox: { sandbox.state }, report: { try JSONValue(encoding: try await reporter.envelope()) }, clock: clock),
      identity: identity, database: database, registry: registry, log: log, http: hubClient, site: site)
    syncing.set(sync)
    let bundles = try BundleService(
      configuration: configuration, identity: identity, registry: registry, sync: sync, access: access, log: log)

    let scrubber = Scrubber(
      registry: registry, policy: configuration.store, audit: audit,
      onDamage: { await inference.unload($0, drain: .zero) }, now: clock.now)
    let gate = FairGate(
      access: access,
      settings: FairGate.Settings(
        queue: configuration.limits.queue, managementPerMinute: configuration.limits.managementPerMinute),
      denials: access.repetitions, counters: counters, time: usage.reading)
    await gate.restore(from: usage)
    let variants = try await VariantStore(database: database, audit: audit, now: clock.now)
    let digester = try PromptDigester(keysDirectory: state + "/keys", now: clock.now)
    let kept = try ContentKeeper(
      stateDirectory: state, limit: UInt64(configuration.audit.contentMiB) << 20, now: clock.now)
    let content = ContentDesk(keeper: kept, log: log, audit: audit)
    let desk = InferenceDesk(
      access: access, registry: registry, variants: variants, inference: inference, client: engineClient,
      digester: digester, content: kept, contentDays: configuration.audit.days, audit: audit, counters: counters,
      gate: gate,
      slots: { inference.slots($0) }, clock: clock, patience: configuration.limits.requestSeconds
    )
    // What the director's trusted statement for this box says.
    let statement: @Sendable () async -> TUFTargets? = {
      guard let said = await registry.director?.targetsMetadata, (try? DirectorStatement(said))?.device == identity.id
      else { return nil }
      return said
    }
    let retention = RetentionKeeper(settings: configuration.audit, clock: clock, audit: audit) {
      await statement()?.retention
    }
    let breakGlass = BreakGlass(
      access: access, database: database, maxSeconds: configuration.breakGlass.maxSeconds, now: clock.now
    ) {
      await statement()?.breakGlass ?? []
    }
    let api = LocalAPI(
      configuration: configuration, name: name, access: access, breakGlass: breakGlass, registry: registry,
      variants: variants,
      headers: ModelHeaders(store: registry.store), inference: inference,
      scrubber: scrubber, sync: sync, site: site, bundles: bundles, reporter: reporter, log: log, content: content,
      desk: desk,
      counters: counters, usageLedger: usage, identity: identity, sandbox: sandbox,
      startedAt: startedAt, clock: clock)
    let schedule = EngineSchedule(
      planner: planner,
      models: {
        await registry.installed().filter { $0.state == .active && $0.manifest.kind == .model }.map(EngineModel.init)
      },
      load: { _ = try await desk.load($0) }, reload: { await inference.reload($0.sha256) }, now: clock.now)
    server = HTTPServer(Agent.serverConfiguration(configuration), handler: api.handler())

    routes = api.router().routes
    self.source = source
    self.configuration = configuration
    self.database = database
    self.log = log
    self.identity = identity
    self.access = access
    self.breakGlass = breakGlass
    self.registry = registry
    self.inference = inference
    self.sync = sync
    self.clock = clock
    self.usage = usage
    self.keeper = keeper
    self.site = site
    clients = [hubClient, engineClient]
    letGo = {
      runningEngines.clear()
      syncing.clear()
      access.identities.clear()
    }

    // The first record shows that the disk takes records, before anybody is served.
    try await audit(.start, "system", ["version": .string(agentVersion), "sandbox": .string(sandbox.state)])
    await breakGlass.settle("the agent ended before it was closed")
    try await recallTime()
    await keeper.look()
    try server.start()
    site.start()
    await sync.start()
    tasks.withLock {
      $0 = [
        Task { await keeper.run() }, Task { await scrubber.run() },
        Task { [log] in
          await log.expire(retention, digester: digester, content: content)
        }, Task { await schedule.run() },
      ]
    }
    Log.shared.info(
      "serving",
      ["socket": configuration.socketPath, "tcp": configuration.listen.tcp ?? "none", "sandbox": sandbox.state])
  }

  /// Listens where systemd handed sockets over, by their names, and elsewhere as configured.
  private static func serverConfiguration(_ configuration: AgentConfiguration) -> HTTPServer.Configuration {
    let inherited = Systemd.listenDescriptors()
    var listeners: [Listener] = []
    if let socket = inherited.first(where: { $0.name == "api" }) {
      listeners.append(.inherited(socket.descriptor))
    } else {
      listeners.append(.unix(path: configuration.socketPath, mode: configuration.listen.socketMode))
    }
    if let socket = inherited.first(where: { $0.name == "tcp" }) {
      listeners.append(.inherited(socket.descriptor))
    } else if let tcp = configuration.listen.tcp, let address = AgentConfiguration.address(tcp) {
      listeners.append(.tcp(host: address.host, port: address.port))
    }
    var made = HTTPServer.Configuration(listeners: listeners)
    made.errorResponse = { failure, target in LocalAPI.response(failure, target: target) }
    made.maxBody = configuration.limits.maxBodyBytes
    // A box may have many clients that keep their connections and seldom ask.
    made.maxHeader = 8 * 1024
    made.connectionBuffer = 12 * 1024
    made.allowance = LocalAPI.allowance
    made.maxConnections = configuration.limits.maxConnections
    made.maxInFlight = configuration.limits.maxInFlight
    made.requestDeadline = .seconds(configuration.limits.requestSeconds)
    return made
  }

  /// What the trusted metadata on disk says of the time counts from the start on, whatever became of what was kept of it.
  private func recallTime() async throws {
    let log = log
    try await Intake(registry: registry, device: identity.id, clock: clock) { kind, actor, fields in
      try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
    }.settleTime()
  }

  // MARK: life

  /// The least important level that is logged, as configured.
  public var logLevel: Log.Level { Log.Level(configuration.log.level.rawValue) ?? .info }

  /// Reads configuration and policies again. What is bad changes nothing; it is logged, and on record. Returns the log
  /// level that is configured now; nil when nothing changed.
  @discardableResult
  public func reload() async -> Log.Level? {
    do {
      let loaded = try source.load()
      try access.identities.value?.reload(loaded.identityProviders)
      try await access.reload()
      let waiting = configuration.waitingForStart(in: loaded)
      Log.shared.notice("reloaded")
      if !waiting.isEmpty {
        Log.shared.warning("changed, and taken over at the next start", ["keys": waiting.joined(separator: ", ")])
      }
      return Log.Level(loaded.log.level.rawValue)
    } catch {
      Log.shared.error("not reloaded; what was in force stays in force", ["reason": "\(error)"])
      if error is ConfigurationError {
        _ = try? await log.append(
          AuditEvent(
            kind: .reload, actor: "system", fields: ["outcome": "refused", "reason": .string("\(error)")]))
      }
      return nil
    }
  }

  /// Lets what is running end within the time, stops the engines, and closes the state.
  public func stop() async {
    for task in tasks.withLock({ $0 }) { task.cancel() }
    await sync.stop()
    await site.stop()
    await server.stop(drain: .seconds(configuration.limits.drainSeconds))
    await inference.shutdown(drain: .zero)
    for client in clients { await client.close() }
    do { try clock.save() } catch {
      Log.shared.warning("the passed time could not be kept", ["reason": "\(error)"])
    }
    await access.repetitions.flush()
    await breakGlass.settle("the agent stops")
    _ = try? await log.append(AuditEvent(kind: .stop, actor: "system"))
    await usage.close()
    log.close()
    database.close()
    letGo()
    lock.withLock { $0 = nil }
  }

  /// Whether the agent answers its own API.
  public func answersItself(within limit: Duration = .seconds(5)) async -> Bool {
    var request = ClientRequest(url: "http://localhost/skerry/v1/health")
    request.unixSocket = configuration.socketPath
    request.totalTimeout = limit
    let client = HTTPClient()
    let answer = try? await client.send(request)
    await client.close()
    return answer?.status == 200
  }
}
