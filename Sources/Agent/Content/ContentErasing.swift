import Fleet
import Host
import Trust

/// Looking at what is kept, and letting it go: each is on record before it happens.
struct ContentDesk: Sendable {
  let keeper: ContentKeeper
  let log: AuditLog
  let audit: AuditWriter

  /// What is kept of one inference, by the number of its record.
  struct Found: Sendable {
    let record: JSONValue
    /// Nil: nothing is there any more.
    let prompt: JSONValue?
    let answer: JSONValue?
  }

  /// Whose content goes.
  enum Which: Sendable, Hashable {
    /// Kept before this time, in Unix seconds.
    case before(Int64)
    /// That of one record, by its number.
    case record(UInt64)
    /// That of everything that somebody asked, as in a search.
    case subject(String)
  }

  /// Nil when the log has no such record, or one that tells of no content. Throws `StorageError`.
  func find(_ index: UInt64) async throws -> Found? {
    let (log, keeper) = (log, keeper)
    return try await offPool {
      guard let (record, place) = try ContentDesk.place(of: index, log) else { return nil }
      func part(_ part: ContentKeeper.Part, _ member: String) throws -> JSONValue? {
        guard let digest = record[member]?.string.flatMap({ Digest(hex: $0) }),
          let bytes = try keeper.read(place, part, digest: digest)
        else { return nil }
        return try JSONValue(parsing: bytes)
      }
      return Found(
        record: record, prompt: try part(.prompt, "contentPrompt"), answer: try part(.answer, "contentAnswer"))
    }
  }

  /// Erases content, and says of how many inferences. Throws `StorageError`, and what the audit log throws; then nothing
  /// was erased, or what was is on record.
  func erase(_ which: Which, by actor: String) async throws -> Int {
    let (log, keeper) = (log, keeper)
    let places = try await offPool { try ContentDesk.places(which, log, keeper) }
    guard !places.isEmpty else { return 0 }
    var fields: [String: JSONValue] = ["event": "erased", "count": .integer(Int64(places.count))]
    switch which {
    case .before(let time): fields["before"] = .integer(time)
    case .record(let index): fields["record"] = .integer(Int64(clamping: index))
    case .subject(let subject): fields["subject"] = .string(subject)
    }
    try await audit(.content, actor, fields)
    try await offPool { try keeper.erase(places) }
    return places.count
  }

  /// Lets go of the content whose day has come. Throws as `erase`.
  func expire(at now: Int64) async throws {
    let keeper = keeper
    let names = try await offPool { try keeper.over(at: now) }
    guard !names.isEmpty else { return }
    try await audit(.content, "system", ["event": "expired", "keys": .array(names.map { .string($0) })])
    try await offPool { try keeper.destroy(names) }
  }

  private static func place(of index: UInt64, _ log: AuditLog) throws -> (JSONValue, ContentKeeper.Place)? {
    guard index >= log.first, index < log.head().size, let record = try log.entries(from: index, limit: 1).first,
      record["n"]?.integer == Int64(exactly: index),
      let place = record["content"]?.string.flatMap({ ContentKeeper.Place($0) })
    else { return nil }
    return (record, place)
  }

  private static func places(_ which: Which, _ log: AuditLog, _ keeper: ContentKeeper) throws -> [ContentKeeper.Place] {
    switch which {
    case .before(let time): return try keeper.places().filter { ($0.time ?? 0) < time }
    case .record(let index): return [try place(of: index, log)?.1].compactMap(\.self).filter(keeper.isThere)
    case .subject(let subject):
      var found: [ContentKeeper.Place] = []
      var end = UInt64.max
      // What is kept is on record as such before anything is asked of an engine.
      let selection = AuditSelection(subject: subject, kind: AuditKind.content.rawValue)
      while true {
        let page = try log.search(selection, count: 1000, before: end)
        found += page.compactMap { $0["content"]?.string.flatMap { ContentKeeper.Place($0) } }.filter(keeper.isThere)
        guard page.count == 1000, let last = page.last?["n"]?.integer.flatMap({ UInt64(exactly: $0) }) else { break }
        end = last
      }
      return found
    }
  }
}

extension ContentKeeper {
  /// Keeps a prompt, and puts on record that it is kept, before an engine sees it. Throws `AccessFailure.auditUnavailable`
  /// when either can't be done.
  func keep(
    _ prompt: [UInt8], days: Int, of actor: String, model: EngineModel, audit: AuditWriter
  ) async throws(AccessFailure) -> KeptContent {
    do {
      let kept = try await offPool { try self.keep(prompt, days: days) }
      do {
        try await audit(
          .content, actor,
          [
            "event": "kept", "content": .string(kept.place.description), "contentPrompt": .string(kept.prompt.hex),
            "model": .string(model.name), "days": .integer(Int64(days)),
          ])
      } catch {
        try? await offPool { try self.erase([kept.place]) }
        throw error
      }
      return kept
    } catch { throw .auditUnavailable("\(error)") }
  }
}
