import Dispatch
import Fleet
import Host
import Storage
import Synchronization
import Trust

/// The box's audit log: records in `log.jsonl`, one canonical JSON object a line, with a Merkle tree over them
/// (RFC 6962) whose head the device signs and the hub cosigns.
///
/// A record is durable when `append` returns; records that wait at the same time share one sync. If it throws, the
/// record is not in the log and the effect must not happen.
public final class AuditLog: Sendable {
  /// What opening had to mend after a crash. Nothing of it was ever acknowledged or is lost.
  public struct Recovery: Sendable, Hashable {
    /// Bytes of a record that was being written when the power went.
    public let tornBytes: UInt64
    /// The entry from which hashes were computed again.
    public let hashesRebuiltFrom: UInt64?
  }

  public let origin: String
  public let recovery: Recovery
  /// The device's key as auditors and the witness know it.
  public var deviceKey: NoteVerifier { NoteVerifier(name: origin, key: key.verifyingKey) }
  private let key: SigningKey
  let log: RecordLog
  let tree: AuditTree
  let index: AuditIndex
  private let heads: AuditHeads
  private let milliseconds: @Sendable () -> Int64
  private let outage: AuditOutage
  /// Heads are written to disk here, off Swift's cooperative pool.
  private let saving = DispatchQueue(label: "skerry.audit.heads", qos: .utility)
  private let isSaving = Atomic<Bool>(false)

  /// Opens or creates the log in this folder. `origin` names the log and the device's note key, `key` signs heads.
  /// Throws `AuditTampered` when the records are not those that were signed, and a `StorageError` when the folder
  /// can't be used.
  public init(
    directory: String, key: SigningKey, origin: String, settings: RecordLog.Settings = RecordLog.Settings(),
    milliseconds: @escaping @Sendable () -> Int64 = { Clock.unixMilliseconds() }
  ) throws {
    self.origin = origin
    self.key = key
    self.milliseconds = milliseconds
    try DurableFile.makeDirectory(directory)
    heads = try AuditHeads(directory: directory, device: NoteVerifier(name: origin, key: key.verifyingKey))
    let known = heads.checkpoints
    tree = try AuditTree(hashes: AuditHashes(directory: directory), heads: known)
    index = AuditIndex()
    let outage = AuditOutage(milliseconds: milliseconds)
    self.outage = outage
    do {
      log = try RecordLog(
        path: directory + "/log.jsonl", atLeast: known.map(\.size).max() ?? 0, settings: settings,
        hooks: index.hooks(with: tree.hooks { outage.happened($0) }))
    } catch StorageError.damaged(_, let reason) {
      throw AuditTampered(index: tree.firstSuspect, reason: reason)
    }
    recovery = Recovery(tornBytes: log.tornBytes, hashesRebuiltFrom: try tree.settle(log))
    let frontier = tree.frontier
    try heads.begin(Checkpoint(origin: origin, size: frontier.size, root: frontier.root), with: key)
    outage.bind { [weak log] event in
      let draft = event.draft(milliseconds: milliseconds())
      guard let log else { throw StorageError.closed(path: directory) }
      _ = try await log.append(event.urgency) { draft.record(index: $0) }
    }
  }

  /// Appends a record and waits until it is durable; its index. Throws `AuditUnavailable`.
  @discardableResult
  public func append(_ event: AuditEvent) async throws(AuditUnavailable) -> UInt64 {
    let draft = event.draft(milliseconds: milliseconds())
    let index: UInt64
    do {
      index = try await log.append(event.urgency) { draft.record(index: $0) }
    } catch {
      outage.refused(error)
      throw AuditUnavailable(cause: error)
    }
    // What the head covers can't be cut off unnoticed even before the next sync with the hub.
    if index % 1024 == 1023, !isSaving.exchange(true, ordering: .relaxed) {
      saving.async {
        self.isSaving.store(false, ordering: .relaxed)
        _ = self.signedHead()
      }
    }
    return index
  }

  /// Since how many seconds the log can't be written, and why; nil when it can.
  public var trouble: (seconds: Int64, cause: String)? { outage.current }

  /// The size of all records.
  public var bytes: UInt64 { log.bytes }

  /// The head over all that is durable.
  public func head() -> Checkpoint {
    let frontier = tree.frontier
    return Checkpoint(origin: origin, size: frontier.size, root: frontier.root)
  }

  /// The head signed by the device, also kept on disk: the log is held to it when it is opened again.
  public func signedHead() -> SignedNote { heads.sign(head(), with: key) }

  /// The last head that the witness cosigned, with its size.
  public func cosigned() -> (note: SignedNote, size: UInt64)? {
    heads.cosigned.map { ($0.note, $0.checkpoint.size) }
  }

  /// The last cosigned head, if it is of this size or smaller, with its witness.
  func cosigned(within size: UInt64) -> (note: SignedNote, size: UInt64, witness: NoteVerifier)? {
    heads.cosigned.flatMap { $0.checkpoint.size <= size ? ($0.note, $0.checkpoint.size, $0.witness) : nil }
  }

  /// The witness that cosigned last.
  public var witness: NoteVerifier? { heads.cosigned?.witness }

  /// Keeps a head that the witness cosigned: a note with the device's signature and the witness's. An older one than
  /// we have is passed over. Throws `AuditHeadRefused` when it is not this log's head.
  public func store(cosigned note: SignedNote, by witness: NoteVerifier) throws {
    try heads.store(note, by: witness, current: head()) { size in
      try Merkle.root(size: size, read: tree.hashes.read)
    }
  }

  /// The proof that the log of `old` entries is the beginning of the log of `new` entries.
  public func consistencyProof(old: UInt64, new: UInt64) throws -> [Digest] {
    guard new <= tree.frontier.size else { throw MerkleError.outOfRange }
    return try Merkle.consistencyProof(old: old, new: new, read: tree.hashes.read)
  }

  /// The proof that an entry is in the log of `size` entries.
  public func inclusionProof(index: UInt64, size: UInt64) throws -> [Digest] {
    guard size <= tree.frontier.size else { throw MerkleError.outOfRange }
    return try Merkle.inclusionProof(index: index, size: size, read: tree.hashes.read)
  }

  /// Up to `limit` records from this index on.
  public func entries(from index: UInt64, limit: Int) throws -> [JSONValue] {
    try log.read(from: index, limit: limit).map { try JSONValue(parsing: $0.record) }
  }

  /// The records from `from` up to `to` as a segment for the hub, in pieces of about 64 KiB; the same bytes each time.
  public func segment(from: UInt64, to: UInt64, write: ([UInt8]) throws -> Void) throws {
    guard from <= to, to <= tree.frontier.size else { throw MerkleError.outOfRange }
    guard from >= self.first else { throw MerkleError.pruned }
    let edge = try Merkle.edge(size: from, read: tree.hashes.read)
    var piece = AuditSegmentHeader(origin: origin, from: from, to: to, edge: edge).line + [0x0A]
    var next = from
    while next < to {
      let page = try log.read(from: next, limit: 256).prefix(Int(min(to - next, 256)))
      guard !page.isEmpty else { throw MerkleError.missingHashes }
      for entry in page {
        piece += AuditExportEntry.line(index: entry.index, record: entry.record) + [0x0A]
        if piece.count >= 1 << 16 {
          try write(piece)
          piece = []
        }
      }
      next += UInt64(page.count)
    }
    if !piece.isEmpty { try write(piece) }
  }

  /// Commits what waits and keeps the head; appends after it fail.
  public func close() {
    outage.close()
    log.close()
    saving.sync {}
    _ = signedHead()
  }
}
