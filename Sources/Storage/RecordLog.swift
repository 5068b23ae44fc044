internal import Dispatch
import Glibc
import Synchronization

/// An append-only file of records, each ended by a line feed, with group commit: whoever appends while a sync is
/// under way shares the next one. `append` returns when the record would survive a power cut.
///
/// After a failed write or sync the file is cut back to what was durable, everyone in that batch gets the error,
/// and the next append tries again by itself. A torn tail, which is what a crash leaves of a batch that nobody was
/// told of, is cut off on opening.
public final class RecordLog: Sendable {
  /// A record with its place in the log; the bytes are without the line feed.
  public struct Entry: Sendable {
    public let index: UInt64
    public let record: [UInt8]
  }

  /// Work beside the log's own file. All of it runs on the log's queue, one call at a time.
  ///
  /// Data that follows from the records (Merkle hashes, an index) needs no sync of its own and costs no second
  /// fdatasync: write it in `write`, and rebuild what is missing or wrong from the entries given to `onOpen`.
  public struct Hooks: Sendable {
    /// Each record found on opening, in order.
    public var onOpen: @Sendable (Entry) throws -> Void
    /// After a batch's records were written, before the sync. Throwing refuses the whole batch.
    public var write: @Sendable ([Entry]) throws -> Void
    /// After a failed batch: forget whatever belongs to records from this index on.
    public var rollback: @Sendable (UInt64) -> Void
    /// After the sync, before anybody who waits goes on: the log now has this many records.
    public var committed: @Sendable (UInt64) -> Void

    public init(
      onOpen: @escaping @Sendable (Entry) throws -> Void = { _ in },
      write: @escaping @Sendable ([Entry]) throws -> Void = { _ in },
      rollback: @escaping @Sendable (UInt64) -> Void = { _ in },
      committed: @escaping @Sendable (UInt64) -> Void = { _ in }
    ) {
      self.onOpen = onOpen
      self.write = write
      self.rollback = rollback
      self.committed = committed
    }
  }

  public let path: String
  /// The bytes of a torn tail that were cut off on opening.
  public let tornBytes: UInt64
  let file: OpenFile
  private let hooks: Hooks
  private let queue = DispatchQueue(label: "skerry.log")
  private let pending = Mutex(Pending())
  /// What readers may see: only what is durable.
  let durable: Mutex<Offsets>
  private let syncs = Atomic<Int>(0)

  private struct Waiter: Sendable {
    let make: @Sendable (UInt64) throws -> [UInt8]
    let continuation: CheckedContinuation<UInt64, any Error>
  }

  private struct Pending: Sendable {
    var waiters: [Waiter] = []
    var running = false
    var needsRepair = false
    var closed = false
  }

  /// Opens or creates the log and reads all of it once, to count and to give each record to `hooks.onOpen`.
  /// Whoever knows from elsewhere that so many records were durable says so in `atLeast`: a log that has fewer is
  /// damaged, not torn, and is left as it is.
  public init(path: String, atLeast known: UInt64 = 0, hooks: Hooks = Hooks()) throws {
    self.path = path
    self.hooks = hooks
    let isNew = !DurableFile.exists(path)
    file = try OpenFile(path, O_RDWR | O_CREAT)
    if isNew { try DurableFile.syncFolder(of: path) }
    let size = try file.size()
    var offsets = Offsets()
    try RecordScanner(file: file, from: 0, to: size).scan { record in
      let entry = Entry(index: offsets.count, record: record)
      if record.contains(0) { return false }
      try hooks.onOpen(entry)
      offsets.append(length: record.count)
      return true
    }
    tornBytes = size - offsets.end
    guard offsets.count >= known else {
      throw StorageError.damaged(path: path, reason: "it has \(offsets.count) whole records and had \(known)")
    }
    if tornBytes > 0 {
      // A batch is at most this long, and only the last one can be torn.
      guard tornBytes <= UInt64(RecordLog.largestBatch) else {
        throw StorageError.damaged(path: path, reason: "record \(offsets.count) is not text")
      }
      try file.truncate(to: offsets.end)
      try file.syncData()
    }
    durable = Mutex(offsets)
    hooks.committed(offsets.count)
  }

  /// How many records are durable.
  public var count: UInt64 { durable.withLock(\.count) }

  /// The size of all durable records.
  public var bytes: UInt64 { durable.withLock(\.end) }

  /// How often the disk was synced, for measurements.
  public var syncCount: Int { syncs.load(ordering: .relaxed) }

  /// Appends the record that `make` builds from its index and waits until it is durable. `make` runs on the log's
  /// queue, keeps to itself and should be short; if it throws, nothing is appended. A `StorageError` means that the
  /// record is not in the log.
  public func append(_ make: @escaping @Sendable (UInt64) throws -> [UInt8]) async throws -> UInt64 {
    try await withCheckedThrowingContinuation { continuation in
      let waiter = Waiter(make: make, continuation: continuation)
      let (start, closed) = pending.withLock { pending in
        if pending.closed { return (false, true) }
        pending.waiters.append(waiter)
        defer { pending.running = true }
        return (!pending.running, false)
      }
      if closed { continuation.resume(throwing: StorageError.closed(path: path)) }
      if start { queue.async { self.drain() } }
    }
  }

  /// Up to `limit` records from this index on; none when the index is beyond the end.
  public func read(from index: UInt64, limit: Int) throws -> [Entry] {
    var entries: [Entry] = []
    try scan(from: index) { entry in
      guard entries.count < limit else { return false }
      entries.append(entry)
      return entries.count < limit
    }
    return entries
  }

  /// Streams the records from this index to the end as it is now, until the body returns false.
  public func scan(from index: UInt64, _ body: (Entry) throws -> Bool) throws {
    let (count, end, known) = durable.withLock { ($0.count, $0.end, $0.nearest(to: index)) }
    guard index < count else { return }
    var at = known.index
    try RecordScanner(file: file, from: known.offset, to: end).scan { record in
      defer { at += 1 }
      return at < index ? true : try body(Entry(index: at, record: record))
    }
  }

  /// Commits what waits; appends after it throw `.closed`.
  public func close() {
    pending.withLock { $0.closed = true }
    queue.sync {}
  }

  private static let largestBatch = 4 << 20

  private func drain() {
    while true {
      let batch = pending.withLock { pending in
        if pending.waiters.isEmpty { pending.running = false }
        defer { pending.waiters = [] }
        return pending.waiters
      }
      if batch.isEmpty { return }
      var rest = batch[...]
      while !rest.isEmpty { rest = commit(rest) }
    }
  }

  /// Commits as many as fit into one batch and gives back the rest.
  private func commit(_ waiters: ArraySlice<Waiter>) -> ArraySlice<Waiter> {
    var offsets = durable.withLock { $0 }
    let first = offsets.count
    var bytes: [UInt8] = []
    var entries: [Entry] = []
    var accepted: [CheckedContinuation<UInt64, any Error>] = []
    var rest = waiters
    while let waiter = rest.first, bytes.count < RecordLog.largestBatch / 2 {
      rest = rest.dropFirst()
      do {
        let record = try waiter.make(offsets.count)
        guard !record.contains(where: { $0 == 0x0A || $0 == 0 }) else { throw StorageError.invalidRecord }
        guard record.count < RecordLog.largestBatch / 2 else {
          throw StorageError.tooLarge(path: path, limit: RecordLog.largestBatch / 2 - 1)
        }
        entries.append(Entry(index: offsets.count, record: record))
        bytes += record
        bytes.append(0x0A)
        offsets.append(length: record.count)
        accepted.append(waiter.continuation)
      } catch {
        waiter.continuation.resume(throwing: error)
      }
    }
    if entries.isEmpty { return rest }
    do {
      try store(bytes, entries)
      durable.withLock { $0 = offsets }
      hooks.committed(offsets.count)
      for (at, continuation) in accepted.enumerated() { continuation.resume(returning: first + UInt64(at)) }
    } catch {
      repair()
      hooks.rollback(first)
      for continuation in accepted { continuation.resume(throwing: error) }
    }
    return rest
  }

  private func store(_ bytes: [UInt8], _ entries: [Entry]) throws {
    let end = durable.withLock(\.end)
    if pending.withLock(\.needsRepair) {
      try file.truncate(to: end)
      pending.withLock { $0.needsRepair = false }
    }
    try file.write(bytes, at: end)
    try hooks.write(entries)
    try file.syncData()
    syncs.add(1, ordering: .relaxed)
  }

  /// Cuts back to what is durable. If even that fails, the next batch begins with it.
  private func repair() {
    let end = durable.withLock(\.end)
    do {
      try file.truncate(to: end)
      try file.syncData()
      pending.withLock { $0.needsRepair = false }
    } catch {
      pending.withLock { $0.needsRepair = true }
    }
  }
}
