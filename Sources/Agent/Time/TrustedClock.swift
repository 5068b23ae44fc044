import FoundationEssentials
import Host
import Storage
import Synchronization
import Trust

/// What time it is, for every decision of the agent that hangs on one: the expiry of metadata, of tokens, of what is
/// installed. It is the wall clock's time where that can be true, and the signed floor's where it can't (`TimeFloor`).
///
/// Asking costs two readings of the system's clocks. What raised the floor is on disk when `learn` returns; the uptime is
/// written every ten minutes and at the end, so that a power cut costs the floor no more than that.
public final class TrustedClock: Sendable {
  /// The system's clocks at one instant.
  public struct Reading: Sendable, Hashable {
    /// Unix seconds, as the wall clock shows them.
    public var wall: Int64
    /// Seconds since the machine started, sleep included.
    public var monotonic: Int64
    /// Another text after each start of the machine.
    public var boot: String

    public init(wall: Int64, monotonic: Int64, boot: String) {
      self.wall = wall
      self.monotonic = monotonic
      self.boot = boot
    }

    public static func system() -> Reading {
      Reading(
        wall: Clock.unixTime(), monotonic: Clock.monotonic().components.seconds, boot: TrustedClock.bootID)
    }
  }

  private static let bootID = Clock.bootID()
  /// Between writes that only tell of passed time, in seconds.
  private static let saveEvery: Int64 = 600
  private static let limit = 1 << 16

  /// What is on disk.
  private struct Kept: Codable {
    var uptime: Int64
    var monotonic: Int64
    var boot: String
    var floor: TimeFloor
    /// By how much the wall clock was ahead of the time since this start of the machine, as the audit log knows it.
    var lead: Int64?
    /// What the audit log knows, by topic.
    var told: [String: String] = [:]
  }

  private struct State {
    var kept: Kept
    var doubt: ClockDoubt?
    var authorities: [TimeAuthority] = []
    var horizon: Int64 = TimeFloor.horizon([TUFDocument]())
    var savedUptime: Int64
    /// The last statement that was not believed, with why.
    var refused: String?
    /// The hub's answer that waits for the roots by which it is to be judged.
    var reply: Reply?
    /// The time in the hub's last believed answer, until somebody has asked for it.
    var news: Int64?
    /// By how much the wall clock was ahead of the hub's last believed answer.
    var ahead: Int64?
    var watcher: (@Sendable () -> Void)?
  }

  /// An answer of the hub, and what it was an answer to.
  private struct Reply {
    let envelope: DSSEEnvelope
    let nonce: String
    let device: String
    let uptime: Int64
    let wall: Int64
  }

  private let path: String?
  private let read: @Sendable () -> Reading
  private let state: Mutex<State>
  /// One write at a time, so that an older state never comes after a newer.
  private let writing = Mutex(())

  /// Goes on where the last run stopped. A file that can't be read is passed over: the trusted metadata on disk states
  /// the time again, and the next sync does.
  ///
  /// - Parameters:
  ///   - path: where it is kept; nil: nowhere.
  ///   - read: the system's clocks.
  public init(path: String?, read: @escaping @Sendable () -> Reading = Reading.system) {
    self.path = path
    self.read = read
    let reading = read()
    var kept = Kept(uptime: 0, monotonic: reading.monotonic, boot: reading.boot, floor: TimeFloor())
    if let path {
      do {
        if let bytes = try DurableFile.read(path, limit: TrustedClock.limit) {
          let found: Kept = try JSONValue(parsing: bytes).decoded()
          // Nonsense in it must not trap later on.
          if TimeStatement.possible.contains(found.uptime), TimeStatement.possible.contains(found.monotonic) {
            kept = found
          }
        }
      } catch {
        Log.shared.warning("the kept time can't be read and begins anew", ["path": path, "reason": "\(error)"])
      }
    }
    state = Mutex(State(kept: kept, savedUptime: kept.uptime))
  }

  /// A clock that stands still, for tests.
  public static func fixed(_ time: Int64) -> TrustedClock {
    TrustedClock(path: nil) { Reading(wall: time, monotonic: 0, boot: "") }
  }

  // MARK: asking

  /// Unix seconds.
  public func now() -> Int64 { judgement().time }

  /// The time, and whether the wall clock is believed.
  public func judgement() -> ClockJudgement {
    let reading = read()
    let (judged, watcher) = state.withLock { state in
      let judged = TrustedClock.judge(&state, reading)
      let isTold = state.doubt?.rawValue == state.kept.told[Topic.doubt.rawValue]
      return (judged, isTold ? nil : state.watcher)
    }
    watcher?()
    return judged
  }

  /// More than the time, for people.
  public struct Account: Sendable, Hashable {
    public let judgement: ClockJudgement
    /// What the floor stands on; nil before the first statement.
    public let source: TimeStatement?
    /// Why the last statement that came was not believed; nil once a later one was.
    public let refused: String?
    /// By how many seconds the wall clock was ahead when the hub last signed the time; nil before that.
    public let aheadOfHub: Int64?
  }

  public func account() -> Account {
    let judged = judgement()
    return state.withLock {
      Account(
        judgement: judged, source: $0.kept.floor.highest?.statement, refused: $0.refused, aheadOfHub: $0.ahead)
    }
  }

  /// By how many seconds the wall clock went otherwise than the time that passed, since the audit log was last told, and
  /// what it shows now; nil: by none. Being set shows here, and so does drift once it adds up. What was set while the
  /// machine was off does not: `TimeFloor` judges that.
  func step() -> (wall: Int64, seconds: Int64)? {
    let reading = read()
    return state.withLock { state in
      let lead = reading.wall - reading.monotonic
      guard state.kept.boot == reading.boot, let before = state.kept.lead else {
        TrustedClock.count(&state.kept, reading)
        state.kept.lead = lead
        return nil
      }
      // The two are read one after the other, and in whole seconds.
      guard abs(lead - before) > 1 else { return nil }
      return (reading.wall, lead - before)
    }
  }

  /// The audit log knows of this step.
  func told(step seconds: Int64) throws {
    state.withLock { $0.kept.lead = ($0.kept.lead ?? 0) + seconds }
    try save()
  }

  private static func judge(_ state: inout State, _ reading: Reading) -> ClockJudgement {
    count(&state.kept, reading)
    let judged = state.kept.floor.judge(
      wall: reading.wall, uptime: state.kept.uptime, horizon: state.authorities.isEmpty ? nil : state.horizon,
      previous: state.doubt)
    state.doubt = judged.doubt
    return judged
  }

  /// Adds the time that has certainly passed. After another start of the machine that is what it has run since.
  private static func count(_ kept: inout Kept, _ reading: Reading) {
    let isSameBoot = kept.boot == reading.boot
    kept.uptime += max(0, isSameBoot ? reading.monotonic - kept.monotonic : reading.monotonic)
    kept.monotonic = reading.monotonic
    if !isSameBoot { kept.lead = nil }
    kept.boot = reading.boot
  }

  // MARK: whose word counts

  /// Takes over whose word counts by the roots that are trusted now: the statements of keys that they no longer list
  /// fall away and are returned, and the hub's answer that waited is judged. Throws when what raised the floor can't be
  /// written.
  ///
  /// - roots: the image repository's, and the director's where there is one.
  /// - offlineSigned: the newest metadata that was signed offline, roots and targets.
  @discardableResult
  public func settle(roots: [TUFRoot], offlineSigned: [TUFDocument]) throws -> [TimeStatement] {
    let reading = read()
    let (gone, isDue) = state.withLock { state in
      TrustedClock.count(&state.kept, reading)
      state.authorities = roots.map { TimeAuthority($0) }
      state.horizon = TimeFloor.horizon(roots.map(\.document) + offlineSigned)
      let gone = state.kept.floor.forget(allBut: state.authorities)
      return (gone, !gone.isEmpty)
    }
    if isDue { try save() }
    return gone
  }

  /// Takes a statement of trusted metadata. Throws when what raised the floor can't be written.
  @discardableResult
  public func learn(_ statement: TimeStatement) throws -> TimeFloor.Verdict { try learn(statement, at: nil) }

  private func learn(_ statement: TimeStatement, at uptime: Int64?) throws -> TimeFloor.Verdict {
    let reading = read()
    let (verdict, isDue) = state.withLock { state in
      TrustedClock.count(&state.kept, reading)
      let before = state.kept.floor.highest
      let verdict = state.kept.floor.learn(
        statement, uptime: uptime ?? state.kept.uptime, authorities: state.authorities, horizon: state.horizon)
      switch verdict {
      case .raised: state.refused = nil
      case .implausible(let latest):
        state.refused =
          "\(TrustedClock.text(statement.time)) is after \(TrustedClock.text(latest)), the latest that "
          + "what was signed offline makes plausible"
      case .known, .unknownKey: break
      }
      // A minute more than what is on disk is worth a write; less is drift.
      let gain = (state.kept.floor.highest?.offset ?? 0) - (before?.offset ?? 0)
      return (verdict, verdict == .raised && (before == nil || gain >= 60))
    }
    if isDue { try save() }
    return verdict
  }

  static func text(_ time: Int64) -> String { TUFTime.format(Date(timeIntervalSince1970: Double(time))) }

  // MARK: the hub's answer

  /// Keeps the hub's answer to this box's nonce until `answered` judges it. The time that passes meanwhile counts.
  public func hear(_ envelope: DSSEEnvelope, nonce: String, device: String) {
    let reading = read()
    state.withLock { state in
      TrustedClock.count(&state.kept, reading)
      state.reply = Reply(
        envelope: envelope, nonce: nonce, device: device, uptime: state.kept.uptime, wall: reading.wall)
    }
  }

  /// What became of the hub's answer by the roots that are trusted now: nil when there is none, or none that waits. One
  /// that is not believed waits on for a newer root, unless this is the `last` word. Throws `TimeReplyError` for an
  /// answer that is forged or old, and when what raised the floor can't be written.
  @discardableResult
  public func answered(last: Bool = false) throws -> (statement: TimeStatement, verdict: TimeFloor.Verdict)? {
    let (reply, authorities) = state.withLock { state in
      let waiting = state.reply
      if last { state.reply = nil }
      return (waiting, state.authorities)
    }
    guard let reply else { return nil }
    let statement: TimeStatement
    do {
      statement = try TimeReply.statement(
        in: reply.envelope, device: reply.device, nonce: reply.nonce, authorities: authorities)
    } catch TimeReplyError.unknownKey where !last {
      return nil
    } catch {
      state.withLock { $0.reply = nil }
      throw error
    }
    let verdict = try learn(statement, at: reply.uptime)
    switch verdict {
    case .raised, .known:
      state.withLock { state in
        state.reply = nil
        state.news = statement.time
        state.ahead = reply.wall - statement.time
      }
    case .implausible, .unknownKey: break
    }
    return (statement, verdict)
  }

  // MARK: telling

  /// Calls this whenever a judgement differs from what the audit log knows; it must be quick.
  func watch(_ watcher: @escaping @Sendable () -> Void) { state.withLock { $0.watcher = watcher } }

  /// What the audit log is told of once for each change.
  enum Topic: String { case doubt, freshness, policy, retention }

  /// What the audit log knows, through restarts.
  func told(_ topic: Topic) -> String? { state.withLock { $0.kept.told[topic.rawValue] } }

  func setTold(_ topic: Topic, _ word: String?) throws {
    state.withLock { $0.kept.told[topic.rawValue] = word }
    try save()
  }

  /// The time in a believed answer of the hub that came since the last call; nil when none did.
  func takeNews() -> Int64? { state.withLock { $0.news.take() } }

  /// Writes the passed time when enough has passed.
  func saveIfDue() throws {
    _ = judgement()
    let isDue = state.withLock { $0.kept.uptime - $0.savedUptime >= TrustedClock.saveEvery }
    if isDue { try save() }
  }

  /// Writes all that must survive.
  func save() throws {
    guard let path else { return }
    try writing.withLock { _ in
      let kept = state.withLock(\.kept)
      try DurableFile.replace(path, with: try JSONValue(encoding: kept).encoded())
      state.withLock { $0.savedUptime = max($0.savedUptime, kept.uptime) }
    }
  }
}

extension TimeFloor.Entry {
  fileprivate var offset: Int64 { statement.time - uptime }
}
