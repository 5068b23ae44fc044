import Fleet
import Host
import Synchronization
import Web

/// What a box may fetch now, and how fast: the one gate that everything from the hub passes.
///
/// The month's account is on disk ahead of what it counts, by a lease: a kill makes it a little too high, never too low.
final class TransferGate: Sendable {
  /// The clocks, as one reading.
  struct Reading: Sendable {
    /// Minute of the day and months since year 0, by the box's time zone.
    var minute: Int
    var month: Int
    /// Seconds that never go back.
    var running: Double

    static func system(_ clock: TrustedClock) -> Reading {
      let local = LocalTime(unix: clock.now())
      return Reading(minute: local.minuteOfDay, month: local.month, running: seconds(Clock.monotonic()))
    }
  }

  private struct State {
    var bucket: TokenBucket?
    var month: TransferMonth
    /// What the disk says was used.
    var leased: UInt64
    var looked: Double
    /// For how long it has been quiet without a break.
    var quietFor = 0.0
    var isOverridden = false
    /// What was asked for when it was held back last; 1 when nothing is.
    var held: UInt64 = 1
  }

  let rules: TransferRules
  private let tables: SyncTables
  private let read: @Sendable () -> Reading
  private let state: Mutex<State>

  private static let key = "transferMonth"
  private static let quietKey = "quietFor"
  /// Bytes that the account on disk is ahead by.
  private static let lease: UInt64 = 4 << 20

  /// Reads the account that the last run left. Throws `StorageError`.
  init(rules: TransferRules, tables: SyncTables, read: @escaping @Sendable () -> Reading) async throws {
    self.rules = rules
    self.tables = tables
    self.read = read
    let now = read()
    var month =
      try await tables.value(TransferGate.key).flatMap { TransferMonth($0) } ?? TransferMonth(month: now.month)
    let leased = month.used
    month.advance(to: now.month, after: 0)
    var made = State(
      bucket: rules.bytesPerSecond.map { TokenBucket(rate: Double($0), at: seconds(Clock.monotonic())) }, month: month,
      leased: month.used == leased ? leased : 0, looked: now.running)
    made.quietFor = try await tables.value(TransferGate.quietKey).flatMap { Double($0) } ?? 0
    state = Mutex(made)
  }

  // MARK: before and while bytes come

  /// Asks for `expected` bytes of an index, a chunk or a file. Throws `TransferHold` when they must wait, and what the
  /// disk throws when the account can't be kept.
  func admit(_ expected: Int) async throws {
    let now = read()
    let (hold, due) = state.withLock { state -> (TransferHold?, (account: String, quiet: Double)?) in
      look(now, &state)
      let hold =
        state.isOverridden
        ? nil
        : rules.hold(UInt64(expected), minute: now.minute, quietFor: state.quietFor, month: state.month)
      // What is quiet for long is on disk now and then, so that a box that restarts often is not held for ever.
      state.held = hold == nil ? 1 : UInt64(expected)
      guard hold == nil else { return (hold, (state.month.text, state.quietFor)) }
      guard state.month.used + UInt64(expected) > state.leased else { return (nil, nil) }
      var ahead = state.month
      ahead.used += UInt64(expected) + TransferGate.lease
      state.leased = ahead.used
      return (nil, (ahead.text, state.quietFor))
    }
    if let due {
      if hold == nil {
        do {
          try await tables.setValue(TransferGate.key, due.account)
        } catch {
          state.withLock { $0.leased = 0 }
          throw error
        }
      }
      try await tables.setValue(TransferGate.quietKey, due.quiet == 0 ? nil : String(Int64(due.quiet)))
    }
    if let hold { throw hold }
  }

  /// The pace of answers; what it lets through is counted.
  var pace: ClientRequest.Pace {
    // A twentieth of a second's worth at a time is even enough, and no less than a packet.
    let grain = rules.bytesPerSecond.map { max(1024, min(16 << 10, $0 / 20)) } ?? 64 << 10
    return ClientRequest.Pace(grain: grain) { [self] bytes in
      state.withLock { state in
        if let wait = state.bucket?.take(bytes, at: seconds(Clock.monotonic())) { return .seconds(wait) }
        state.month.used += UInt64(bytes)
        return nil
      }
    }
  }

  /// Counts what travels anyway: signed round trips and reports.
  func count(_ bytes: Int) { state.withLock { $0.month.used += UInt64(max(bytes, 0)) } }

  private func look(_ now: Reading, _ state: inout State) {
    let passed = max(0, now.running - state.looked)
    state.looked = now.running
    let before = state.month
    state.month.advance(to: now.month, after: passed)
    // Another month has its own account, which is not on disk yet.
    if state.month.month != before.month || state.month.used < before.used { state.leased = 0 }
    state.quietFor = rules.quiet.isQuiet(now.minute) ? state.quietFor + passed : 0
  }

  // MARK: from outside

  /// Somebody asks for a sync that waits for neither quiet hours nor budget.
  func override(_ isOverridden: Bool) { state.withLock { $0.isOverridden = isOverridden } }

  /// Writes the account as it is, for an orderly end.
  func settle() async {
    let month = state.withLock { state in
      state.leased = state.month.used
      return state.month
    }
    try? await tables.setValue(TransferGate.key, month.text)
  }

  func status() -> TransferStatus {
    let now = read()
    return state.withLock { state in
      look(now, &state)
      return TransferStatus(
        bandwidth: rules.bytesPerSecond, quietUntil: rules.quiet.end(from: now.minute).map(QuietHours.clock),
        month: state.month.name, usedBytes: state.month.used, monthlyBytes: rules.bytesPerMonth,
        waits: rules.hold(state.held, minute: now.minute, quietFor: state.quietFor, month: state.month).map { "\($0)" })
    }
  }
}

private func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }

/// How models may travel now.
public struct TransferStatus: Codable, Hashable, Sendable {
  /// Bytes per second; nil: as fast as the line.
  public var bandwidth: Int?
  /// `06:00`; nil: it is not quiet.
  public var quietUntil: String?
  /// `2027-03`.
  public var month: String
  /// What has travelled this month.
  public var usedBytes: UInt64
  /// Nil: no limit.
  public var monthlyBytes: UInt64?
  /// Why models would wait now.
  public var waits: String?
}
