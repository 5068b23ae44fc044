import Access
import Host
import Trust

extension FairGate {
  /// How it stands in front of one engine.
  struct LaneStatus: Sendable {
    let key: InferenceService.Key
    let waiting: Int
    let callers: Int
    /// For how many seconds the longest waits.
    let longest: Double
  }

  func lanes() -> [LaneStatus] {
    let now = time().seconds
    return state.withLock { state in
      state.lanes.map { key, lane in
        LaneStatus(
          key: key, waiting: lane.queue.waiting, callers: Set(lane.since.values.map(\.caller)).count,
          longest: lane.since.values.map { now - $0.at }.max() ?? 0)
      }
    }.sorted { ($0.key.sha256.hex, $0.key.kind.rawValue) < ($1.key.sha256.hex, $1.key.kind.rawValue) }
  }

  /// Takes over what was used before a restart, so that it still counts against daily limits.
  func restore(from usage: UsageLedger) async {
    do {
      // After a crash the last seconds are in the log alone; a log from before there were sums is read beside.
      if usage.isFarBehind {
        Task { try? await usage.catchUp() }
      } else {
        try await usage.catchUp()
      }
      let now = time()
      let hours = try await usage.hours()
      state.withLock { state in
        for hour in hours { state.limiter.restore(hour.scope, tokens: hour.tokens, hour: hour.hour, at: now) }
      }
    } catch { Log.shared.warning("what was used before the start does not count", ["reason": "\(error)"]) }
  }

  /// What a caller has waiting, and what the limits leave them.
  func account(of caller: String) -> JSONValue {
    let now = time()
    return state.withLock { state in
      let standing = state.limiter.standing(of: caller, at: now)
      var places: [JSONValue] = []
      for (key, lane) in state.lanes {
        for (id, waiting) in lane.since where waiting.caller == caller {
          guard let position = lane.queue.position(of: id, caller: caller) else { continue }
          places.append([
            "sha256": .string(key.sha256.hex), "engine": .string(key.kind.rawValue),
            "position": .integer(Int64(position + 1)),
            "waitedMilliseconds": .integer(Int64((now.seconds - waiting.at) * 1000)),
          ])
        }
      }
      return [
        "caller": .string(caller),
        "tokensToday": .integer(Int64(state.limiter.usedToday(.caller(caller), at: now))),
        "requests": FairGate.account(standing.requests), "tokens": FairGate.account(standing.tokens),
        "waiting": .array(places.sorted { ($0["position"]?.integer ?? 0) < ($1["position"]?.integer ?? 0) }),
      ]
    }
  }

  private static func account(_ left: (limit: Int, remaining: Int, reset: Double)?) -> JSONValue {
    guard let left else { return .null }
    return [
      "perMinute": .integer(Int64(left.limit)), "remaining": .integer(Int64(left.remaining)),
      "resetSeconds": .integer(Int64(left.reset.rounded(.up))),
    ]
  }
}
