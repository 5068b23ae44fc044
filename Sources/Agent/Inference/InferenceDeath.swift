import Fleet
import Glibc
import Host
import Storage
import Trust

extension InferenceService {
  /// An engine ended by itself: it comes back, unless it does so again and again. What it wrote is passed over: an engine
  /// that was asked something quotes requests in its complaints, and those must not reach the audit log, the journal or
  /// another caller. It is kept where only the agent's account can read it.
  func died(_ key: Key, _ engine: Engine, _ status: Host.ExitStatus) async {
    guard case .ready(let current)? = entries[key]?.phase, current === engine else { return }
    let wasKilled = status == .signaled(SIGKILL)
    entries[key]?.phase = .unloaded
    entries[key]?.plan = nil
    entries[key]?.lastWords = "it ended with \(status)"
    entries[key]?.lastWordsFile = keepLastWords(engine)
    entries[key]?.breaker.failed(
      at: Clock.monotonic(), after: Clock.monotonic() - engine.startedAt, hadAnswered: engine.hasAnswered,
      wasKilled: wasKilled)
    engine.cleanUp()
    Log.shared.error("engine died", ["model": engine.model.label, "ended": status.description])
    // It comes back while the record is being written: nobody waits for the disk.
    if let breaker = entries[key]?.breaker, breaker.mayRestartUnasked, !isStopping {
      let wait = breaker.wait(at: Clock.monotonic()) ?? .zero
      Task { [weak self] in
        if wait > .zero { try? await Task.sleep(for: wait) }
        await self?.restart(key)
      }
    }
    var fields = InferenceService.fields(engine.model, key.kind, "engine_died")
    fields["ended"] = .string(status.description)
    try? await audit(.model, "system", fields)
    await tellCrashLoop(key, engine.model)
  }

  /// Says once that an engine fails whenever it is started.
  func tellCrashLoop(_ key: Key, _ model: EngineModel) async {
    guard let breaker = entries[key]?.breaker, breaker.failures == EngineBreaker.loop else { return }
    Log.shared.error(
      "an engine fails whenever it is started; from now on only requests start it",
      ["model": model.label, "failures": "\(breaker.failures)"])
    var fields = InferenceService.fields(model, key.kind, "crash_loop")
    fields["failures"] = .integer(Int64(breaker.failures))
    try? await audit(.model, "system", fields)
  }

  private func restart(_ key: Key) async {
    guard !isStopping, let entry = entries[key], case .unloaded = entry.phase, !entry.isRetired else { return }
    _ = try? await start(key, entry.model).value
  }

  /// Keeps the last bytes of an engine's standard error output below the runtime directory, which no reboot survives, for
  /// who may become the agent's account. The path; nil where it wrote nothing.
  private func keepLastWords(_ engine: Engine) -> String? {
    let words = Array(engine.process.stderrTail.utf8.suffix(4096))
    guard !words.isEmpty else { return nil }
    let folder = launcher.socketDirectory + "/last-words"
    let path = "\(folder)/\(engine.model.sha256.hex.prefix(12))-\(engine.kind.rawValue.prefix(1)).log"
    do {
      try DurableFile.makeDirectory(folder, mode: 0o700)
      try DurableFile.replace(path, with: words, mode: 0o600)
      return path
    } catch {
      Log.shared.warning("an engine's last words are not kept", ["reason": "\(error)"])
      return nil
    }
  }
}

// MARK: files that were touched

extension InferenceService {
  /// The attack on record. Throws when the audit log can't be written.
  func tampered(_ reason: String) async throws {
    try await AttackReport(.tamperedContent, role: "store", reason: reason).record(to: audit)
  }

  /// Looks after the files of running engines twice a second: a writer waits for 45 seconds before the kernel lets it in
  /// (`/proc/sys/fs/lease-break-time`), and by then the engine is gone. Every five seconds those leave whose model was
  /// replaced or withdrawn. With no engine nothing wakes up.
  func startWatch() {
    guard watch == nil else { return }
    watch = Task { [weak self] in
      var turns = 0
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(500))
        guard let self, await self.killTampered() else { return }
        turns += 1
        if turns % 10 == 0 { await self.letGoOfOldModels() }
      }
    }
  }

  func letGoOfOldModels() async {
    if let installed { keepOnly(await installed()) }
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
}
