import Fleet
import Host
import Synchronization
import Trust

/// Puts on record what changes nothing and may come in floods: looks, refusals, requests beyond a limit. The first is
/// durable before it is answered; the same again within a minute is counted, and goes on record as one at the minute's end.
/// So nobody fills the audit log by asking often, and nothing goes unrecorded.
final class Repetitions: Sendable {
  private struct Series {
    let recordedAt: Duration
    var repeated = 0
    var fields: [String: JSONValue] = [:]
  }

  private struct Key: Hashable {
    let kind: AuditKind
    let actor: String
    /// Nil: whatever goes beyond what is told apart.
    let what: String?
  }

  private let window: Duration
  /// Things of one actor that are told apart within a window.
  private let distinct: Int
  private let audit: AuditWriter
  private let series = Mutex<[Key: Series]>([:])

  init(window: Duration = .seconds(60), distinct: Int = 32, audit: @escaping AuditWriter) {
    self.window = window
    self.distinct = distinct
    self.audit = audit
  }

  /// Returns when it is on record or counted. `what` says what is the same; all that is told of it is in `fields`. Throws
  /// what the audit log throws; then it was not counted, either.
  func record(_ kind: AuditKind, _ actor: String, _ what: String, _ fields: [String: JSONValue]) async throws {
    let now = Clock.monotonic()
    let (key, isFirst, isSecond) = series.withLock { series -> (Key, Bool, Bool) in
      var key = Key(kind: kind, actor: actor, what: what)
      if series[key] == nil {
        if series.count >= 512 {
          series = series.filter { now - $0.value.recordedAt < window || $0.value.repeated > 0 }
        }
        let known = series.reduce(0) { $0 + ($1.key.actor == actor && now - $1.value.recordedAt < window ? 1 : 0) }
        if known >= distinct || series.count >= 4096 { key = Key(kind: kind, actor: actor, what: nil) }
      }
      if let found = series[key], now - found.recordedAt < window || found.repeated > 0 {
        series[key]?.repeated += 1
        series[key]?.fields = key.what == nil ? Repetitions.others(fields) : fields
        return (key, false, found.repeated == 0)
      }
      series[key] = Series(recordedAt: now)
      return (key, true, false)
    }
    if isFirst {
      do { try await audit(kind, actor, fields) } catch {
        _ = series.withLock { $0.removeValue(forKey: key) }
        throw error
      }
    } else if isSecond {
      Task { [weak self, window] in
        try? await Task.sleep(for: window)
        await self?.settle(key)
      }
    }
  }

  private static func others(_ fields: [String: JSONValue]) -> [String: JSONValue] {
    var made = fields.filter { ["event", "verb", "allowed", "limit", "scope"].contains($0.key) }
    made["others"] = true
    return made
  }

  private func settle(_ key: Key) async {
    guard let found = series.withLock({ $0.removeValue(forKey: key) }), found.repeated > 0 else { return }
    var fields = found.fields
    fields["repeated"] = .integer(Int64(found.repeated))
    try? await audit(key.kind, key.actor, fields)
  }

  /// Puts on record what is only counted yet: the agent ends.
  func flush() async { for key in series.withLock({ Array($0.keys) }) { await settle(key) } }
}
