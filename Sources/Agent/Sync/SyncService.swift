import Fleet
import Host
import Storage
import Trust
import Web

/// Keeps the box and its hub together whenever they can reach each other, and enrols it. `SyncMachine` decides when;
/// this does what it says. Nothing here ever stands in the way of the box's own work.
public actor SyncService {
  public struct Configuration: Sendable {
    /// Where `enrolment.json` is.
    public var stateDirectory: String
    /// What the box is called in the fleet.
    public var name: String
    public var agentVersion: String
    /// Between looks for a hub that is out of reach.
    public var probeSeconds: Double
    /// Between syncs when nothing happens.
    public var intervalSeconds: Double
    /// When and how fast models travel.
    public var transfer: TransferRules

    public init(
      stateDirectory: String, name: String, agentVersion: String, probeSeconds: Double = 4,
      intervalSeconds: Double = 900, transfer: TransferRules = TransferRules()
    ) {
      self.stateDirectory = stateDirectory
      self.name = name
      self.agentVersion = agentVersion
      self.probeSeconds = probeSeconds
      self.intervalSeconds = intervalSeconds
      self.transfer = transfer
    }
  }

  /// What the service asks of the rest of the agent.
  public struct Surroundings: Sendable {
    /// The engines' sandbox in a word, for the hub.
    public var sandbox: @Sendable () async -> String
    /// The signed compliance report; nil: none is sent.
    public var report: (@Sendable () async throws -> JSONValue)?
    /// An element after each change of the network; nil: probes alone tell.
    public var network: (@Sendable () throws -> AsyncStream<Void>)?
    /// What time it is.
    public var clock: TrustedClock
    /// Uniform in 0..<1.
    public var random: @Sendable () -> Double
    /// The clocks by which models travel; nil: the system's.
    var transferReading: (@Sendable () -> TransferGate.Reading)?

    public init(
      sandbox: @escaping @Sendable () async -> String = { "unknown" },
      report: (@Sendable () async throws -> JSONValue)? = nil,
      network: (@Sendable () throws -> AsyncStream<Void>)? = { try NetworkEvents.stream() },
      clock: TrustedClock = TrustedClock(path: nil),
      random: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) }
    ) {
      self.sandbox = sandbox
      self.report = report
      self.network = network
      self.clock = clock
      self.random = random
    }
  }

  let configuration: Configuration
  let surroundings: Surroundings
  let identity: DeviceIdentity
  let registry: ModelRegistry
  let log: AuditLog
  let tables: SyncTables
  let http: HTTPClient
  let site: SiteService?
  private let mender: SiteMender?
  let gate: TransferGate

  private var machine: SyncMachine
  private(set) var enrolment: Enrolment?
  private var isStarted = false
  private var isStopped = false

  private var probe: Task<Void, Never>?
  private var schedule: Task<Void, Never>?
  private var network: Task<Void, Never>?
  private var current: Task<Void, Never>?

  /// Syncs begun so far.
  private var runs = 0
  /// The last sync that waits for nothing.
  private var urgentRun = 0
  private var waiters: [Int: Waiter] = [:]
  private var nextWaiter = 0
  /// Audit entries since the last cosigned head that only say that a sync changed nothing.
  private var quiet: UInt64 = 0

  private var lastSuccess: Int64?
  private var lastAttempt: Int64?
  private var lastError: String?
  private var lastAttacks: [AttackReport] = []
  private var nextAttempt: Int64?

  private struct Waiter {
    /// The number of the first sync that answers it.
    let run: Int
    let progress: ProgressHandler?
    let continuation: CheckedContinuation<SyncOutcome, any Error>
    /// What a sync did that was under way when the caller came; its progress was shown.
    var earlier: SyncOutcome?
  }

  /// Reads what the last run left. Throws `StorageError`.
  init(
    configuration: Configuration, surroundings: Surroundings = Surroundings(), identity: DeviceIdentity,
    database: Database, registry: ModelRegistry, log: AuditLog, http: HTTPClient, site: SiteService? = nil
  ) async throws {
    self.configuration = configuration
    self.surroundings = surroundings
    self.identity = identity
    self.registry = registry
    self.log = log
    self.http = http
    self.site = site
    mender = site.map { SiteMender(registry: registry, site: $0) }
    tables = SyncTables(database: database)
    let clock = surroundings.clock
    gate = try await TransferGate(
      rules: configuration.transfer, tables: tables, read: surroundings.transferReading ?? { .system(clock) })
    machine = SyncMachine(probeSeconds: configuration.probeSeconds, intervalSeconds: configuration.intervalSeconds)
    enrolment = try Enrolment.load(from: configuration.stateDirectory)
    lastSuccess = try await tables.value("lastSuccess").flatMap { Int64($0) }
    lastError = try await tables.value("lastError")
  }

  // MARK: life

  /// Begins to look for the hub; does nothing before the box is enrolled, and enrolment then begins it.
  public func start() {
    guard !isStarted, !isStopped, enrolment != nil else { return }
    isStarted = true
    watchNetwork()
    feed(.started)
  }

  /// Ends the current sync where it is and answers everybody who waits. What was done stays done.
  public func stop() async {
    isStopped = true
    for task in [probe, schedule, network, current] { task?.cancel() }
    await current?.value
    await mender?.end()
    await gate.settle()
    answer(waiters.keys.sorted(), .failure(SyncError.stopped))
  }

  private func watchNetwork() {
    guard let changes = surroundings.network else { return }
    do {
      let stream = try changes()
      network = Task { [weak self] in
        for await _ in stream {
          guard let self else { return }
          await self.feed(.linkUp)
        }
      }
    } catch {
      Log.shared.warning("network changes can't be watched; probes alone will notice them", ["reason": "\(error)"])
    }
  }

  // MARK: the machine

  private func feed(_ event: SyncMachine.Event) {
    guard !isStopped else { return }
    for action in machine.handle(event, random: surroundings.random()) {
      switch action {
      case .startSync: startSync()
      case .probeAfter(let seconds): probe(after: seconds)
      case .scheduleAfter(let seconds): schedule(after: seconds)
      }
    }
  }

  private func probe(after seconds: Double) {
    probe?.cancel()
    guard let enrolment, let address = HubAddress(url: enrolment.hub) else { return }
    // A little early, each box by another measure, so that a fleet does not knock in step.
    let wait = seconds * (0.85 + 0.15 * surroundings.random())
    // The next probe begins within five seconds of this one, whatever the network swallows.
    let patience = min(max(5 - min(machine.probeSeconds, 4), 1), 4)
    probe = Task { [weak self] in
      do { try await Task.sleep(for: .seconds(wait)) } catch { return }
      let reached = await TCPProbe.reaches(address, within: .seconds(patience))
      guard !Task.isCancelled else { return }
      await self?.feed(reached ? .probeSucceeded : .probeFailed)
      if !reached { await self?.mendMeanwhile() }
    }
  }

  private func schedule(after seconds: Double) {
    schedule?.cancel()
    nextAttempt = surroundings.clock.now() + Int64(seconds.rounded(.up))
    schedule = Task { [weak self] in
      do { try await Task.sleep(for: .seconds(seconds)) } catch { return }
      await self?.feed(.scheduleDue)
    }
  }

  // MARK: a sync

  /// Syncs now, or once more after the sync that is under way, and returns what that did. Throws `SyncError`, and what
  /// the disk, the audit log and the metadata throw. When the caller is cancelled the sync goes on.
  ///
  /// - isUrgent: waits for neither quiet hours nor the month's budget.
  public func syncNow(isUrgent: Bool = false, progress: ProgressHandler? = nil) async throws -> SyncOutcome {
    guard enrolment != nil else { throw SyncError.notEnrolled }
    guard !isStopped else { throw SyncError.stopped }
    start()
    if isUrgent {
      urgentRun = runs + 1
      gate.override(true)
    }
    let id = nextWaiter
    nextWaiter += 1
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        waiters[id] = Waiter(run: runs + 1, progress: progress, continuation: continuation)
        if Task.isCancelled {
          answer([id], .failure(CancellationError()))
        } else {
          feed(.requested)
        }
      }
    } onCancel: {
      Task { await self.answer([id], .failure(CancellationError())) }
    }
  }

  private func startSync() {
    runs += 1
    current = Task { await self.sync() }
  }

  /// The hub is out of reach, or no help; neighbours may be, with what is damaged.
  private func mendMeanwhile() async {
    guard let hub = enrolment?.hub, !machine.isSyncing, !isStopped else { return }
    await mender?.begin(hub: hub)
  }

  private func sync() async {
    let number = runs
    await mender?.end()
    lastAttempt = surroundings.clock.now()
    let result: Result<SyncOutcome, any Error>
    do {
      result = .success(try await round())
    } catch {
      result = .failure(error)
    }
    await finished(number, result)
  }

  private func round() async throws -> SyncOutcome {
    guard let enrolment, let witness = enrolment.witnessVerifier else { throw SyncError.notEnrolled }
    // One reader, so that progress arrives in the order in which it was made.
    let (stream, steps) = AsyncStream.makeStream(of: SyncProgress.self, bufferingPolicy: .bufferingNewest(256))
    let reader = Task { for await progress in stream { self.report(progress) } }
    let round = await makeRound(enrolment, witness) { steps.yield($0) }
    let result: Result<SyncOutcome, any Error>
    do {
      result = .success(try await run(round, hub: enrolment.hub))
    } catch {
      result = .failure(error is CancellationError ? SyncError.stopped : error)
    }
    steps.finish()
    await reader.value
    if case .failure(let error) = result {
      try await audit(.sync, ["event": "failed", "hub": .string(enrolment.hub), "reason": .string("\(error)".brief)])
    }
    return try result.get()
  }

  private func makeRound(
    _ enrolment: Enrolment, _ witness: NoteVerifier, progress: @escaping ProgressHandler
  ) async -> SyncRound {
    SyncRound(
      client: client(enrolment.hub, enrolment.pin), registry: registry, log: log, witness: witness, tables: tables,
      facts: SyncRound.SyncFacts(
        agentVersion: configuration.agentVersion, name: configuration.name, sandbox: await surroundings.sandbox()),
      site: site, report: surroundings.report, clock: surroundings.clock, progress: progress)
  }

  private func run(_ round: SyncRound, hub: String) async throws -> SyncOutcome {
    var outcome = try await round.run(quiet: quiet)
    if outcome.isHeadPushed { quiet = 0 }
    try await record(outcome, hub: hub)
    // Before the report, which tells of it.
    await succeeded(outcome)
    if outcome.isReportDue {
      outcome.isHeadPushed = false
      try await round.tell(&outcome)
      if outcome.isHeadPushed { quiet = 0 }
    } else {
      quiet += 1
    }
    return outcome
  }

  private func record(_ outcome: SyncOutcome, hub: String) async throws {
    func list(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
    try await audit(
      .sync,
      [
        "event": "done", "hub": .string(hub), "changed": .bool(outcome.changed), "activated": list(outcome.activated),
        "removed": list(outcome.removed), "failures": list(outcome.failures.map(\.message.brief)),
        "metadataVersion": .integer(outcome.metadataVersion), "uploaded": .integer(Int64(outcome.uploaded)),
        "fetchedBytes": .integer(Int64(clamping: outcome.fetchedBytes)),
      ])
  }

  private func finished(_ number: Int, _ result: Result<SyncOutcome, any Error>) async {
    if number >= urgentRun { gate.override(false) }
    let event: SyncMachine.Outcome
    switch result {
    case .success(let outcome):
      await succeeded(outcome)
      event = outcome.failures.isEmpty ? .ok : .transient
      Log.shared.info(
        "synced", ["changed": "\(outcome.changed)", "activated": outcome.activated.joined(separator: " ")])
    case .failure(let error):
      lastError = "\(error)".brief
      lastAttacks = [SyncError.attack(of: error)].compactMap(\.self)
      await keepStatus()
      event = SyncError.outcome(of: error)
      Log.shared.warning("the sync failed", ["reason": "\(error)".brief])
    }

    let answered: [Int]
    if case .ok = event, case .success(let outcome) = result {
      answered = waiters.filter { $0.value.run <= number }.map(\.key)
      for id in waiters.keys where !answered.contains(id) { waiters[id]?.earlier = outcome }
    } else {
      // After a failure the machine waits; whoever asked meanwhile would get the same.
      answered = Array(waiters.keys)
    }
    answer(answered.sorted(), result)
    feed(.syncFinished(event))
    if case .failure = result { await mendMeanwhile() }
  }

  private func succeeded(_ outcome: SyncOutcome) async {
    lastSuccess = surroundings.clock.now()
    lastAttacks = outcome.attacks
    lastError = outcome.failures.isEmpty ? nil : outcome.failures.map(\.message).joined(separator: "; ").brief
    await keepStatus()
  }

  /// What the status says survives a restart; a disk that refuses it has been told of elsewhere.
  private func keepStatus() async {
    try? await tables.setValue("lastSuccess", lastSuccess.map(String.init))
    try? await tables.setValue("lastError", lastError)
  }

  private func report(_ progress: SyncProgress) {
    for waiter in waiters.values { waiter.progress?(progress) }
  }

  private func answer(_ ids: [Int], _ result: Result<SyncOutcome, any Error>) {
    for id in ids {
      guard let waiter = waiters.removeValue(forKey: id) else { continue }
      waiter.continuation.resume(with: result.map { outcome in waiter.earlier.map(outcome.after) ?? outcome })
    }
  }

  // MARK: status and outbox

  public func status() async throws -> SyncStatus {
    let reachable: Bool? =
      switch machine.reachability {
      case .up: true
      case .down: false
      case .unknown: nil
      }
    return SyncStatus(
      state: enrolment == nil ? "not enrolled" : machine.isSyncing ? "syncing" : "idle", enrolled: enrolment != nil,
      hub: enrolment?.hub, reachable: reachable, lastSuccess: lastSuccess, lastAttempt: lastAttempt,
      lastError: lastError, attacks: lastAttacks, nextAttempt: nextAttempt, outbox: try await tables.pending(),
      transfer: gate.status())
  }

  /// The fleet that the box belongs to; nil before enrolment.
  public func currentEnrolment() -> Enrolment? { enrolment }

  /// Keeps something that the hub is to hear of, through restarts, until the hub has it on its own disk.
  public func enqueue(kind: String, priority: Int, body: JSONValue) async throws {
    try await tables.add(
      OutboxItem(
        id: OutboxItem.newID(), kind: kind, priority: priority, created: surroundings.clock.now(), body: body))
  }

  // MARK: seams for enrolment

  func client(_ hub: String, _ pin: String) -> HubClient {
    HubClient(
      hub: hub, pin: pin, identity: identity, tables: tables, http: http, gate: gate, now: surroundings.clock.now)
  }

  func audit(_ kind: AuditKind, actor: String = "system", _ fields: [String: JSONValue]) async throws {
    _ = try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
  }

  /// Joins a fleet whose answer came on a stick; the enrolment is durable before it counts.
  func join(_ enrolment: Enrolment) throws {
    try enrolment.save(in: configuration.stateDirectory)
    enrolled(enrolment)
  }

  /// Keeps what the hub signed of its own keys: whom to seal to, and who cosigns.
  func learn(sealTo: String, witness: String) async throws {
    guard var changed = enrolment, changed.sealTo != sealTo || changed.witness != witness else { return }
    (changed.sealTo, changed.witness) = (sealTo, witness)
    try await audit(.enroll, ["event": "hub-keys", "sealTo": .string(sealTo), "witness": .string(witness)])
    try changed.save(in: configuration.stateDirectory)
    enrolment = changed
  }

  /// The round that a sync would be, for what it says of the box.
  private func unsent() async throws -> SyncRound {
    guard let enrolment, let witness = enrolment.witnessVerifier else { throw SyncError.notEnrolled }
    return await makeRound(enrolment, witness) { _ in }
  }

  /// How the box is, as it would say at a sync.
  func request() async throws -> SyncRequest { try await unsent().request() }

  /// A fresh report for the hub; it replaces one that waits.
  func queueReport() async throws { try await unsent().queueReport() }

  func enrolled(_ enrolment: Enrolment) {
    self.enrolment = enrolment
    start()
  }
}
