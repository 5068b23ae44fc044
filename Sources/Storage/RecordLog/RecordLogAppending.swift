internal import Dispatch
import Glibc
import Synchronization

extension RecordLog {
  /// Appends the record that `make` builds from its index and waits until it is durable. `make` runs on the log's
  /// queue, keeps to itself and should be short; it may run twice; if it throws, nothing is appended.
  ///
  /// A `StorageError` means that the record is not in the log. There is one exception: after `.stalled` the record may
  /// still come, when the disk answers again; `Hooks.incident` tells.
  public func append(
    _ urgency: Urgency = .ordinary, _ make: @escaping @Sendable (UInt64) throws -> [UInt8]
  ) async throws -> UInt64 {
    try await withCheckedThrowingContinuation { continuation in
      let now = ContinuousClock.now
      let waiter = Waiter(urgency: urgency, since: now, make: make, continuation: continuation)
      let verdict: Result<(start: Bool, watch: Bool), StorageError> = pending.withLock { pending in
        if pending.closed { return .failure(.closed(path: path)) }
        if let since = pending.busySince, now - since > settings.patience { return .failure(stalled(since, now)) }
        pending.waiters.append(waiter)
        defer { (pending.running, pending.isWatched) = (true, true) }
        return .success((start: !pending.running, watch: !pending.isWatched))
      }
      switch verdict {
      case .failure(let error): continuation.resume(throwing: error)
      case .success(let (start, watch)):
        if start { queue.async { self.drain() } }
        if watch { lookLater() }
      }
    }
  }

  private func stalled(_ since: ContinuousClock.Instant, _ now: ContinuousClock.Instant) -> StorageError {
    .stalled(path: path, seconds: Int((now - since).components.seconds))
  }

  // MARK: patience

  private func lookLater() {
    watch.asyncAfter(deadline: .now() + .milliseconds(100)) { [weak self] in self?.look() }
  }

  /// Lets go those who have waited for too long.
  private func look() {
    let now = ContinuousClock.now
    let (overdue, again, error) = pending.withLock { pending -> ([Waiter], Bool, StorageError) in
      var overdue: [Waiter] = []
      let error = stalled(pending.busySince ?? now, now)
      if let since = pending.busySince, now - since > settings.patience {
        overdue = pending.inFlight + pending.waiters
        (pending.inFlight, pending.waiters) = ([], [])
      } else if let oldest = pending.inFlight.first?.since, now - oldest > settings.patience {
        overdue = pending.inFlight
        pending.inFlight = []
      }
      pending.isWatched = pending.running
      return (overdue, pending.running, error)
    }
    for waiter in overdue { waiter.continuation.resume(throwing: error) }
    if again { lookLater() }
  }

  // MARK: batches

  private func drain() {
    while true {
      let isBusy = pending.withLock { pending in
        pending.running = !pending.waiters.isEmpty
        pending.busySince = pending.running ? .now : nil
        pending.inFlight = pending.waiters.take()
        return pending.running
      }
      if !isBusy { return }
      commit()
    }
  }

  /// What goes to the disk in one piece.
  private struct Batch {
    let first: UInt64
    var bytes: [UInt8] = []
    var entries: [Entry] = []
    var accepted: [Waiter] = []
    var next: UInt64 { first + UInt64(entries.count) }
  }

  /// Commits as many as fit into one batch; the others come first in the next. Only what is urgent where room is short.
  private func commit(isShort known: Bool = false) {
    let isShort = known || !mayWriteOrdinary()
    let waiters = pending.withLock { $0.inFlight.take() }
    let (going, refused) = isShort ? split(waiters) : (waiters, [])
    for waiter in refused { waiter.continuation.resume(throwing: StorageError.full(path: path)) }
    let batch = assemble(going)
    if batch.entries.isEmpty { return }
    pending.withLock { $0.inFlight = batch.accepted }
    do {
      try store(batch)
      finish(batch)
    } catch {
      repair()
      hooks.rollback(durable.withLock(\.offsets.count))
      let waiting = pending.withLock { $0.inFlight.take() }
      let urgent = waiting.filter { $0.urgency == .urgent }
      if case .full? = error as? StorageError, !urgent.isEmpty, reserve.release() {
        for waiter in split(waiting).refused { waiter.continuation.resume(throwing: error) }
        pending.withLock { $0.inFlight = urgent }
        return commit(isShort: true)
      }
      for waiter in waiting { waiter.continuation.resume(throwing: error) }
    }
  }

  private func split(_ waiters: [Waiter]) -> (urgent: [Waiter], refused: [Waiter]) {
    (waiters.filter { $0.urgency == .urgent }, waiters.filter { $0.urgency == .ordinary })
  }

  /// False when the room for urgent records is not there. Any other trouble shows when a record is written.
  private func mayWriteOrdinary() -> Bool {
    do throws(StorageError) {
      try reserve.hold()
      return true
    } catch {
      if case .full = error { return false }
      return true
    }
  }

  private func assemble(_ waiters: [Waiter]) -> Batch {
    var batch = Batch(first: durable.withLock(\.offsets.count))
    var rest = waiters[...]
    while let waiter = rest.first, batch.bytes.count < RecordLog.largestBatch / 2 {
      rest = rest.dropFirst()
      do {
        let record = try waiter.make(batch.next)
        guard !RecordLog.hasForbiddenBytes(record) else { throw StorageError.invalidRecord }
        guard record.count < RecordLog.largestBatch / 2 else {
          throw StorageError.tooLarge(path: path, limit: RecordLog.largestBatch / 2 - 1)
        }
        batch.entries.append(Entry(index: batch.next, record: record))
        batch.bytes += record
        batch.bytes.append(0x0A)
        batch.accepted.append(waiter)
      } catch {
        waiter.continuation.resume(throwing: error)
      }
    }
    if !rest.isEmpty { pending.withLock { $0.waiters = rest + $0.waiters } }
    return batch
  }

  /// A line feed or a zero: no record has either.
  static func hasForbiddenBytes(_ record: [UInt8]) -> Bool {
    record.withUnsafeBytes { all in
      guard let base = all.baseAddress else { return false }
      return memchr(base, 0x0A, all.count) != nil || memchr(base, 0, all.count) != nil
    }
  }

  private func store(_ batch: Batch) throws {
    let file = try settledFile()
    let end = durable.withLock(\.offsets.end)
    try file.write(batch.bytes, at: end)
    try hooks.write(batch.entries)
    try file.syncData()
    syncs.add(1, ordering: .relaxed)
  }

  private func finish(_ batch: Batch) {
    durable.withLock { durable in
      for entry in batch.entries { durable.offsets.append(length: entry.record.count) }
    }
    hooks.committed(batch.next)
    let waiting = pending.withLock { $0.inFlight.take() }
    guard !waiting.isEmpty else { return hooks.incident(.late(batch.first..<batch.next)) }
    for (at, waiter) in waiting.enumerated() { waiter.continuation.resume(returning: batch.first + UInt64(at)) }
  }

  /// The file, if it is where it was left, and as it was left.
  private func settledFile() throws -> OpenFile {
    let (file, start, end) = durable.withLock { ($0.file, $0.offsets.start, $0.offsets.end) }
    switch try file.place() {
    case .there(let bytes) where bytes < end:
      throw StorageError.damaged(path: path, reason: "somebody cut it off; it has \(bytes) bytes and had \(end)")
    case .there(let bytes):
      // What a failed batch left, or somebody else wrote.
      if bytes > end { try file.truncate(to: end) }
      return file
    case .removed:
      let copy = try file.putBack(from: start, to: end)
      durable.withLock { $0.file = copy }
      hooks.incident(.putBack)
      return copy
    case .moved: throw StorageError.displaced(path: path, isReplaced: false)
    case .replaced: throw StorageError.displaced(path: path, isReplaced: true)
    }
  }

  /// Cuts back to what is durable. If even that fails, the next batch begins with it.
  private func repair() {
    let (file, end) = durable.withLock { ($0.file, $0.offsets.end) }
    guard let size = try? file.size(), size > end else { return }
    try? file.truncate(to: end)
    try? file.syncData()
  }
}

extension Array {
  /// The elements; none are left.
  fileprivate mutating func take() -> [Element] {
    defer { self = [] }
    return self
  }
}
