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
    /// The first record that there is, and the first that a record says is left.
    var first: UInt64 = 0
    var declaredFirst: UInt64 = 0
  }

  let hashes: AuditHashes
  private let state: Mutex<State>

  init(hashes: AuditHashes, heads: [Checkpoint]) throws(AuditTampered) {
    self.hashes = hashes
    var expected: [UInt64: Digest] = [0: Merkle.emptyRoot]
    for head in heads {
      if let other = expected[head.size], other != head.root {
        throw AuditTampered(index: nil, reason: "two signed heads of \(head.size) entries differ")
      }
      expected[head.size] = head.root
    }
    state = Mutex(State(expected: expected))
  }

  var frontier: MerkleFrontier { state.withLock(\.durable) }

  /// The first entry that is suspect, on opening: whose stored hashes are not those of its record, or the one at which
  /// reading ended.
  var firstSuspect: UInt64 { state.withLock { ($0.beforeMismatch ?? $0.staged).size } }

  /// Hangs it into the record log.
  func hooks(incident: @escaping @Sendable (RecordLog.Incident) -> Void) -> RecordLog.Hooks {
    RecordLog.Hooks(
      begin: { try self.begin(at: $0) }, onOpen: { try self.found($0) }, write: { try self.write($0) },
      rollback: { _ in self.state.withLock { $0.staged = $0.durable } },
      committed: { _ in self.state.withLock { $0.durable = $0.staged } }, incident: incident)
  }

  private func begin(at first: UInt64) throws {
    let before = try hashes.begin(at: first)
    state.withLock { state in
      state.first = first
      state.staged = before
      state.reader = hashes.reader(from: Merkle.storedHashCount(treeSize: first))
      if let root = state.expected[first], root != before.root { state.disagrees = true }
      // What was pruned was signed, and heads only grow.
      if state.expected.keys.contains(where: { $0 > 0 && $0 < first }) { state.disagrees = true }
    }
  }

  private func found(_ entry: RecordLog.Entry) throws {
    try state.withLock { state in
      let before = state.staged
      let stored = state.staged.append(Merkle.leafHash(entry.record))
      if state.beforeMismatch == nil, try state.reader?.matches(stored) != true { state.beforeMismatch = before }
      if let root = state.expected[state.staged.size], root != state.staged.root { state.disagrees = true }
      if state.first > 0, let until = AuditEvent.pruned(by: entry.record) {
        state.declaredFirst = max(state.declaredFirst, until)
      }
    }
  }

  private func write(_ entries: [RecordLog.Entry]) throws {
    // Whoever asks for the head does not wait for the disk.
    let (first, added) = state.withLock { state in
      state.staged = state.durable
      let first = Merkle.storedHashCount(treeSize: state.staged.size)
      var added: [Digest] = []
      added.reserveCapacity(entries.count * 2 + 64)
      for entry in entries { added += state.staged.append(Merkle.leafHash(entry.record)) }
      return (first, added)
    }
    try hashes.write(added, at: first)
  }

  /// Throws when the records don't agree with a signed head, or are missing at the beginning and no record says why;
  /// otherwise mends the stored hashes from the records. Gives the entry from which they were mended.
  func settle(_ log: RecordLog) throws -> UInt64? {
    let (disagrees, before, size, isDeclared) = state.withLock { state in
      state.reader = nil
      return (state.disagrees, state.beforeMismatch, state.durable.size, state.declaredFirst >= state.first)
    }
    if disagrees {
      throw AuditTampered(index: before?.size, reason: "its records are not those that the device signed")
    }
    guard isDeclared else {
      throw AuditTampered(
        index: 0, reason: "entries before \(log.first) are missing, and no entry says that they were pruned")
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
