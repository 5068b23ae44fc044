import Fleet
import Host
import Models
import Storage
import Synchronization
import Trust

/// How an engine is doing, for people.
struct EngineStatus: Sendable, Hashable {
  let model: EngineModel
  let kind: EngineKind
  /// starting, ready, stopping, failed, crash-loop
  let state: String
  let pid: Int32?
  let loadedSeconds: Int
  let users: Int
  let lastWords: String?
  /// Its settings and what it was expected to take.
  var plan: EnginePlan?
  /// Seconds until it goes unless somebody asks it; nil: it stays, or it is not ready.
  var expiresInSeconds: Int?
  /// Failures in a row.
  var failures = 0
  /// Where the last bytes lie that it wrote before it died, for who may read them.
  var lastWordsFile: String?
}

/// Starts an engine for a model when somebody asks, restarts it when it dies, and stops it when nobody has asked for
/// a while. One engine for each model file and kind.
///
/// What a part of its life means stands in files of its own: `InferenceAdmission` (memory), `InferenceDeath`,
/// `InferenceFarewell` (unloading), `InferenceStay` (keep-alive).
actor InferenceService {
  /// Which engine: the digest, not the name, so that a new version of a model never meets an engine of the old.
  struct Key: Hashable, Sendable {
    let sha256: Digest
    let kind: EngineKind
  }

  enum Phase {
    case unloaded
    case starting(Task<Engine, any Error>)
    case ready(Engine)
  }

  /// An engine on its way out: it finishes its answers, and nobody new comes to it.
  struct Leaving {
    let key: Key
    let engine: Engine
    let task: Task<Void, Never>
  }

  struct Entry {
    let model: EngineModel
    var phase = Phase.unloaded
    var breaker = EngineBreaker()
    var lastWords: String?
    var lastWordsFile: String?
    /// Set when somebody wants it gone as soon as nobody uses it.
    var isRetired = false
    /// Of the engine that runs or starts.
    var plan: EnginePlan?
  }

  let launcher: EngineLauncher
  let planner: EnginePlanner
  /// Opens and hashes the model's file and those that belong to it; throws when one is not the signed one.
  private let locate: @Sendable (EngineModel, EngineKind) async throws -> EngineFiles
  let audit: AuditWriter
  /// What the host could give now, in bytes.
  let freeMemory: @Sendable () -> UInt64
  var entries: [Key: Entry] = [:]
  var leaving: [ObjectIdentifier: Leaving] = [:]
  /// What somebody said of how long a model stays.
  var stays: [Digest: Stay] = [:]
  /// How many requests the engine of a file answers at a time, by its last plan.
  private let knownSlots = Mutex<[Digest: Int]>([:])
  var isStopping = false
  /// The files that are to be had now. Engines of others don't stay for their idle time.
  var installed: (@Sendable () async -> Set<Digest>)?
  var housekeeping: Task<Void, Never>?
  var watch: Task<Void, Never>?

  init(
    launcher: EngineLauncher, planner: EnginePlanner? = nil,
    freeMemory: @escaping @Sendable () -> UInt64 = { Memory.available },
    locate: @escaping @Sendable (EngineModel, EngineKind) async throws -> EngineFiles, audit: @escaping AuditWriter
  ) {
    self.launcher = launcher
    self.planner =
      planner
      ?? EnginePlanner(
        configuration: launcher.configuration, models: ModelSettingsTable(), box: .find(launcher.configuration))
    self.freeMemory = freeMemory
    self.locate = locate
    self.audit = audit
  }

  func setInstalled(_ installed: @escaping @Sendable () async -> Set<Digest>) { self.installed = installed }

  /// An engine that is ready for the model; starts one if there is none. Throws `InferenceError`, and whatever stands
  /// against the model's file.
  func acquire(_ model: EngineModel, _ kind: EngineKind = .generate) async throws -> EngineLease {
    let key = Key(sha256: model.sha256, kind: kind)
    while true {
      guard !isStopping else { throw InferenceError.stopping }
      try Task.checkCancellation()
      switch entries[key, default: Entry(model: model)].phase {
      case .ready(let engine) where engine.process.isRunning: return EngineLease(engine)
      case .ready(let engine): await died(key, engine, await engine.process.wait())
      case .starting(let task): _ = try await task.value
      case .unloaded: _ = try await start(key, model).value
      }
    }
  }

  /// Has an engine ready for a model that is about to take the place of another of its name, so that nobody waits for
  /// it then. Does nothing where no engine of the name runs, and nothing that would cost another engine its place.
  func warmUp(_ model: EngineModel, files: @Sendable () async throws -> EngineFiles) async {
    let key = Key(sha256: model.sha256, kind: .generate)
    let isWanted = entries.contains { other, entry in
      guard case .ready = entry.phase, other.kind == .generate, other.sha256 != model.sha256 else { return false }
      return entry.model.name == model.name && !entry.isRetired
    }
    guard isWanted, !isStopping, entries[key] == nil else { return }
    do {
      let opened = try await files()
      guard entries[key] == nil else { return }
      _ = try await start(key, model, files: opened).value
      Log.shared.info("the new version runs beside the old", ["model": model.label])
    } catch {
      // It is tried again when somebody asks for it.
      Log.shared.notice("the new version is not started beside the old", ["model": model.label, "reason": "\(error)"])
      entries[key] = nil
    }
  }

  /// `files`: opened already, for an engine that may come only where there is room without anybody leaving.
  func start(_ key: Key, _ model: EngineModel, files: EngineFiles? = nil) throws -> Task<Engine, any Error> {
    var entry = entries[key] ?? Entry(model: model)
    if let wait = entry.breaker.wait(at: Clock.monotonic()) {
      let seconds = Int(wait.components.seconds) + 1
      throw InferenceError.resting(
        model: model.label, seconds: seconds, lastWords: entry.lastWords ?? "none", failures: entry.breaker.failures)
    }
    let task = Task { try await self.launch(key, model, files) }
    entry.phase = .starting(task)
    entry.plan = nil
    entry.isRetired = false
    entries[key] = entry
    return task
  }

  private func launch(_ key: Key, _ model: EngineModel, _ given: EngineFiles?) async throws -> Engine {
    do {
      let files: EngineFiles
      if let given { files = given } else { files = try await locate(model, key.kind) }
      let plan = await plan(model, key.kind, files)
      knownSlots.withLock { $0[model.sha256] = plan.slots }
      try await admit(key, plan, mayEvict: given == nil)
      try await audit(.model, "system", InferenceService.fields(model, key.kind, "load"))
      let engine = try await start(model, key.kind, plan, files)
      entries[key]?.phase = .ready(engine)
      entries[key]?.lastWords = nil
      startWatch()
      startHousekeeping()
      Log.shared.info(
        "engine ready", ["model": model.label, "kind": key.kind.rawValue, "pid": String(engine.process.pid)])
      Task { [weak self] in
        let status = await engine.process.wait()
        await self?.died(key, engine, status)
      }
      return engine
    } catch {
      entries[key]?.phase = .unloaded
      entries[key]?.plan = nil
      if let failure = error as? InferenceError, failure.isEngines {
        entries[key]?.breaker.failed(at: Clock.monotonic())
        entries[key]?.lastWords = failure.lastWords
        if case .tampered(_, let reason) = failure { try? await tampered(reason) }
        await tellCrashLoop(key, model)
      }
      Log.shared.error("engine not started", ["model": model.label, "reason": "\(error)"])
      throw error
    }
  }

  /// The plan by what the files say; reading headers may wait for the disk.
  private func plan(_ model: EngineModel, _ kind: EngineKind, _ files: EngineFiles) async -> EnginePlan {
    let planner = planner
    let made = try? await offPool { () -> EnginePlan in
      var beside = EnginePlanner.Beside()
      beside.draftProblem = files.draftProblem
      if let draft = files.draft, let header = GGUFHeader.read(draft) { beside.draft = (draft.digest, header) }
      beside.adapters = files.adapters.reduce(0) { $0 + (DurableFile.size($1.path) ?? 0) }
      return planner.plan(model, kind, header: GGUFHeader.read(files.model), beside: beside)
    }
    return made ?? planner.plan(model, kind, header: nil)
  }

  /// Starts an engine, with its adapters and its draft model where it takes them. One that no engine loads does not keep
  /// the model from answering.
  private func start(
    _ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, _ files: EngineFiles
  ) async throws -> Engine {
    var given = EngineFiles(model: files.model)
    if case .draft = plan.speculation { given.draft = files.draft }
    if kind == .generate { given.adapters = files.adapters }
    var plan = plan
    do { return try await launcher.start(model, kind, plan, files: given) } catch InferenceError.notStarted(
      let label, let words)
    {
      guard given.draft != nil || !given.adapters.isEmpty else {
        throw InferenceError.notStarted(model: label, lastWords: words)
      }
      Log.shared.error(
        "an engine does not start with its adapters or its draft model",
        ["model": model.label, "lastWords": words])
      var fields = InferenceService.fields(model, kind, "adapters_refused")
      fields["adapters"] = .array(given.adapters.map { .string($0.digest.hex) })
      if let draft = given.draft { fields["draft"] = .string(draft.digest.hex) }
      try await audit(.model, "system", fields)
      plan.speculation = plan.speculation == .ngram ? .ngram : .none
      plan.reasons.append("without adapters and draft model: the engine refused them (\(words))")
      return try await launcher.start(model, kind, plan, files: EngineFiles(model: files.model))
    }
  }

  static func fields(_ model: EngineModel, _ kind: EngineKind, _ event: String) -> [String: JSONValue] {
    [
      "event": .string(event), "model": .string(model.name), "version": .string(model.version),
      "sha256": .string(model.sha256.hex), "engine": .string(kind.rawValue),
    ]
  }
}

// MARK: what is asked of it

extension InferenceService {
  /// How many requests the model's engine answers at a time; before its first start what is to be expected.
  nonisolated func slots(_ model: EngineModel) -> Int {
    knownSlots.withLock { $0[model.sha256] } ?? planner.usualSlots(for: model.name)
  }

  /// Whether an engine has this file open.
  func isInUse(_ sha256: Digest) -> Bool {
    EngineKind.allCases.contains { kind in
      switch entries[Key(sha256: sha256, kind: kind)]?.phase {
      case nil, .unloaded: false
      case .starting, .ready: true
      }
    } || leaving.values.contains { $0.key.sha256 == sha256 }
  }

  func statuses() async -> [EngineStatus] {
    await letGoOfOldModels()
    let present = entries.compactMap { key, entry -> EngineStatus? in
      switch entry.phase {
      case .unloaded:
        guard entry.breaker.failures > 0, !entry.isRetired else { return nil }
        return status(key, entry, entry.breaker.isCrashLoop ? "crash-loop" : "failed")
      case .starting: return status(key, entry, "starting")
      case .ready(let engine):
        var status = status(key, entry, "ready", engine)
        status.expiresInSeconds = remainingStay(key, entry, engine)
        return status
      }
    }
    let going = leaving.values.map { status($0.key, Entry(model: $0.engine.model), "stopping", $0.engine) }
    return (present + going).sorted {
      ($0.model.label, $0.kind.rawValue, $0.state) < ($1.model.label, $1.kind.rawValue, $1.state)
    }
  }

  private func status(_ key: Key, _ entry: Entry, _ state: String, _ engine: Engine? = nil) -> EngineStatus {
    let loaded = engine.map { Clock.monotonic() - $0.startedAt } ?? .zero
    return EngineStatus(
      model: entry.model, kind: key.kind, state: state, pid: engine?.process.pid,
      loadedSeconds: Int(loaded.components.seconds), users: engine?.users ?? 0, lastWords: entry.lastWords,
      plan: engine?.plan ?? entry.plan, failures: entry.breaker.failures, lastWordsFile: entry.lastWordsFile)
  }
}
