import Access
import Host
import Synchronization
import Trust

/// What every request passes on its way to an engine: the limits of its caller and roles, then a place in a fair queue.
///
/// Nothing here touches a disk or another actor as long as there is room: a lock, and some arithmetic.
final class FairGate: Sendable {
  struct Settings: Sendable {
    /// Requests of one caller that may wait where no role says.
    var queue = 64
    /// Requests a minute that one caller may make that are no inferences.
    var managementPerMinute = 3000
  }

  struct Lane {
    var queue: FairQueue
    /// When each request came that waits here, and whose it is.
    var since: [UInt64: (at: Double, caller: String)] = [:]
    var startedAt: [UInt64: Double] = [:]
  }

  struct State {
    var limiter = Limiter()
    var lanes: [InferenceService.Key: Lane] = [:]
    var waiters: [UInt64: CheckedContinuation<Void, any Error>] = [:]
    /// Chosen before they had begun to wait.
    var chosen: Set<UInt64> = []
    var charges: [UInt64: Limiter.Charge] = [:]
    var next: UInt64 = 1
    /// Callers without a place to wait who found everything taken, and until when they are told so at once.
    var full: [String: Double] = [:]
    var management: [String: RateBucket] = [:]
    /// How long answers took lately, in seconds.
    var pace = 1.0
  }

  let access: AccessControl
  let settings: Settings
  let denials: Repetitions
  let counters: APICounters
  let time: @Sendable () -> Limiter.Now
  let state = Mutex(State())

  /// - Parameter time: what the clocks read now.
  init(
    access: AccessControl, settings: Settings, denials: Repetitions, counters: APICounters,
    time: @escaping @Sendable () -> Limiter.Now
  ) {
    self.access = access
    self.settings = settings
    self.denials = denials
    self.counters = counters
    self.time = time
  }

  /// Waits until it is the request's turn at the engine. Throws `CancellationError` when its caller has gone, an
  /// `APIFailure` of status 429 when it may not wait.
  ///
  /// - Parameters:
  ///   - slots: how many requests the engine answers at the same time.
  ///   - width: how many of them it takes.
  func enter(_ ticket: Ticket, _ key: InferenceService.Key, slots: Int, width: Int = 1) async throws {
    let now = time()
    ticket.stand(at: key)
    let refusal: Limiter.Refusal?
    let isThrough: Bool
    (isThrough, refusal) = state.withLock { state in
      join(ticket, key, slots, width, &state, at: now.seconds)
      FairGate.resume(dispatch(&state, key, at: now.seconds))
      if state.chosen.remove(ticket.id) != nil { return (true, nil) }
      return (false, demandRoom(ticket, key, &state, at: now.seconds))
    }
    if isThrough { return }
    if let refusal { throw try await refused(ticket.caller, refusal, at: now) }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        wait(ticket, key, continuation)
      }
    } onCancel: {
      state.withLock { state -> CheckedContinuation<Void, any Error>? in
        guard let waiter = state.waiters.removeValue(forKey: ticket.id) else { return nil }
        leave(ticket.id, ticket.caller, key, &state)
        return waiter
      }?.resume(throwing: CancellationError())
    }
  }

  private func join(
    _ ticket: Ticket, _ key: InferenceService.Key, _ slots: Int, _ width: Int, _ state: inout State, at now: Double
  ) {
    var lane = state.lanes[key] ?? Lane(queue: FairQueue(slots: slots))
    lane.queue.resize(slots)
    lane.queue.add(
      FairQueue.Request(id: ticket.id, caller: ticket.caller, cost: ticket.charge.tokens, width: width), at: now)
    lane.since[ticket.id] = (now, ticket.caller)
    state.lanes[key] = lane
    state.charges[ticket.id] = ticket.charge
    state.limiter.beganWaiting(ticket.charge)
  }

  /// Takes it out again when its caller or role has as many waiting as may wait, and says so.
  private func demandRoom(
    _ ticket: Ticket, _ key: InferenceService.Key, _ state: inout State, at now: Double
  ) -> Limiter.Refusal? {
    guard let found = state.limiter.overfull(ticket.charge) else { return nil }
    leave(ticket.id, ticket.caller, key, &state)
    let wait = expectedWait(state, key)
    if ticket.charge.own.queue == 0 {
      if state.full.count > 1024 { state.full = [:] }
      state.full[ticket.caller] = now + wait
    }
    return Limiter.Refusal(
      limit: found.limit, scope: found.scope, role: found.role, allowed: found.allowed, wait: wait)
  }

  /// How long until one of those at the engine is through, as far as the last ones tell.
  private func expectedWait(_ state: State, _ key: InferenceService.Key) -> Double {
    min(max(state.pace / Double(state.lanes[key]?.queue.slots ?? 1), 1), 60)
  }

  private func wait(
    _ ticket: Ticket, _ key: InferenceService.Key, _ continuation: CheckedContinuation<Void, any Error>
  ) {
    let outcome = state.withLock { state -> Result<Void, any Error>? in
      if state.chosen.remove(ticket.id) != nil { return .success(()) }
      if Task.isCancelled {
        leave(ticket.id, ticket.caller, key, &state)
        return .failure(CancellationError())
      }
      state.waiters[ticket.id] = continuation
      return nil
    }
    if let outcome { continuation.resume(with: outcome) }
  }

  /// Takes a request out of the queue that it waits in.
  private func leave(_ id: UInt64, _ caller: String, _ key: InferenceService.Key, _ state: inout State) {
    guard state.lanes[key]?.queue.remove(id, of: caller) == true else { return }
    state.lanes[key]?.since[id] = nil
    if let charge = state.charges.removeValue(forKey: id) { state.limiter.endedWaiting(charge) }
  }

  /// Sends to the engine who may go; the ones to wake.
  private func dispatch(
    _ state: inout State, _ key: InferenceService.Key, at now: Double
  ) -> [CheckedContinuation<Void, any Error>] {
    guard var lane = state.lanes[key] else { return [] }
    var woken: [CheckedContinuation<Void, any Error>] = []
    while true {
      let request = lane.queue.next(at: now) { request in
        state.charges[request.id].map { state.limiter.mayRun($0) } ?? true
      }
      guard let request else { break }
      lane.since[request.id] = nil
      lane.startedAt[request.id] = now
      if let charge = state.charges.removeValue(forKey: request.id) {
        state.limiter.endedWaiting(charge)
        state.limiter.began(charge)
      }
      if let waiter = state.waiters.removeValue(forKey: request.id) {
        woken.append(waiter)
      } else {
        state.chosen.insert(request.id)
      }
    }
    state.lanes[key] = lane
    return woken
  }

  private static func resume(_ woken: [CheckedContinuation<Void, any Error>]) {
    for continuation in woken { continuation.resume() }
  }

  /// The request is over, wherever it was.
  func end(_ id: UInt64, _ charge: Limiter.Charge, _ key: InferenceService.Key?, tokens: Int) {
    let now = time()
    let woken = state.withLock { state -> [CheckedContinuation<Void, any Error>] in
      state.limiter.settle(charge, tokens: tokens, at: now)
      guard let key, let lane = state.lanes[key] else { return [] }
      state.chosen.remove(id)
      guard let started = lane.startedAt[id] else {
        leave(id, charge.caller, key, &state)
        return []
      }
      state.pace += (now.seconds - started - state.pace) / 8
      state.lanes[key]?.startedAt[id] = nil
      state.lanes[key]?.queue.end(id, tokens: tokens, at: now.seconds)
      state.limiter.ended(charge)
      // A caller's or a role's concurrency is one for all engines.
      var woken: [CheckedContinuation<Void, any Error>] = []
      for other in Array(state.lanes.keys) { woken += dispatch(&state, other, at: now.seconds) }
      if state.lanes.count > 64 { state.lanes = state.lanes.filter { !$0.value.queue.isEmpty } }
      return woken
    }
    FairGate.resume(woken)
  }
}
