import Host
import Trust

/// Tokens end once. What the wall clock says later does not bring one back; only the hub's signed time can say that the
/// clock was ahead when it ended.
extension AccessControl {
  /// Marks the tokens that have expired, durably. One that can't be marked now is at the next call.
  func endTokens() async {
    let time = now()
    let due = state.withLock { state in
      let due = state.tokens.values.filter { $0.ended == nil && ($0.expires ?? .max) <= time }.map(\.digest)
      for digest in due { state.tokens[digest]?.ended = time }
      return due
    }
    guard !due.isEmpty else { return }
    do {
      try await database.write { connection in
        for digest in due { try AccessTable.setEnded(digest, time, connection) }
      }
    } catch {
      state.withLock { state in for digest in due { state.tokens[digest]?.ended = nil } }
      Log.shared.error("expired tokens could not be marked", ["reason": "\(error)"])
    }
  }

  /// Takes back the end of tokens that end after this signed time: the clock was ahead when they ended. Throws when that
  /// can't be put on record.
  func reviveTokens(signed: Int64) async throws {
    let time = max(now(), signed + TimeFloor.tolerance)
    let early = state.withLock { state in
      state.tokens.values.filter { $0.ended != nil && ($0.expires ?? .max) > time }
    }
    for token in early {
      try await record(
        .token, "system",
        ["action": "revive", "token": .string(token.name), "reason": "the clock was ahead when it expired"])
      try await database.write { try AccessTable.setEnded(token.digest, nil, $0) }
      state.withLock { $0.tokens[token.digest]?.ended = nil }
    }
  }
}
