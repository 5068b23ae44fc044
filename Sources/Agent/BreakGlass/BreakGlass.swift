public import Access
import Fleet
import Host
import Storage
import Synchronization
import Trust

/// Opens a door in an emergency: whoever holds the sealed codes that the hub issued for this box beforehand gets a role for
/// a short time, with a reason, by two persons where the grant asks for them.
///
/// The order is what makes it safe: the record is durable, then the code is used up and the hub's message waits on disk,
/// in one transaction, and only then the role is lent, in memory. Roles are never handed out by what is lent.
public final class BreakGlass: Sendable {
  /// How it came out.
  public enum Outcome: Sendable, Hashable {
    /// The second person's code is awaited, for so many seconds.
    case waiting(BreakGlassGrant, seconds: Int64)
    case open(BreakGlassGrant, seconds: Int64)
  }

  /// What `skerry break-glass status` shows of one grant.
  public struct Standing: Sendable, Hashable {
    public enum State: String, Sendable { case ready, waiting, open, used, expired }
    public let grant: BreakGlassGrant
    public let state: State
  }

  struct First: Sendable {
    let uid: UInt32
    let label: String
    let code: Digest
    let reason: String
    let until: Duration
  }

  /// How long the first of two persons waits for the second.
  static let patience: Int64 = 600

  private let access: AccessControl
  private let database: Database
  /// What the director's trusted statement for this box lets it open.
  private let grants: @Sendable () async -> [BreakGlassGrant]
  private let maxSeconds: Int64
  private let now: @Sendable () -> Int64
  private let waiting = Mutex<[String: First]>([:])
  private let turns = SerialGate()

  init(
    access: AccessControl, database: Database, maxSeconds: Int, now: @escaping @Sendable () -> Int64,
    grants: @escaping @Sendable () async -> [BreakGlassGrant]
  ) {
    self.access = access
    self.database = database
    self.maxSeconds = Int64(maxSeconds)
    self.now = now
    self.grants = grants
  }

  /// Gives one person's code. Throws `BreakGlassFailure`, `AccessFailure`, `StorageError`; then nothing is
  /// open that was not, and the code is as good as it was.
  public func open(_ text: String, reason: String, caller: Caller, uid: UInt32?) async throws -> Outcome {
    try await turns.run { try await openAlone(text, reason, caller, uid) }
  }

  private func openAlone(_ text: String, _ reason: String, _ caller: Caller, _ uid: UInt32?) async throws -> Outcome {
    do {
      guard maxSeconds > 0 else { throw BreakGlassFailure.off }
      guard let uid else { throw BreakGlassFailure.notLocal }
      let reason = try BreakGlass.checked(reason)
      guard let code = BreakGlassCode(parsing: text)?.digest else { throw BreakGlassFailure.noCode }
      guard let grant = await grants().first(where: { $0.codes.contains(code) }) else {
        throw BreakGlassFailure.unknownCode
      }
      guard try await uses()[grant.id] == nil else { throw BreakGlassFailure.used(id: grant.id) }
      guard now() < grant.expires else { throw BreakGlassFailure.expired(id: grant.id) }
      let person = First(
        uid: uid, label: caller.label, code: code, reason: reason,
        until: access.monotonic() + .seconds(BreakGlass.patience))
      if grant.codes.count == 1 { return try await open(grant, by: [person], caller) }
      return try await second(grant, person, caller)
    } catch let failure as BreakGlassFailure {
      // Guessing is on record, and can't fill the log.
      try await access.repetitions.record(
        .breakGlass, caller.label, "refused \(failure)",
        ["event": "refused", "reason": .string(failure.description)])
      throw failure
    }
  }

  private func second(_ grant: BreakGlassGrant, _ person: First, _ caller: Caller) async throws -> Outcome {
    let time = access.monotonic()
    let first = waiting.withLock { waiting in
      waiting = waiting.filter { $0.value.until > time }
      return waiting[grant.id]
    }
    if let first {
      guard first.code != person.code else { throw BreakGlassFailure.sameCode(id: grant.id) }
      guard first.uid != person.uid else { throw BreakGlassFailure.samePerson(id: grant.id) }
      do {
        let outcome = try await open(grant, by: [first, person], caller)
        waiting.withLock { $0[grant.id] = nil }
        return outcome
      } catch let failure as BreakGlassFailure {
        // It can't be lent to the first one any more; another may begin.
        waiting.withLock { $0[grant.id] = nil }
        throw failure
      }
    }
    _ = try lendable(grant, to: person)
    try await access.record(
      .breakGlass, caller.label,
      ["event": "first", "id": .string(grant.id), "role": .string(grant.role), "why": .string(person.reason)])
    waiting.withLock { $0[grant.id] = person }
    return .waiting(grant, seconds: BreakGlass.patience)
  }

  /// What would be lent. Throws `BreakGlassFailure.cannotLend` when it can't be.
  private func lendable(_ grant: BreakGlassGrant, to borrower: First) throws(BreakGlassFailure) -> Binding {
    let binding = Binding(role: grant.role, subject: Subject.user(borrower.uid).description)
    do { try access.checkLoan(binding) } catch { throw .cannotLend(id: grant.id, reason: "\(error)") }
    return binding
  }

  /// The role goes to the first person; the second only agrees. No policy changes meanwhile, so that what can be lent when
  /// it begins can be when the code is used up.
  private func open(_ grant: BreakGlassGrant, by persons: [First], _ caller: Caller) async throws -> Outcome {
    try await access.changes.run { try await openNow(grant, by: persons, caller) }
  }

  private func openNow(_ grant: BreakGlassGrant, by persons: [First], _ caller: Caller) async throws -> Outcome {
    let borrower = persons[0]
    let binding = try lendable(grant, to: borrower)
    let seconds = min(grant.seconds, maxSeconds)
    let names = persons.map(\.label)
    let reason = persons.map(\.reason).joined(separator: " / ")
    try await access.record(
      .breakGlass, caller.label,
      [
        "event": "opened", "id": .string(grant.id), "role": .string(grant.role), "seconds": .integer(seconds),
        "persons": .array(names.map(JSONValue.string)), "why": .string(reason), "issuedBy": .string(grant.issuedBy),
      ])
    let time = now()
    let event = BreakGlassEvent.opened(grant, persons: names, reason: reason, at: time)
    do {
      try await database.write { connection in
        try BreakGlassTable.use(grant.id, at: time, connection)
        try SyncTables.insert(OutboxItem.breakGlass(event, at: time), connection)
      }
    } catch {
      try? await access.record(
        .breakGlass, caller.label,
        ["event": "failed", "id": .string(grant.id), "reason": .string("\(error)".brief)])
      throw error
    }
    access.lend(
      Loan(
        id: grant.id, binding: binding, label: borrower.label, until: access.monotonic() + .seconds(seconds)))
    Log.shared.warning("break-glass opened", ["id": grant.id, "role": grant.role, "for": borrower.label])
    Task { [weak self] in
      try? await Task.sleep(for: .seconds(seconds), clock: .continuous)
      await self?.ended(grant.id, "its time is over")
    }
    return .open(grant, seconds: seconds)
  }

  /// Gives back what is lent to this user, before its time. Throws `BreakGlassFailure.notOpen`.
  public func close(uid: UInt32?, caller: Caller) async throws -> [String] {
    try await turns.run {
      let mine = access.loans.filter { $0.binding.subject == uid.map { Subject.user($0).description } }.map(\.id)
      guard !mine.isEmpty else { throw BreakGlassFailure.notOpen }
      for id in mine { await shut(id, "given back by \(caller.label)") }
      return mine
    }
  }

  /// Every grant that the box knows of.
  public func standings() async throws -> [Standing] {
    let (used, open) = (try await uses(), Set(access.loans.map(\.id)))
    let (time, wait) = (now(), Set(waiting.withLock { $0.keys }))
    return await grants().map { grant in
      let state: Standing.State =
        open.contains(grant.id)
        ? .open
        : used[grant.id] != nil
          ? .used : time >= grant.expires ? .expired : wait.contains(grant.id) ? .waiting : .ready
      return Standing(grant: grant, state: state)
    }
  }

  /// At the start and at the end: no door is open any more, and that goes on record. What can't be put on record now is
  /// at the next start.
  func settle(_ why: String) async {
    for id in access.loans.map(\.id) { access.takeBack(id) }
    guard let used = try? await uses() else { return }
    for id in used.filter({ $0.value == nil }).keys.sorted() { await shut(id, why) }
  }

  private func ended(_ id: String, _ why: String) async { await turns.run { await shut(id, why) } }

  /// The role is gone before anything is written about it.
  private func shut(_ id: String, _ why: String) async {
    access.takeBack(id)
    let time = now()
    do {
      guard let closed = try await uses()[id], closed == nil else { return }
      try await access.record(.breakGlass, "system", ["event": "closed", "id": .string(id), "why": .string(why)])
      try await database.write { connection in
        try BreakGlassTable.close(id, at: time, connection)
        try SyncTables.insert(
          OutboxItem.breakGlass(BreakGlassEvent.closed(id, why: why, at: time), at: time), connection)
      }
    } catch {
      Log.shared.error("the end of a break-glass could not be put on record yet", ["id": id, "reason": "\(error)"])
    }
  }

  /// The used ones, each with when it was closed; nil: not yet.
  private func uses() async throws -> [String: Int64?] { try await database.read { try BreakGlassTable.all($0) } }

  private static func checked(_ reason: String) throws(BreakGlassFailure) -> String {
    var text = Substring(reason)
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    let isPlain = text.unicodeScalars.allSatisfy { scalar in
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
      default: true
      }
    }
    guard (8...500).contains(text.unicodeScalars.count), isPlain else { throw .badReason }
    return String(text)
  }
}

extension OutboxItem {
  /// Before everything else that waits.
  static func breakGlass(_ body: JSONValue, at time: Int64) -> OutboxItem {
    OutboxItem(id: newID(), kind: event, priority: 0, created: time, body: body)
  }
}

/// Which grants were used, in agent.sqlite: a code is good once, through restarts too.
enum BreakGlassTable {
  static let schema = """
    CREATE TABLE break_glass (
      id TEXT NOT NULL PRIMARY KEY,
      used INTEGER NOT NULL,
      closed INTEGER
    ) STRICT, WITHOUT ROWID;
    """

  static func all(_ connection: Connection) throws -> [String: Int64?] {
    var found: [String: Int64?] = [:]
    for row in try connection.query("SELECT id, closed FROM break_glass") {
      found[try row.text("id")] = .some(try row.optionalInteger("closed"))
    }
    return found
  }

  /// Throws when it was used already: the key is the id.
  static func use(_ id: String, at time: Int64, _ connection: Connection) throws {
    try connection.execute("INSERT INTO break_glass (id, used) VALUES (?, ?)", .text(id), .integer(time))
  }

  static func close(_ id: String, at time: Int64, _ connection: Connection) throws {
    try connection.execute("UPDATE break_glass SET closed = ? WHERE id = ?", .integer(time), .text(id))
  }
}
