internal import Dispatch
import Glibc
import Synchronization

/// An append-only file of records, each ended by a line feed, with group commit: whoever appends while a sync is
/// under way shares the next one. `append` returns when the record would survive a power cut.
///
/// After a failed write or sync the file is cut back to what was durable, everyone in that batch gets the error,
/// and the next append tries again by itself. A torn tail, which is what a crash leaves of a batch that nobody was
/// told of, is cut off on opening. A disk that does not answer is not waited for: see `Settings.patience`.
///
/// The oldest records can be pruned. The others keep their indexes and their places in the file, which then begins with a
/// hole; where the first record is stands in `PATH.first`.
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
    /// On opening, before any record: the first that there is.
    public var begin: @Sendable (UInt64) throws -> Void
    /// The records found on opening. It is called for several batches at a time; what it gives, for one after the other in
    /// their order.
    public var onOpen: @Sendable (RecordBatch) throws -> @Sendable () -> Void
    /// After a batch's records were written, before the sync. Throwing refuses the whole batch.
    public var write: @Sendable ([Entry]) throws -> Void
    /// After a failed batch: forget whatever belongs to records from this index on.
    public var rollback: @Sendable (UInt64) -> Void
    /// After the sync, before anybody who waits goes on: the log now has this many records.
    public var committed: @Sendable (UInt64) -> Void
    /// Something out of the ordinary that nobody who appends is told of.
    public var incident: @Sendable (Incident) -> Void

    public init(
      begin: @escaping @Sendable (UInt64) throws -> Void = { _ in },
      onOpen: @escaping @Sendable (RecordBatch) throws -> @Sendable () -> Void = { _ in {} },
      write: @escaping @Sendable ([Entry]) throws -> Void = { _ in },
      rollback: @escaping @Sendable (UInt64) -> Void = { _ in },
      committed: @escaping @Sendable (UInt64) -> Void = { _ in },
      incident: @escaping @Sendable (Incident) -> Void = { _ in }
    ) {
      self.begin = begin
      self.onOpen = onOpen
      self.write = write
      self.rollback = rollback
      self.committed = committed
      self.incident = incident
    }
  }

  public enum Incident: Sendable, Hashable {
    /// These records became durable after those who appended them had been told that the disk does not answer.
    case late(Range<UInt64>)
    /// Somebody had removed the file; it was written again out of what was still open.
    case putBack
  }

  public struct Settings: Sendable {
    /// How long an append waits for the disk. Then it throws `StorageError.stalled`, and so does each one after it, at
    /// once, until the disk answers.
    public var patience: Duration
    /// Bytes that are kept free for urgent records. Nothing ordinary is written while they are not there.
    public var reserve: Int

    public init(patience: Duration = .milliseconds(1500), reserve: Int = 0) {
      self.patience = patience
      self.reserve = reserve
    }
  }

  public enum Urgency: Sendable, Hashable {
    case ordinary
    /// May take the room that `Settings.reserve` keeps.
    case urgent
  }

  public let path: String
  /// The bytes of a torn tail that were cut off on opening.
  public let tornBytes: UInt64
  let hooks: Hooks
  let settings: Settings
  let reserve: LogReserve
  let queue = DispatchQueue(label: "skerry.log")
  let watch = DispatchQueue(label: "skerry.log.watch")
  let pending = Mutex(Pending())
  /// What readers may see: only what is durable.
  let durable: Mutex<Durable>
  let syncs = Atomic<Int>(0)

  struct Durable: Sendable {
    var file: OpenFile
    var offsets: Offsets
  }

  struct Waiter: Sendable {
    let urgency: Urgency
    let since: ContinuousClock.Instant
    let make: @Sendable (UInt64) throws -> [UInt8]
    let continuation: CheckedContinuation<UInt64, any Error>
  }

  struct Pending: Sendable {
    var waiters: [Waiter] = []
    /// Those whose records are on their way to the disk. Whoever takes them out resumes them.
    var inFlight: [Waiter] = []
    /// Since when the disk works on one batch.
    var busySince: ContinuousClock.Instant?
    var running = false
    var isWatched = false
    var closed = false
  }

  /// Opens or creates the log and reads all of it once, to count and to give each record to `hooks.onOpen`.
  /// Whoever knows from elsewhere that so many records were durable says so in `atLeast`: a log that has fewer is
  /// damaged, not torn, and is left as it is.
  public init(path: String, atLeast known: UInt64 = 0, settings: Settings = Settings(), hooks: Hooks = Hooks()) throws {
    self.path = path
    self.hooks = hooks
    self.settings = settings
    reserve = LogReserve(path: path + ".reserve", size: settings.reserve)
    let isNew = !DurableFile.exists(path)
    let file = try OpenFile(path, O_RDWR | O_CREAT)
    if isNew { try DurableFile.syncFolder(of: path) }
    let size = try file.size()
    var offsets = try RecordLog.firstRecord(path) ?? Offsets()
    guard size >= offsets.start else {
      throw StorageError.damaged(path: path, reason: "it ends before its first record")
    }
    try hooks.begin(offsets.first)
    var window: [RecordBatch] = []
    func settle() throws {
      for (batch, take) in zip(window, try Parallel.map(window, hooks.onOpen)) {
        take()
        offsets.append(batch)
      }
      window = []
    }
    try RecordScanner(file: file, from: offsets.start, to: size).batches(first: offsets.first) { batch in
      window.append(batch)
      if window.count == 16 { try settle() }
    }
    try settle()
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
    }
    // What a process that was killed had written may not be on the disk yet, and from here on it counts.
    try file.syncData()
    // A crash may have come between the word that they are pruned and the deed.
    try file.erase(from: 0, to: offsets.start)
    durable = Mutex(Durable(file: file, offsets: offsets))
    hooks.committed(offsets.count)
  }

  /// One more than the last record's index.
  public var count: UInt64 { durable.withLock(\.offsets.count) }

  /// The first record that is there.
  public var first: UInt64 { durable.withLock(\.offsets.first) }

  /// The size of all records that are there.
  public var bytes: UInt64 { durable.withLock { $0.offsets.end - $0.offsets.start } }

  /// How often the disk was synced, for measurements.
  public var syncCount: Int { syncs.load(ordering: .relaxed) }

  /// Up to `limit` records from this index on, or from the first that is there; none when the index is beyond the end.
  public func read(from index: UInt64, limit: Int) throws -> [Entry] {
    var entries: [Entry] = []
    try scan(from: index) { entry in
      guard entries.count < limit else { return false }
      entries.append(entry)
      return entries.count < limit
    }
    return entries
  }

  /// Streams the records from this index to the end as it is now, until the body returns false. Throws
  /// `StorageError.pruned` when what is read is pruned meanwhile.
  public func scan(from index: UInt64, _ body: (Entry) throws -> Bool) throws {
    let (file, offsets) = durable.withLock { ($0.file, $0.offsets) }
    let index = max(index, offsets.first)
    guard index < offsets.count else { return }
    let known = offsets.nearest(to: index)
    var at = known.index
    try RecordScanner(file: file, from: known.offset, to: offsets.end).scan { record in
      defer { at += 1 }
      // What was read before the hole came is good, and the first index moves before the hole comes. A record that
      // was read in two pieces may have it in its middle.
      if record.isEmpty || RecordLog.hasForbiddenBytes(record), first > at {
        throw StorageError.pruned(path: path, index: at)
      }
      return at < index ? true : try body(Entry(index: at, record: record))
    }
  }

  /// Commits what waits; appends after it throw `.closed`.
  public func close() {
    pending.withLock { $0.closed = true }
    queue.sync {}
  }

  static let largestBatch = 4 << 20
}
