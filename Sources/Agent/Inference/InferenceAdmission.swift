import Host
import Models

extension InferenceService {
  /// Bytes that are set aside for engines now.
  var setAside: UInt64 { EngineBudget.used(shares(except: nil)) }

  /// Makes room for an engine and sets it aside: the least recently used idle engines go first, one that answers never
  /// does. Throws `InferenceError.noMemory` when there can't be room now.
  func admit(_ key: Key, _ plan: EnginePlan, mayEvict: Bool) async throws {
    let budget = EngineBudget(total: planner.box.budget)
    let end = Clock.monotonic() + InferenceService.admissionPatience
    while true {
      let others = shares(except: key)
      let decision = budget.decide(
        needed: plan.memory.most, atOnce: plan.memory.full, free: freeMemory(), others: others)
      switch decision {
      case .admit:
        entries[key]?.plan = plan
        return
      case .evict(let other) where mayEvict:
        if case .ready(let engine)? = entries[other]?.phase { await stop(other, engine, reason: "memory") }
      case .wait where mayEvict && Clock.monotonic() < end: try await Task.sleep(for: .milliseconds(50))
      case .evict, .wait, .refuse:
        // An older version of the same model goes as soon as it has answered.
        if mayEvict, plan.memory.most <= budget.total, Clock.monotonic() < end, let old = olderVersion(of: key) {
          _ = retire(old.key, old.engine, reason: "replaced", drain: .seconds(launcher.configuration.drainSeconds))
        } else {
          throw refusal(key, plan, budget, others)
        }
      }
    }
  }

  /// How long a request waits for engines that are on their way out.
  static let admissionPatience = Duration.seconds(30)

  private func olderVersion(of key: Key) -> (key: Key, engine: Engine)? {
    guard let name = entries[key]?.model.name else { return nil }
    for (other, entry) in entries where other != key && other.kind == key.kind && entry.model.name == name {
      if case .ready(let engine) = entry.phase { return (other, engine) }
    }
    return nil
  }

  func shares(except key: Key?) -> [EngineShare] {
    let now = Clock.monotonic()
    let present = entries.compactMap { other, entry -> EngineShare? in
      guard other != key else { return nil }
      let state: EngineShare.State
      switch entry.phase {
      case .unloaded: return nil
      case .starting: state = .starting
      case .ready(let engine): state = engine.idle(at: now).map { .idle($0) } ?? .answering
      }
      return EngineShare(
        key: other, label: entry.model.label, bytes: entry.plan?.estimatedBytes ?? 0, state: state)
    }
    return present
      + leaving.values.map {
        EngineShare(
          key: $0.key, label: $0.engine.model.label, bytes: $0.engine.plan.estimatedBytes, state: .leaving)
      }
  }

  private func refusal(
    _ key: Key, _ plan: EnginePlan, _ budget: EngineBudget, _ others: [EngineShare]
  ) -> InferenceError {
    let label = entries[key]?.model.label ?? key.sha256.hex
    return .noMemory(
      model: label, needed: plan.memory.most, budget: budget.total, used: EngineBudget.used(others),
      free: freeMemory(), by: others.map(\.label).sorted())
  }
}
