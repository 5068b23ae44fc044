import Host
import Trust

/// For how long audit records are kept. They go a tile at a time, so that some stay longer.
public struct AuditRetention: Sendable, Hashable {
  /// No box keeps them for less, in days.
  public static let shortest = 180
  public var days = 400

  public init() {}

  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["retentionDays"])
    if let days = members["retentionDays"] { self.days = try days.integer(AuditRetention.shortest...36_500) }
  }

  var effective: JSONValue { ["retentionDays": .integer(Int64(days))] }

  /// Whether a record has had its time: `t` in Unix milliseconds, `now` in Unix seconds.
  func isOver(_ t: Int64, at now: Int64) -> Bool { t / 1000 < now - Int64(days) * 86_400 }
}

extension TrustedClock {
  /// The time by which audit records grow old: what was signed and has passed since, so that a clock that is set ahead takes
  /// no record away. Without a signed statement the wall clock's; nil while that is not believed.
  func retentionTime() -> Int64? {
    let account = account()
    if account.source != nil { return account.judgement.floor }
    return account.judgement.doubt == nil ? account.judgement.wall : nil
  }
}

extension AuditLog {
  /// Lets go of the records that have had their time, by their own word and by the marks, as far as a head covers them. Gives
  /// the first that is left.
  @discardableResult
  func expire(
    _ retention: AuditRetention, at now: Int64, running: AuditMarks.Running? = nil
  ) async throws -> UInt64 {
    let log = log
    let old = try await offPool { try self.mark(retention, at: now, running) }
    let young = try await offPool {
      var young = log.first
      try log.scan(from: young) { entry in
        // A record that can't be read is kept.
        guard entry.index < old, let t = try? JSONValue(parsing: entry.record)["t"]?.integer,
          retention.isOver(t, at: now)
        else {
          return false
        }
        young = entry.index + 1
        return true
      }
      return young
    }
    let until = min(young, prunable) / Merkle.tileWidth * Merkle.tileWidth
    try await prune(before: until, why: ["days": .integer(Int64(retention.days))])
    return first
  }

  /// Notes what is there now. Gives how many entries were there before the time that they are kept for.
  private func mark(_ retention: AuditRetention, at now: Int64, _ running: AuditMarks.Running?) throws -> UInt64 {
    let (path, seconds) = (log.path + ".marks", Int64(retention.days) * 86_400)
    let kept = try AuditMarks.load(path)
    var marks = kept
    marks.forget(before: first)
    marks.see(size: head().size, at: now, running: running, keeping: seconds)
    if marks != kept { try marks.save(path) }
    return marks.size(before: now - seconds)
  }

  /// Looks once an hour until it is cancelled.
  func expire(_ retention: AuditRetention, by clock: TrustedClock) async {
    while !Task.isCancelled {
      if let now = clock.retentionTime() {
        do { try await expire(retention, at: now, running: .now()) } catch {
          Log.shared.warning("old audit records could not be pruned; it is tried again", ["reason": "\(error)"])
        }
      }
      try? await Task.sleep(for: .seconds(3600))
    }
  }
}
