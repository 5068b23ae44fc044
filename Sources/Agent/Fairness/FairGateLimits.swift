import Access
import Trust

extension FairGate {
  /// Lets a request in that will take about so many tokens. Throws an `APIFailure` of status 429. Whom no role lets ask is
  /// let through: the decision that follows says no.
  ///
  /// - Parameter base: what a variant is made from; its limits count as well.
  func admit(_ caller: Caller, _ resource: Resource, base: Resource? = nil, tokens: Int) async throws -> Ticket {
    let (policy, context) = (access.policy, access.context(caller, tokens: tokens))
    let made = base == nil ? nil : policy.grants(caller, .infer, resource, in: context)
    let grants = policy.grants(caller, .infer, base ?? resource, in: context)
    let now = time()
    let outcome = state.withLock { state in take(caller.label, grants, made, tokens, &state, at: now) }
    switch outcome {
    case .success(let (ticket, standing)):
      RateNotes.current?.note(standing)
      return ticket
    case .failure(let refusal): throw try await refused(caller.label, refusal, at: now)
    }
  }

  private func take(
    _ caller: String, _ grants: [Grant], _ made: [Grant]?, _ tokens: Int, _ state: inout State, at now: Limiter.Now
  ) -> Result<(Ticket, Limiter.Standing), Limiter.Refusal> {
    if let until = state.full[caller] {
      if until > now.seconds {
        return .failure(
          Limiter.Refusal(
            limit: .queue, scope: .caller(caller), role: grants.first?.role ?? "", allowed: 0,
            wait: until - now.seconds))
      }
      state.full[caller] = nil
    }
    do {
      let charge = try state.limiter.take(caller, grants, made: made, tokens: tokens, queue: settings.queue, at: now)
      state.next += 1
      return .success(
        (Ticket(id: state.next, charge: charge, gate: self), state.limiter.standing(of: caller, at: now)))
    } catch {
      var refusal = error
      if refusal.limit == .queue { refusal.wait = min(max(state.pace, 1), 60) }
      return .failure(refusal)
    }
  }

  /// Bounds requests that are no inferences. Throws an `APIFailure` of status 429.
  func manage(_ caller: Caller) async throws {
    let now = time()
    let wait = state.withLock { state -> Double in
      if state.management.count > 1024 {
        state.management = state.management.filter { _, bucket in
          var bucket = bucket
          return bucket.untilFull(at: now.seconds) > 0
        }
      }
      var bucket =
        state.management[caller.label] ?? RateBucket(perMinute: settings.managementPerMinute, at: now.seconds)
      let wait = bucket.wait(for: 1, at: now.seconds)
      if wait == 0 { bucket.take(1, at: now.seconds) }
      state.management[caller.label] = bucket
      return wait
    }
    guard wait > 0 else { return }
    let (rule, seconds) = ("limits.managementPerMinute in agent.json5", max(1, Int(wait.rounded(.up))))
    try await note("managementPerMinute", .caller(caller.label), caller.label, rule, settings.managementPerMinute)
    throw APIFailure(
      status: 429, code: "rate_limited",
      message: "caller \(caller.label) is at its limit: \(settings.managementPerMinute) requests a minute that are no "
        + "inferences, by \(rule)", hint: "ask again in \(seconds) s", retryAfter: seconds)
  }

  /// Puts the refusal on record, and makes of it what the caller is told.
  func refused(_ caller: String, _ refusal: Limiter.Refusal, at now: Limiter.Now) async throws -> APIFailure {
    let rule = refusal.role.isEmpty ? "limits.queue in agent.json5" : "role \(refusal.role)"
    let seconds = max(1, Int(min(refusal.wait, 86_400 * 2).rounded(.up)))
    let standing = state.withLock { $0.limiter.standing(of: caller, at: now) }
    RateNotes.current?.note(standing)
    try await note(refusal.limit.rawValue, refusal.scope, caller, rule, refusal.allowed)
    return APIFailure(
      status: 429, code: "rate_limited",
      message: "\(refusal.scope) is at its limit: \(refusal.limit.rawValue) \(refusal.allowed), by \(rule)",
      hint: "ask again in \(seconds) s", retryAfter: seconds)
  }

  private func note(
    _ limit: String, _ scope: Limiter.Scope, _ caller: String, _ rule: String, _ allowed: Int
  ) async throws {
    counters.limited(limit, scope.kind)
    let fields: [String: JSONValue] = [
      "limit": .string(limit), "scope": .string(scope.description), "rule": .string(rule),
      "allowed": .integer(Int64(clamping: allowed)),
    ]
    do { try await denials.record(.limit, caller, "\(limit) \(scope)", fields) } catch {
      throw AccessFailure.auditUnavailable("\(error)")
    }
  }
}
