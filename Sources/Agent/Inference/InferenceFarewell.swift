import Host
import Trust

extension InferenceService {
  /// Stops the engines of a model file once they have answered what they were asked, or when the time is over; nil: as
  /// long as the configuration says. Requests that come meanwhile start new engines. True when there was one.
  @discardableResult
  func unload(_ sha256: Digest, drain: Duration? = nil, reason: String = "unload") async -> Bool {
    let limit = drain ?? .seconds(launcher.configuration.drainSeconds)
    var found = false
    for kind in EngineKind.allCases {
      let key = Key(sha256: sha256, kind: kind)
      if case .starting(let task)? = entries[key]?.phase { _ = try? await task.value }
      guard case .ready(let engine)? = entries[key]?.phase else { continue }
      found = true
      entries[key]?.isRetired = true
      await stop(key, engine, reason: reason, drain: limit)
    }
    stays[sha256] = nil
    return found
  }

  /// Stops all engines that have a file which is not among these, each when it has answered: what a sync replaced, or a
  /// draft model or an adapter that was withdrawn. Returns at once.
  func keepOnly(_ wanted: Set<Digest>) {
    for (key, entry) in entries {
      switch entry.phase {
      case .unloaded: if !wanted.contains(key.sha256) { entries[key] = nil }
      case .starting: break
      case .ready(let engine):
        if wanted.contains(key.sha256), engine.files.all.allSatisfy({ wanted.contains($0.digest) }) { continue }
        entries[key]?.isRetired = true
        _ = retire(key, engine, reason: "replaced", drain: .seconds(launcher.configuration.drainSeconds))
      }
    }
  }

  /// Starts the engines of a model file anew; what they were asked, the old ones still answer. True when there was one.
  @discardableResult
  func reload(_ sha256: Digest, reason: String = "reload") async -> Bool {
    var found = false
    for kind in EngineKind.allCases {
      let key = Key(sha256: sha256, kind: kind)
      guard case .ready(let engine)? = entries[key]?.phase, let model = entries[key]?.model else { continue }
      found = true
      _ = retire(key, engine, reason: reason, drain: .seconds(launcher.configuration.drainSeconds))
      _ = try? await acquire(model, kind)
    }
    return found
  }

  /// Takes no more requests, lets the running ones end within the time, and stops every engine.
  func shutdown(drain: Duration) async {
    isStopping = true
    housekeeping?.cancel()
    watch?.cancel()
    let deadline = Clock.monotonic() + drain
    for going in leaving.values { going.engine.hurry(by: deadline) }
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
          }
        }
      }
      for going in leaving.values { group.addTask { await going.task.value } }
    }
  }

  /// Ends a running engine when it has answered, or when the time is over; returns when it has gone.
  func stop(
    _ key: Key, _ engine: Engine, reason: String, drain: Duration = .zero, isUntrusted: Bool = false
  ) async {
    await retire(key, engine, reason: reason, drain: drain, isUntrusted: isUntrusted)?.value
  }

  /// The same, and returns at once: from here on nobody new comes to it. Nil when it does not run for this key.
  func retire(
    _ key: Key, _ engine: Engine, reason: String, drain: Duration, isUntrusted: Bool = false
  ) -> Task<Void, Never>? {
    guard case .ready(let current)? = entries[key]?.phase, current === engine else { return nil }
    engine.hurry(by: Clock.monotonic() + drain)
    entries[key]?.phase = .unloaded
    entries[key]?.plan = nil
    entries[key]?.breaker.reset()
    let task = Task {
      await engine.drain()
      await engine.stop(isUntrusted: isUntrusted)
      await self.left(key, engine, reason: reason)
    }
    leaving[ObjectIdentifier(engine)] = Leaving(key: key, engine: engine, task: task)
    return task
  }

  private func left(_ key: Key, _ engine: Engine, reason: String) async {
    leaving[ObjectIdentifier(engine)] = nil
    Log.shared.info("engine stopped", ["model": engine.model.label, "reason": reason])
    var fields = InferenceService.fields(engine.model, key.kind, "unload")
    fields["reason"] = .string(reason)
    try? await audit(.model, "system", fields)
  }
}
