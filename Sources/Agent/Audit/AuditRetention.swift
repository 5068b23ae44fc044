import Fleet
import Host
import Trust

/// For how long audit records are kept. They go a tile at a time, so that some stay longer.
public struct AuditRetention: Sendable, Hashable {
  /// As configured; what is less than `RetentionException.floor` counts only as far as the fleet makes an exception.
  public var days = 400
  /// How much room there is for prompts and answers that roles ask to keep, in MiB.
  public var contentMiB = 1024

  public init() {}

  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["retentionDays", "contentMiB"])
    if let room = members["contentMiB"] { contentMiB = try room.integer(0...1_048_576) }
    if let days = members["retentionDays"] { self.days = try days.integer(1...36_500) }
  }

  var effective: JSONValue { ["retentionDays": .integer(Int64(days)), "contentMiB": .integer(Int64(contentMiB))] }

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
    _ retention: AuditRetention, at now: Int64, running: AuditMarks.Running? = nil, digester: PromptDigester? = nil
  ) async throws -> UInt64 {
    if let digester { try await destroyKeys(of: digester, retention, at: now) }
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

  /// Destroys the keys of prompts' digests whose month has had its time. What they were made of can't be tested any more.
  private func destroyKeys(of digester: PromptDigester, _ retention: AuditRetention, at now: Int64) async throws {
    let names = try await offPool { try digester.over(days: retention.days, at: now) }
    guard !names.isEmpty else { return }
    let fields: [String: JSONValue] = [
      "event": "keysDestroyed", "keys": .array(names.map { .string($0) }), "days": .integer(Int64(retention.days)),
    ]
    try await append(AuditEvent(kind: .audit, actor: "system", fields: fields))
    try await offPool { try digester.destroy(names) }
  }

  /// Looks once an hour until it is cancelled.
  func expire(_ keeper: RetentionKeeper, digester: PromptDigester, content: ContentDesk) async {
    let clock = keeper.clock
    if keeper.settings.days < RetentionException.floor {
      Log.shared.notice(
        "audit records are kept for \(RetentionException.floor) days unless the fleet lets this box keep them for less",
        ["audit.retentionDays": "\(keeper.settings.days)"])
    }
    while !Task.isCancelled {
      do { try await content.expire(at: clock.now()) } catch {
        Log.shared.warning("kept content could not be let go; it is tried again", ["reason": "\(error)"])
      }
      if let now = clock.retentionTime() {
        do { try await expire(keeper.current(), at: now, running: .now(), digester: digester) } catch {
          Log.shared.warning("old audit records could not be pruned; it is tried again", ["reason": "\(error)"])
        }
      }
      try? await Task.sleep(for: .seconds(3600))
    }
  }
}
