import Fleet
import Host
import Storage
import Trust

/// How an engine is doing, for people.
struct EngineStatus: Sendable, Hashable {
  let model: EngineModel
  let kind: EngineKind
  /// starting, ready, stopping, failed
  let state: String
  let pid: Int32?
  let loadedSeconds: Int
  let users: Int
  let lastWords: String?
  /// Its settings and what it was expected to take.
  var plan: EnginePlan?
  /// Seconds until it goes unless somebody asks it; nil: it stays, or it is not ready.
  var expiresInSeconds: Int?
}

/// Starts an engine for a model when somebody asks, restarts it when it dies, and stops it when nobody has asked for
/// a while. One engine for each model file and kind.
actor InferenceService {
  /// Which engine: the digest, not the name, so that a new version of a model never meets an engine of the old.
  struct Key: Hashable, Sendable {
    let sha256: Digest
    let kind: EngineKind
  }

  private enum Phase {
    case unloaded
    case starting(Task<Engine, any Error>)
    case ready(Engine)
    case stopping(Task<Void, Never>)
  }

  private struct Entry {
    let model: EngineModel
    var phase = Phase.unloaded
    var breaker = EngineBreaker()
    var lastWords: String?
    /// Set when somebody wants it gone as soon as nobody uses it.
    var isRetired = false
  }

  private let launcher: EngineLauncher
  private let idleLimit: Duration?
  /// Opens and hashes the model's file and its adapters'; throws when one is not the signed one.
  private let locate: @Sendable (EngineModel) async throws -> EngineFiles
  private let audit: AuditWriter
  private var entries: [Key: Entry] = [:]
  /// What somebody said of how long a model stays; nil: for ever.
  private var stays: [Digest: Duration?] = [:]
  private var isStopping = false
  private var housekeeping: Task<Void, Never>?
  private var watch: Task<Void, Never>?

  init(
    launcher: EngineLauncher, locate: @escaping @Sendable (EngineModel) async throws -> EngineFiles,
    audit: @escaping AuditWriter
  ) {
    self.launcher = launcher
    self.locate = locate
    self.audit = audit
    idleLimit = launcher.configuration.idleSeconds > 0 ? .seconds(launcher.configuration.idleSeconds) : nil
  }

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
      case .stopping(let task): await task.value
      case .unloaded: _ = try await start(key, model).value
      }
    }
  }

  private func start(_ key: Key, _ model: EngineModel) throws -> Task<Engine, any Error> {
    var entry = entries[key] ?? Entry(model: model)
    if let wait = entry.breaker.wait(at: Clock.monotonic()) {
      throw InferenceError.resting(
        model: model.label, seconds: Int(wait.components.seconds) + 1, lastWords: entry.lastWords ?? "none")
    }
    let task = Task { try await self.launch(key, model) }
    entry.phase = .starting(task)
    entry.isRetired = false
    entries[key] = entry
    startHousekeeping()
    return task
  }

  private func launch(_ key: Key, _ model: EngineModel) async throws -> Engine {
    do {
      let files = try await locate(model)
      await makeRoom(for: model)
      try await audit("model", "system", InferenceService.fields(model, key.kind, "load"))
      let engine = try await start(model, key.kind, files)
      entries[key]?.phase = .ready(engine)
      startWatch()
      entries[key]?.lastWords = nil
      Log.shared.info(
        "engine ready", ["model": model.label, "kind": key.kind.rawValue, "pid": String(engine.process.pid)])
      Task { [weak self] in
        let status = await engine.process.wait()
        await self?.died(key, engine, status)
      }
      return engine
    } catch {
      entries[key]?.phase = .unloaded
      if let failure = error as? InferenceError {
        entries[key]?.breaker.failed(at: Clock.monotonic())
        entries[key]?.lastWords = failure.lastWords
        if case .tampered(_, let reason) = failure { try? await tampered(reason) }
      }
      Log.shared.error("engine not started", ["model": model.label, "reason": "\(error)"])
      throw error
    }
  }

  /// Starts an engine, with its adapters where it takes them. An adapter that no engine loads does not keep its base from
  /// answering.
  private func start(_ model: EngineModel, _ kind: EngineKind, _ files: EngineFiles) async throws -> Engine {
    let plan = launcher.plan(model)
    let alone = EngineFiles(model: files.model, draft: files.draft)
    guard kind == .generate, !files.adapters.isEmpty else {
      return try await launcher.start(model, kind, plan, files: alone)
    }
    do {
      return try await launcher.start(model, kind, plan, files: files)
    } catch InferenceError.notStarted(_, let words) {
      Log.shared.error("an engine does not start with its adapters", ["model": model.label, "lastWords": words])
      var fields = InferenceService.fields(model, kind, "adapters_refused")
      fields["adapters"] = .array(files.adapters.map { .string($0.digest.hex) })
      try await audit("model", "system", fields)
      return try await launcher.start(model, kind, plan, files: alone)
    }
  }

  /// An engine ended by itself: it comes back, unless it does so again and again. What it wrote is passed over: an engine
  /// that was asked something quotes requests in its complaints, and those must not reach the audit log, the journal or
  /// another caller.
  private func died(_ key: Key, _ engine: Engine, _ status: Host.ExitStatus) async {
    guard case .ready(let current)? = entries[key]?.phase, current === engine else { return }
    entries[key]?.phase = .unloaded
    entries[key]?.lastWords = "it ended with \(status)"
    entries[key]?.breaker.failed(at: Clock.monotonic(), after: Clock.monotonic() - engine.startedAt)
    Log.shared.error("engine died", ["model": engine.model.label, "ended": status.description])
    var fields = InferenceService.fields(engine.model, key.kind, "engine_died")
    fields["ended"] = .string(status.description)
    try? await audit("model", "system", fields)
    guard let breaker = entries[key]?.breaker, breaker.mayRestartUnasked, !isStopping else { return }
    let wait = breaker.wait(at: Clock.monotonic()) ?? .zero
    Task { [weak self] in
      try? await Task.sleep(for: wait)
      await self?.restart(key)
    }
  }

  /// The attack on record. Throws when the audit log can't be written.
  private func tampered(_ reason: String) async throws {
    try await AttackReport(.tamperedContent, role: "store", reason: reason).record(to: audit)
  }

  /// Looks after the files of running engines twice a second: a writer waits for 45 seconds before the kernel lets it in
  /// (`/proc/sys/fs/lease-break-time`), and by then the engine is gone.
  private func startWatch() {
    guard watch == nil else { return }
    watch = Task { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(500))
        guard let self, await self.killTampered() else { return }
      }
    }
  }

  /// Kills engines whose file somebody touched. False when no engine is left to look after.
  private func killTampered() async -> Bool {
    var isAnyLeft = false
    for (key, entry) in entries {
      guard case .ready(let engine) = entry.phase else { continue }
      isAnyLeft = true
      do { try engine.files.demandUntouched() } catch {
        Log.shared.error("killed an engine whose file was touched", ["model": engine.model.label])
        await stop(key, engine, reason: "tampered", isUntrusted: true)
        try? await tampered(Engine.tampering(error))
      }
    }
    if !isAnyLeft { watch = nil }
    return isAnyLeft
  }

  private func restart(_ key: Key) async {
    guard !isStopping, let entry = entries[key], case .unloaded = entry.phase, !entry.isRetired else { return }
    _ = try? await start(key, entry.model).value
  }

  static func fields(_ model: EngineModel, _ kind: EngineKind, _ event: String) -> [String: JSONValue] {
    [
      "event": .string(event), "model": .string(model.name), "version": .string(model.version),
      "sha256": .string(model.sha256.hex), "engine": .string(kind.rawValue),
    ]
  }
}

// MARK: letting go

extension InferenceService {
  /// Stops the engines of a model file once they have answered what they were asked, or when the time is over.
  /// Requests that come meanwhile wait for it and start new engines. True when there was one.
  @discardableResult
  func unload(_ sha256: Digest, drain: Duration = .seconds(30)) async -> Bool {
    var found = false
    for kind in EngineKind.allCases {
      let key = Key(sha256: sha256, kind: kind)
      if case .starting(let task)? = entries[key]?.phase { _ = try? await task.value }
      guard case .ready(let engine)? = entries[key]?.phase else { continue }
      found = true
      entries[key]?.isRetired = true
      await stop(key, engine, reason: "unload", drain: drain)
    }
    return found
  }

  /// Stops all engines whose file is not among these: what a sync replaced.
  func keepOnly(_ wanted: Set<Digest>) async {
    for key in Array(entries.keys) where !wanted.contains(key.sha256) { await unload(key.sha256) }
  }

  /// Whether an engine has this file open.
  func isInUse(_ sha256: Digest) -> Bool {
    EngineKind.allCases.contains { kind in
      switch entries[Key(sha256: sha256, kind: kind)]?.phase {
      case nil, .unloaded: false
      case .starting, .ready, .stopping: true
      }
    }
  }

  func statuses() -> [EngineStatus] {
    let (stays, idleLimit) = (stays, idleLimit)
    func limit(_ sha256: Digest, _ engine: Engine) -> Int? {
      (stays[sha256] ?? idleLimit).map { Int(max(.zero, $0 - (engine.idle ?? .zero)).components.seconds) }
    }
    return entries.compactMap { key, entry -> EngineStatus? in
      func status(_ state: String, _ engine: Engine? = nil) -> EngineStatus {
        let loaded = engine.map { Clock.monotonic() - $0.startedAt } ?? .zero
        return EngineStatus(
          model: entry.model, kind: key.kind, state: state, pid: engine?.process.pid,
          loadedSeconds: Int(loaded.components.seconds), users: engine?.users ?? 0, lastWords: entry.lastWords,
          plan: engine?.plan, expiresInSeconds: engine.flatMap { limit(key.sha256, $0) })
      }
      switch entry.phase {
      case .unloaded: return entry.breaker.failures > 0 && !entry.isRetired ? status("failed") : nil
      case .starting: return status("starting")
      case .ready(let engine): return status("ready", engine)
      case .stopping: return status("stopping")
      }
    }.sorted { ($0.model.label, $0.kind.rawValue) < ($1.model.label, $1.kind.rawValue) }
  }

  /// Takes no more requests, lets the running ones end within the time, and stops every engine.
  func shutdown(drain: Duration) async {
    isStopping = true
    housekeeping?.cancel()
    watch?.cancel()
    let deadline = Clock.monotonic() + drain
    await withDiscardingTaskGroup { group in
      for (key, entry) in entries {
        group.addTask {
          switch entry.phase {
          case .unloaded: break
          case .starting(let task):
            task.cancel()
            if let engine = try? await task.value { await self.stop(key, engine, reason: "shutdown") }
          case .ready(let engine):
            await self.stop(key, engine, reason: "shutdown", drain: max(.zero, deadline - Clock.monotonic()))
          case .stopping(let task): await task.value
          }
        }
      }
    }
  }

  private func stop(_ key: Key, _ engine: Engine, reason: String, drain: Duration = .zero, isUntrusted: Bool = false)
    async
  {
    guard case .ready(let current)? = entries[key]?.phase, current === engine else { return }
    let task = Task {
      await engine.drain(drain)
      await engine.stop(isUntrusted: isUntrusted)
    }
    entries[key]?.phase = .stopping(task)
    await task.value
    entries[key]?.phase = .unloaded
    entries[key]?.breaker.reset()
    Log.shared.info("engine stopped", ["model": engine.model.label, "reason": reason])
    var fields = InferenceService.fields(engine.model, key.kind, "unload")
    fields["reason"] = .string(reason)
    try? await audit("model", "system", fields)
  }

  /// How long a model's engines stay after their last answer: nil for ever, zero no longer than that.
  func keep(_ sha256: Digest, for time: Duration?) { stays[sha256] = .some(time) }

  private func limit(_ sha256: Digest) -> Duration? { stays[sha256] ?? idleLimit }

  private func startHousekeeping() {
    guard housekeeping == nil else { return }
    housekeeping = Task { [weak self] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(500))
        await self?.stopIdle()
      }
    }
  }

  private func stopIdle() async {
    for (key, entry) in entries {
      if case .ready(let engine) = entry.phase, let idle = engine.idle, let limit = limit(key.sha256), idle >= limit {
        await stop(key, engine, reason: "idle")
      }
    }
  }

  /// Stops engines that nobody uses, the longest idle first, while memory is short of what the model needs.
  private func makeRoom(for model: EngineModel) async {
    let needed = model.length + model.length / 4 + (256 << 20)
    while Memory.available < needed {
      let idle = entries.compactMap { key, entry -> (Key, Engine, Duration)? in
        guard case .ready(let engine) = entry.phase, let idle = engine.idle else { return nil }
        return (key, engine, idle)
      }
      guard let (key, engine, _) = idle.max(by: { $0.2 < $1.2 }) else { return }
      await stop(key, engine, reason: "memory")
    }
  }
}

extension Engine {
  /// Waits until nobody uses it, or the time is over.
  func drain(_ limit: Duration) async {
    let deadline = Clock.monotonic() + limit
    while users > 0, process.isRunning, Clock.monotonic() < deadline {
      try? await Task.sleep(for: .milliseconds(20))
    }
  }
}

extension InferenceError {
  var lastWords: String {
    switch self {
    case .notStarted(_, let words), .tooSlow(_, _, let words), .resting(_, _, let words): words
    case .noProgram, .noAdapter, .noSandbox, .tampered, .stopping: description
    }
  }
}
