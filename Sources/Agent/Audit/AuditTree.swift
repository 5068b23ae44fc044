import Storage
import Synchronization
import Trust

/// The Merkle tree over the log: its hooks into the log's commits, and what it found on opening.
final class AuditTree: Sendable {
  private struct State {
    /// Over what is durable.
    var durable = MerkleFrontier()
    /// The same with the batch that is being committed, or the records read so far while opening.
    var staged = MerkleFrontier()
    var reader: HashReader?
    /// The tree before the first record whose stored hashes are missing or others.
    var beforeMismatch: MerkleFrontier?
    /// Signed heads, by size, that the log must still agree with.
    var expected: [UInt64: Digest]
    var disagrees = false
  }

  let hashes: HashFile
  private let state: Mutex<State>

  init(hashes: HashFile, heads: [Checkpoint]) throws(AuditTampered) {
    self.hashes = hashes
    var expected: [UInt64: Digest] = [0: Merkle.emptyRoot]
    for head in heads {
      if let other = expected[head.size], other != head.root {
        throw AuditTampered(index: nil, reason: "two signed heads of \(head.size) entries differ")
      }
      expected[head.size] = head.root
    }
    state = Mutex(State(reader: HashReader(hashes), expected: expected))
  }

  var frontier: MerkleFrontier { state.withLock(\.durable) }

  /// The first entry that is suspect, on opening: whose stored hashes are not those of its record, or the one at which
  /// reading ended.
  var firstSuspect: UInt64 { state.withLock { ($0.beforeMismatch ?? $0.staged).size } }

  /// What hangs in the record log.
  var hooks: RecordLog.Hooks {
    RecordLog.Hooks(
      onOpen: { try self.found($0) }, write: { try self.write($0) },
      rollback: { _ in self.state.withLock { $0.staged = $0.durable } },
      committed: { _ in self.state.withLock { $0.durable = $0.staged } })
  }

  private func found(_ entry: RecordLog.Entry) throws {
    try state.withLock { state in
      let before = state.staged
      let stored = state.staged.append(Merkle.leafHash(entry.record))
      if state.beforeMismatch == nil, try state.reader?.matches(stored) != true { state.beforeMismatch = before }
      if let root = state.expected[state.staged.size], root != state.staged.root { state.disagrees = true }
    }
  }

  private func write(_ entries: [RecordLog.Entry]) throws {
    try state.withLock { state in
      state.staged = state.durable
      let first = Merkle.storedHashCount(treeSize: state.staged.size)
      let added = entries.flatMap { state.staged.append(Merkle.leafHash($0.record)) }
      try hashes.write(added, at: first)
    }
  }

  /// Throws when the records don't agree with a signed head; otherwise mends the stored hashes from the records.
  /// Gives the entry from which they were mended.
  func settle(_ log: RecordLog) throws -> UInt64? {
    let (disagrees, before, size) = state.withLock { state in
      state.reader = nil
      return (state.disagrees, state.beforeMismatch, state.durable.size)
    }
    if disagrees {
      throw AuditTampered(index: before?.size, reason: "its records are not those that the device signed")
    }
    if var frontier = before {
      var batch: [Digest] = []
      var at = Merkle.storedHashCount(treeSize: frontier.size)
      try log.scan(from: frontier.size) { entry in
        batch += frontier.append(Merkle.leafHash(entry.record))
        if batch.count >= 4096 {
          try hashes.write(batch, at: at)
          at += UInt64(batch.count)
          batch = []
        }
        return true
      }
      try hashes.write(batch, at: at)
    }
    try hashes.truncate(to: Merkle.storedHashCount(treeSize: size))
    return before?.size
  }
}
