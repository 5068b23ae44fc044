public import Access
import Host
import Trust

/// Callers that nobody knows, counted so that they can't fill the audit log: one record a second at most, with how
/// many came since the last.
struct StrangerCount: Sendable {
  private var lastRecord: Duration?
  private var unrecorded = 0

  /// How many to record now; nil: none yet.
  mutating func note(at time: Duration) -> Int? {
    unrecorded += 1
    if let lastRecord, time - lastRecord < .seconds(1) { return nil }
    lastRecord = time
    defer { unrecorded = 0 }
    return unrecorded
  }
}

extension AccessControl {
  /// The caller behind the Unix socket, as the kernel names it. Throws nothing: a user without any role is denied by
  /// the decision.
  public func localCaller(uid: UInt32, gid: UInt32) -> Caller {
    let time = Clock.monotonic()
    let known = state.withLock { state in
      state.accounts[uid].flatMap { $0.gid == gid && time - $0.readAt < AccessControl.accountLifetime ? $0 : nil }
    }
    if let known { return known.caller }
    let groups = Users.groups(uid, gid).map { (gid: $0, name: Users.groupName($0)) }
    let caller = Caller.local(uid: uid, name: Users.name(uid), groups: groups)
    state.withLock { state in
      if state.accounts.count >= 1024 { state.accounts = [:] }
      state.accounts[uid] = Account(caller: caller, gid: gid, readAt: time)
    }
    return caller
  }

  /// The caller behind an `Authorization` header. Throws `AccessFailure.unknownCaller`.
  public func tokenCaller(
    authorization: String?, from address: NetworkAddress? = nil
  ) async throws(AccessFailure) -> Caller {
    do {
      let text = try AccessControl.bearer(authorization)
      // A Skerry token has no dot, and a JWT has two (RFC 7515 §7.1).
      if text.contains("."), let identities = identities.value {
        return try await identities.caller(text, from: address)
      }
      let record = try lookUp(text)
      return .token(record.name, scope: record.scope, from: address)
    } catch {
      if let count = state.withLock({ $0.strangers.note(at: Clock.monotonic()) }) {
        try await record(
          .decision, "unknown",
          ["allowed": false, "reason": .string(error.description), "count": .integer(Int64(count))])
      }
      throw error
    }
  }

  private static func bearer(_ authorization: String?) throws(AccessFailure) -> String {
    guard let authorization else {
      throw .unknownCaller("this address wants a token: send \"Authorization: Bearer skt_...\"")
    }
    let parts = authorization.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else {
      throw .unknownCaller("the Authorization header is no \"Bearer skt_...\"")
    }
    return String(parts[1])
  }

  private func lookUp(_ text: String) throws(AccessFailure) -> TokenRecord {
    guard let token = BearerToken(parsing: text) else {
      throw .unknownCaller("this is no whole Skerry token; it may be cut or mistyped")
    }
    let time = now()
    let digest = token.digest
    guard let record = state.withLock({ $0.tokens[digest] }) else {
      throw .unknownCaller("nobody knows this token; it may have been revoked")
    }
    if record.ended != nil || record.expires.map({ $0 <= time }) == true {
      // On disk soon, so that a clock that is set back after this does not bring it back.
      if record.ended == nil { Task { await endTokens() } }
      throw .unknownCaller("the token \"\(record.name)\" has expired; create another with: skerry token create")
    }
    note(digest, at: time)
    return record
  }

  /// Remembers the last use, on disk at most once a minute; a lost minute is no harm.
  private func note(_ digest: Digest, at time: Int64) {
    let isDue = state.withLock { state in
      state.tokens[digest]?.lastUse = time
      if let last = state.noted[digest], time - last < 60, time >= last { return false }
      state.noted[digest] = time
      return true
    }
    guard isDue else { return }
    let database = database
    Task { try? await database.write { try AccessTable.setLastUse(digest, time, $0) } }
  }
}
