import Fleet
import Host
import Synchronization
import Trust

/// Puts on record what changes nothing and may come in floods: looks, refusals, requests beyond a limit. The first is
/// durable before it is answered; the same again within a minute is counted, and goes on record as one at the minute's end.
/// So nobody fills the audit log by asking often, and nothing goes unrecorded.
final class Repetitions: Sendable {
  private struct Series {
    var recordedAt: Duration
    /// The first one's record, on its way to the disk; nil once it is there.
    var writing: Task<Void, any Error>?
    /// Counted, and on no record yet.
    var repeated = 0
    /// Of those so many are in a record that is being written.
    var settling = 0
    var fields: [String: JSONValue] = [:]
    /// Somebody sees to it that what is counted goes on record.
    var isScheduled = false
    /// What is counted could not be written at its time: the next one has to be on record itself.
    var isLate = false
  }

  private struct Key: Hashable {
    let kind: AuditKind
    let actor: String
    /// Nil: whatever goes beyond what is told apart.
    let what: String?
    /// What is the same of those, so that nothing is told of one that was another's.
    var others: [String: JSONValue] = [:]
  }

  private enum Turn {
    case first(Task<Void, any Error>)
    case wait(Task<Void, any Error>)
    case counted(isFirst: Bool)
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

  /// Returns when it is on record or counted: what is counted has its first on record. `what` says what is the same; all
  /// that is told of it is in `fields`. Throws what the audit log throws; then it was not counted, either.
  func record(_ kind: AuditKind, _ actor: String, _ what: String, _ fields: [String: JSONValue]) async throws {
    while true {
      let now = Clock.monotonic()
      let (key, turn) = series.withLock { series -> (Key, Turn) in
        let key = place(kind, actor, what, fields, in: &series, at: now)
        return (key, take(key, fields, in: &series, at: now))
      }
      switch turn {
      case .first(let writing): return try await writing.value
      // It is only the same again once there is a record that says so.
      case .wait(let writing): try await writing.value
      case .counted(let isFirst):
        if isFirst { schedule(key) }
        return
      }
    }
  }

  private func place(
    _ kind: AuditKind, _ actor: String, _ what: String, _ fields: [String: JSONValue], in series: inout [Key: Series],
    at now: Duration
  ) -> Key {
    let key = Key(kind: kind, actor: actor, what: what)
    guard series[key] == nil else { return key }
    if series.count >= 512 {
      series = series.filter { now - $0.value.recordedAt < window || $0.value.repeated > 0 || $0.value.writing != nil }
    }
    let known = series.reduce(0) { $0 + ($1.key.actor == actor && now - $1.value.recordedAt < window ? 1 : 0) }
    guard known >= distinct || series.count >= 4096 else { return key }
    return Key(kind: kind, actor: actor, what: nil, others: Repetitions.others(fields))
  }

  private func take(
    _ key: Key, _ fields: [String: JSONValue], in series: inout [Key: Series], at now: Duration
  ) -> Turn {
    var found = series[key] ?? Series(recordedAt: now)
    if let writing = found.writing { return .wait(writing) }
    if series[key] != nil, !found.isLate, now - found.recordedAt < window || found.repeated > 0 {
      let isFirst = !found.isScheduled
      found.repeated += 1
      found.fields = key.what == nil ? key.others : fields
      found.isScheduled = true
      series[key] = found
      return .counted(isFirst: isFirst)
    }
    let writing = Task {
      do { try await audit(key.kind, key.actor, fields) } catch {
        written(key, isDone: false)
        throw error
      }
      written(key, isDone: true)
    }
    found.recordedAt = now
    found.writing = writing
    series[key] = found
    return .first(writing)
  }

  /// The first one's record is on the disk, or can't be written.
  private func written(_ key: Key, isDone: Bool) {
    series.withLock { series in
      guard var found = series[key] else { return }
      found.writing = nil
      found.recordedAt = Clock.monotonic()
      if isDone { found.isLate = false }
      series[key] = isDone || found.repeated > 0 ? found : nil
    }
  }

  private static func others(_ fields: [String: JSONValue]) -> [String: JSONValue] {
    var made = fields.filter { ["event", "verb", "allowed", "limit", "scope"].contains($0.key) }
    made["others"] = true
    return made
  }

  /// Puts on record what is counted, at each window's end until nothing is left.
  private func schedule(_ key: Key) {
    Task { [weak self, window] in
      repeat { try? await Task.sleep(for: window) } while await self?.settle(key) == false
    }
  }

  /// True when nothing is counted any more. What can't be written now stays counted.
  @discardableResult
  private func settle(_ key: Key) async -> Bool {
    let due = series.withLock { series -> (count: Int, fields: [String: JSONValue])? in
      guard var found = series[key], found.writing == nil, found.repeated > found.settling else { return nil }
      let count = found.repeated - found.settling
      found.settling = found.repeated
      series[key] = found
      return (count, found.fields)
    }
    guard let due else {
      return series.withLock { series in
        if series[key]?.repeated ?? 0 > 0 { return false }
        series[key]?.isScheduled = false
        return true
      }
    }
    var fields = due.fields
    fields["repeated"] = .integer(Int64(due.count))
    let isDone = (try? await audit(key.kind, key.actor, fields)) != nil
    return series.withLock { series in
      guard var found = series[key] else { return true }
      found.settling -= due.count
      if isDone { found.repeated -= due.count }
      found.isLate = !isDone
      if found.repeated == 0, found.writing == nil {
        series[key] = nil
        return true
      }
      series[key] = found
      return false
    }
  }

  /// Puts on record what is only counted yet: the agent ends.
  func flush() async { for key in series.withLock({ Array($0.keys) }) { await settle(key) } }
}
