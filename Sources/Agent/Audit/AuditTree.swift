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
    /// The tree before the first record whose stored hashes are missing or others.
    var beforeMismatch: MerkleFrontier?
    /// Signed heads, by size, that the log must still agree with.
    var expected: [UInt64: Digest]
    var disagrees = false
    /// The first record that there is, and the first that a record says is left.
    var first: UInt64 = 0
    var declaredFirst: UInt64 = 0

    /// Adds what was found on opening, and compares it with the stored hashes and the signed heads.
    mutating func take(_ found: Found) {
      declaredFirst = max(declaredFirst, found.declaredFirst)
      if takeWhole(found) { return }
      var at = 0
      for leaf in found.leaves {
        let before = staged
        let hashes = staged.append(leaf)
        if beforeMismatch == nil, !found.stores(hashes, at) { beforeMismatch = before }
        at += hashes.count
        compare()
      }
    }

    /// The same in one step, where a whole subtree is as it is stored and no signed head ends within it.
    private mutating func takeWhole(_ found: Found) -> Bool {
      guard let subtree = found.subtree, let root = subtree.last,
        !expected.keys.contains(where: { found.first < $0 && $0 < found.next })
      else { return false }
      var next = staged
      guard let above = next.store(subtree: root, level: RecordBatch.stride.trailingZeroBitCount) else { return false }
      if beforeMismatch == nil, !found.stores(subtree, 0) || !found.stores(above, subtree.count) { return false }
      staged = next
      compare()
      return true
    }

    private mutating func compare() {
      if let root = expected[staged.size], root != staged.root { disagrees = true }
    }
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
      if let root = state.expected[first], root != before.root { state.disagrees = true }
      // What was pruned was signed, and heads only grow.
      if state.expected.keys.contains(where: { $0 > 0 && $0 < first }) { state.disagrees = true }
    }
  }

  /// The hashes of records that were found on opening, and what the disk has for them.
  private struct Found {
    let first: UInt64
    let leaves: [Digest]
    /// All that the tree stores for them, where they fill a subtree.
    let subtree: [Digest]?
    /// As they are stored on disk; fewer when some are missing.
    let stored: [UInt8]
    let declaredFirst: UInt64
    var next: UInt64 { first + UInt64(leaves.count) }

    /// Whether the disk has these hashes from this one of its own on.
    func stores(_ hashes: [Digest], _ at: Int) -> Bool {
      let (start, end) = (at * Digest.length, (at + hashes.count) * Digest.length)
      return end <= stored.count && stored[start..<end] == Digest.bytes(of: hashes)[...]
    }
  }

  /// Hashes what was found, on any thread; what it gives is called in the records' order.
  private func found(_ batch: RecordBatch) throws -> @Sendable () -> Void {
    let (isPruned, isMended) = state.withLock { ($0.first > 0, $0.beforeMismatch != nil) }
    var leaves: [Digest] = []
    leaves.reserveCapacity(batch.count)
    var declared: UInt64 = 0
    batch.withEach { record in
      leaves.append(Merkle.leafHash(record))
      if isPruned, let until = AuditEvent.pruned(by: record) { declared = max(declared, until) }
    }
    let isWhole = batch.count == Int(RecordBatch.stride)
    let (start, end) = (Merkle.storedHashCount(treeSize: batch.first), Merkle.storedHashCount(treeSize: batch.next))
    let found = Found(
      first: batch.first, leaves: leaves, subtree: isWhole ? Merkle.storedHashes(of: leaves) : nil,
      stored: isMended ? [] : try hashes.bytes(from: start, count: Int(end - start)), declaredFirst: declared)
    return { self.state.withLock { $0.take(found) } }
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
