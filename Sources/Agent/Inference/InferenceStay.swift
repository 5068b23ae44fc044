import Host
import Trust

/// How long an engine stays without a request.
enum Stay: Sendable, Hashable {
  case forEver
  /// Zero: until it has answered.
  case atMost(Duration)

  init(_ limit: Duration?) { self = limit.map { .atMost(max($0, .zero)) } ?? .forEver }

  var limit: Duration? {
    switch self {
    case .forEver: nil
    case .atMost(let limit): limit
    }
  }
}

extension InferenceService {
  /// How long the engines of a model stay after their last request, from now on and until they are unloaded, instead of
  /// what the configuration says. Nil: for ever; zero: they go as soon as they have answered.
  func keep(_ sha256: Digest, for limit: Duration?) {
    stays[sha256] = Stay(limit)
    housekeeping?.cancel()
    housekeeping = nil
    startHousekeeping()
  }

  func stay(_ key: Key, _ entry: Entry) -> Duration? {
    if let said = stays[key.sha256] { return said.limit }
    return planner.keepAlive(for: entry.model.name)
  }

  /// Seconds until an engine goes unless somebody asks it.
  func remainingStay(_ key: Key, _ entry: Entry, _ engine: Engine) -> Int? {
    guard case .ready = entry.phase, let limit = stay(key, entry) else { return nil }
    return max(0, Int(((limit - (engine.idle ?? .zero)) / .seconds(1)).rounded(.up)))
  }

  /// Sleeps until the first engine may be due; with no engine that will ever go there is nothing to wake up for.
  func startHousekeeping() {
    guard housekeeping == nil, !isStopping, nextLook() != nil else { return }
    housekeeping = Task { [weak self] in
      while !Task.isCancelled {
        guard let pause = await self?.nextLookOrEnd() else { return }
        do { try await Task.sleep(for: pause) } catch { return }
        await self?.stopIdle()
      }
    }
  }

  private func nextLookOrEnd() -> Duration? {
    let next = nextLook()
    if next == nil { housekeeping = nil }
    return next
  }

  /// When an engine may be due; nil: none will be.
  private func nextLook() -> Duration? {
    entries.compactMap { key, entry -> Duration? in
      guard case .ready(let engine) = entry.phase, let limit = stay(key, entry) else { return nil }
      return max(.milliseconds(100), limit - (engine.idle ?? .zero))
    }.min()
  }

  private func stopIdle() async {
    for (key, entry) in entries {
      guard case .ready(let engine) = entry.phase, let idle = engine.idle, let limit = stay(key, entry),
        idle >= limit
      else { continue }
      await stop(key, engine, reason: "idle")
      if stays[key.sha256] != nil, !isInUse(key.sha256) { stays[key.sha256] = nil }
    }
  }
}
