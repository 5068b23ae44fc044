import Access
import Host
import Storage
import Synchronization
import Trust

/// What was used, by day, caller, role, model and digest, as the audit log has it: the log is read on from where it was
/// read to, and sums and position are written in one transaction. So the sums are those of the log, also after a crash,
/// and no request waits for them.
final class UsageLedger: Sendable {
  /// Records that are read at a time.
  private static let page = 512
  /// How long what was used may be in the log alone.
  private static let delay = Duration.seconds(10)

  private struct State {
    var cursor: UInt64
    var isScheduled = false
    var isClosed = false
    var prunedOn: Int64 = 0
  }

  private let database: Database
  private let log: AuditLog
  private let keepDays: Int64
  private let now: @Sendable () -> Int64
  private let boot = Clock.bootID()
  /// Hours of daily limits are counted by it.
  let time: LastingTime
  /// Records before this one were written by an earlier run.
  private let firstOfRun: UInt64
  private let state: Mutex<State>
  private let turns = SerialGate()

  /// - Parameters:
  ///   - keepDays: for how long days are kept.
  ///   - now: Unix seconds, as they are believed.
  ///
  /// Throws `StorageError`, and `AuditTampered` when the log is shorter than what was read of it.
  init(database: Database, log: AuditLog, keepDays: Int, now: @escaping @Sendable () -> Int64) async throws {
    let kept = try await database.read { try UsageTable.state($0) }
    let size = log.head().size
    time = LastingTime(
      resuming: kept?.mark, boot: boot, monotonic: Clock.monotonic() / .seconds(1), unix: now())
    var cursor = kept?.cursor ?? 0
    if let kept, cursor > size {
      guard size == 0 else {
        throw AuditTampered(index: size, reason: "it has \(size) entries, and \(cursor) were read before")
      }
      // It was begun anew, and has other records at the same places.
      cursor = 0
      try await database.write { try UsageTable.setState(0, kept.mark, $0) }
    }
    state = Mutex(State(cursor: cursor))
    firstOfRun = size
    self.database = database
    self.log = log
    self.keepDays = Int64(keepDays)
    self.now = now
  }

  var cursor: UInt64 { state.withLock(\.cursor) }

  /// Whether reading on takes long.
  var isFarBehind: Bool { log.head().size - min(cursor, log.head().size) > 20_000 }

  /// The clocks' readings for limits.
  func reading() -> Limiter.Now {
    let seconds = Clock.monotonic() / .seconds(1)
    return Limiter.Now(seconds: seconds, lasting: time.at(seconds))
  }

  /// What counts against daily limits.
  func hours() async throws -> [(scope: Limiter.Scope, hour: Int64, tokens: Int)] {
    try await database.read { try UsageTable.hours($0) }.map { hour, tokens in
      (hour.scope == "role" ? .role(hour.name) : .caller(hour.name), hour.hour, Int(tokens))
    }
  }

  /// Something was used: reads on in a while.
  func kick() {
    let isDue = state.withLock { state in
      if state.isScheduled || state.isClosed { return false }
      state.isScheduled = true
      return true
    }
    guard isDue else { return }
    Task { [weak self] in
      try? await Task.sleep(for: UsageLedger.delay)
      guard let self else { return }
      self.state.withLock { $0.isScheduled = false }
      do { try await self.catchUp() } catch {
        Log.shared.warning("what was used could not be added up; it is tried again", ["reason": "\(error)"])
      }
    }
  }

  /// Reads the log to its end. Throws `StorageError`; then what was read before is kept.
  func catchUp() async throws { try await turns.run { while try await readOn() {} } }

  /// Reads on for the last time.
  func close() async {
    state.withLock { $0.isClosed = true }
    do { try await catchUp() } catch {
      Log.shared.warning("what was used is added up at the next start", ["reason": "\(error)"])
    }
  }

  /// Reads a page. False when there is no more.
  private func readOn() async throws -> Bool {
    let from = cursor
    let end = log.head().size
    let log = log
    guard from < end else { return false }
    let records = try await offPool { try log.entries(from: from, limit: UsageLedger.page) }
    guard !records.isEmpty else { return false }
    let (seconds, unix) = (Clock.monotonic() / .seconds(1), now())
    let hour = Int64(time.at(seconds) / 3600)
    var sums: [UsageRow.Key: UsageRow.Sums] = [:]
    var hours: [UsageTable.Hour: Int64] = [:]
    for (offset, record) in records.enumerated() {
      guard let key = UsageRow.Key(record: record) else { continue }
      let used = UsageRow.Sums(record: record)
      sums[key, default: UsageRow.Sums()] += used
      guard let age = age(record, isOfThisRun: from + UInt64(offset) >= firstOfRun, unix: unix) else { continue }
      let tokens = used.promptTokens + used.completionTokens
      hours[UsageTable.Hour(scope: "caller", name: key.caller, hour: hour - age), default: 0] += tokens
      if !key.role.isEmpty {
        hours[UsageTable.Hour(scope: "role", name: key.role, hour: hour - age), default: 0] += tokens
      }
    }
    let next = from + UInt64(records.count)
    let mark = time.mark(boot: boot, monotonic: seconds, unix: unix)
    let today = unix / 86_400
    let isPruneDue = state.withLock { $0.prunedOn != today }
    try await database.write { [sums, hours, keepDays] connection in
      for (key, used) in sums { try UsageTable.add(key, used, connection) }
      for (hour, tokens) in hours { try UsageTable.add(hour, tokens: tokens, connection) }
      try UsageTable.setState(next, mark, connection)
      if isPruneDue {
        try UsageTable.prune(daysBefore: today - keepDays, hoursBefore: hour - DayWindow.reach - 1, connection)
      }
    }
    state.withLock { state in
      state.cursor = next
      state.prunedOn = today
    }
    return next < end
  }

  /// How many hours ago it was used; nil when it no longer counts. What this run wrote was written just now; of what an
  /// earlier one wrote before it ended, its time tells.
  private func age(_ record: JSONValue, isOfThisRun: Bool, unix: Int64) -> Int64? {
    if isOfThisRun { return 0 }
    let hours = max(0, unix - (record["t"]?.integer ?? 0) / 1000) / 3600
    return hours <= DayWindow.reach ? hours : nil
  }

  /// Sums over days, to the log's very end.
  func sums(
    since: Int64, until: Int64, by columns: [UsageColumn], caller: String?, limit: Int = 10_000
  ) async throws -> [(group: [String], sums: UsageRow.Sums)] {
    try await catchUp()
    return try await database.read {
      try UsageTable.sums(since: since, until: until, by: columns, caller: caller, limit: limit, $0)
    }
  }
}
