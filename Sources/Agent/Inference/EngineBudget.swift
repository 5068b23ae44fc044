/// What an engine that is or will be there takes of the budget, as far as it matters to who else may come.
struct EngineShare: Sendable, Hashable {
  enum State: Sendable, Hashable {
    /// Nobody has asked it for so long.
    case idle(Duration)
    case answering, starting, leaving
  }
  let key: InferenceService.Key
  let label: String
  /// Bytes that are set aside for it.
  let bytes: UInt64
  let state: State
}

/// Decides whether an engine may be loaded: what is set aside for all engines stays within the budget, and what it takes
/// at once is free in the host. Who answers is never taken away.
struct EngineBudget: Sendable, Hashable {
  /// Bytes for all engines together.
  var total: UInt64

  enum Decision: Sendable, Hashable {
    case admit
    /// End this engine first: the one that has been idle for longest.
    case evict(InferenceService.Key)
    /// One is on its way out: look again when it has gone.
    case wait
    /// Nothing that may go would make room.
    case refuse
  }

  /// `needed` is the most that the engine may take, `atOnce` what it takes soon, `free` what the host could give.
  func decide(needed: UInt64, atOnce: UInt64, free: UInt64, others: [EngineShare]) -> Decision {
    guard needed <= total else { return .refuse }
    let used = EngineBudget.used(others)
    if used <= total - needed, atOnce <= free { return .admit }
    if others.contains(where: { $0.state == .leaving }) { return .wait }
    var oldest: (key: InferenceService.Key, idle: Duration)?
    for share in others {
      if case .idle(let idle) = share.state, idle > oldest?.idle ?? .seconds(-1) { oldest = (share.key, idle) }
    }
    return oldest.map { .evict($0.key) } ?? .refuse
  }

  /// Bytes that are set aside for these.
  static func used(_ shares: [EngineShare]) -> UInt64 {
    shares.reduce(0) { sum, share in
      let (total, overflow) = sum.addingReportingOverflow(share.bytes)
      return overflow ? .max : total
    }
  }
}
