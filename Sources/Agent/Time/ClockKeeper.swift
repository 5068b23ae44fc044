import Host
import Trust

/// Watches what changes with time alone, and tells of each change once: a clock that is doubted or right again, metadata
/// that went stale, the fleet's policy that ran out, tokens that ended.
final class ClockKeeper: Sendable {
  /// How often to look when nothing calls.
  private static let pause: Duration = .seconds(20)

  private let clock: TrustedClock
  private let audit: AuditWriter
  private let access: AccessControl
  private let registry: ModelRegistry
  private let turn = SerialGate()

  init(clock: TrustedClock, audit: @escaping AuditWriter, access: AccessControl, registry: ModelRegistry) {
    self.clock = clock
    self.audit = audit
    self.access = access
    self.registry = registry
  }

  /// Until it is cancelled. The clock itself calls when it judges otherwise than the audit log knows.
  func run() async {
    let (calls, call) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    clock.watch { call.yield() }
    let timer = Task {
      while !Task.isCancelled {
        try? await Task.sleep(for: ClockKeeper.pause)
        call.yield()
      }
    }
    defer { timer.cancel() }
    for await _ in calls {
      if Task.isCancelled { return }
      await look()
    }
  }

  /// Looks once. What can't be put on record now is told of at the next look.
  func look() async {
    await turn.run {
      do {
        try await tellOfStep()
        try await tellOfClock()
        try await tellOfFreshness()
        try await tellOfPolicy()
        if let signed = clock.takeNews() { try await access.reviveTokens(signed: signed) }
        try clock.saveIfDue()
      } catch {
        Log.shared.error(
          "what changed with time could not be put on record; the next try follows", ["reason": "\(error)"])
      }
      await access.endTokens()
    }
  }

  private func tellOfStep() async throws {
    guard let (wall, seconds) = clock.step() else { return }
    Log.shared.notice("the clock was set", ["to": TrustedClock.text(wall), "seconds": "\(seconds)"])
    try await audit(.clock, "system", ["event": "step", "wall": .integer(wall), "seconds": .integer(seconds)])
    try clock.told(step: seconds)
  }

  private func tellOfClock() async throws {
    let account = clock.account()
    let judged = account.judgement
    guard judged.doubt?.rawValue != clock.told(.doubt) else { return }
    let times: [String: Int64] = ["wall": judged.wall, "floor": judged.floor, "time": judged.time]
    var fields = times.mapValues { JSONValue.integer($0) }
    fields["event"] = judged.doubt == nil ? "right" : "doubted"
    fields["doubt"] = judged.doubt.map { .string($0.rawValue) } ?? .null
    fields["source"] = account.source.map { .string($0.source.rawValue) } ?? .null
    let shown = times.mapValues(TrustedClock.text)
    if let doubt = judged.doubt {
      Log.shared.warning(
        "the clock can't be right and is not believed", shown.merging(["doubt": doubt.rawValue]) { $1 })
    } else {
      Log.shared.notice("the clock is believed again", shown)
    }
    try await audit(.clock, "system", fields)
    try clock.setTold(.doubt, judged.doubt?.rawValue)
  }

  private func tellOfPolicy() async throws {
    let word = access.fleetState
    guard word != clock.told(.policy) else { return }
    if let word {
      let fields = access.fleetJSON()
      if word == "stale" {
        Log.shared.warning("the fleet's policy has expired; its stale roles count until a sync brings a newer one")
      }
      try await audit(
        .policy, "system",
        [
          "event": .string(word == "in force" ? "in-force" : word), "name": fields["name"] ?? .null,
          "serial": fields["serial"] ?? .null,
          "expires": fields["expires"] ?? .null,
        ])
    }
    try clock.setTold(.policy, word)
  }

  private func tellOfFreshness() async throws {
    let freshness = await registry.freshness(at: clock.now())
    let word = freshness.word
    guard word != clock.told(.freshness) ?? "fresh" else { return }
    var fields: [String: JSONValue] = [
      "event": .string(word), "expired": .array(freshness.expired.map { .string($0) }),
    ]
    fields["since"] = freshness.staleSince.map(JSONValue.integer) ?? .null
    fields["refusesAt"] = freshness.refusesAt.map(JSONValue.integer) ?? .null
    if word == "fresh" {
      Log.shared.notice("the signed metadata is fresh again")
    } else {
      Log.shared.warning(
        freshness.isRefused
          ? "the signed metadata is older than its policy allows; installed models no longer answer until a sync"
          : "the signed metadata has expired; installed models go on",
        ["expired": freshness.expired.joined(separator: " ")])
    }
    try await audit(.freshness, "system", fields)
    try clock.setTold(.freshness, word)
  }
}

extension Freshness {
  /// `fresh`, `stale` or `refused`.
  var word: String { isRefused ? "refused" : isStale ? "stale" : "fresh" }
}
