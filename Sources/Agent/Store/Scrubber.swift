import Glibc
import Host
import Models
import Storage
import Trust

/// Reads every stored file again in the background, at a gentle pace, and compares it with its signed digests. What it
/// finds damaged is out of use at once, on record, and mended by the next sync, chunk by chunk. Where it was survives a
/// restart.
actor Scrubber {
  /// How far a scrub is, or how the last one ended.
  struct Status: Sendable, Hashable {
    var isRunning = false
    /// Unix seconds.
    var startedAt: Int64?
    var finishedAt: Int64?
    /// Bytes read of those that there are.
    var done: UInt64 = 0
    var total: UInt64 = 0
    /// Damaged files that this scrub has found, as `NAME:VERSION`.
    var damaged: [String] = []
  }

  /// Written down after so many bytes, at the end of a file, and at the end.
  private static let grain: UInt64 = 64 << 20

  private let registry: ModelRegistry
  private let policy: StorePolicy
  private let audit: AuditWriter
  /// Ends the engines that have a damaged file open.
  private let onDamage: @Sendable (Digest) async -> Void
  private let now: @Sendable () -> Int64
  private var status = Status()
  private var current: Task<Void, any Error>?
  private var isHurried = false

  init(
    registry: ModelRegistry, policy: StorePolicy, audit: @escaping AuditWriter,
    onDamage: @escaping @Sendable (Digest) async -> Void, now: @escaping @Sendable () -> Int64
  ) {
    self.registry = registry
    self.policy = policy
    self.audit = audit
    self.onDamage = onDamage
    self.now = now
  }

  /// Scrubs whenever it is due, until the task is cancelled.
  func run() async {
    guard policy.scrubBytesPerSecond > 0 else { return }
    while !Task.isCancelled {
      do {
        let place = try await ScrubPlace.load(registry.database)
        status.finishedAt = place.finishedAt
        let due = place.isUnderWay || now() - (place.finishedAt ?? 0) >= Int64(policy.scrubIntervalSeconds)
        if due { try await scrub(isHurried: false) }
        try await Task.sleep(for: .seconds(min(60, policy.scrubIntervalSeconds)))
      } catch is CancellationError {
        return
      } catch {
        Log.shared.error("the scrub stopped, and goes on later", ["reason": "\(error)"])
        try? await Task.sleep(for: .seconds(60))
      }
    }
  }

  /// Goes through everything that is left, as fast as the disk allows, and returns when it is done.
  func scrubNow() async throws -> Status {
    try await scrub(isHurried: true)
    return status
  }

  func state() async -> Status {
    if status.startedAt == nil, let place = try? await ScrubPlace.load(registry.database) {
      status.finishedAt = place.finishedAt
      status.damaged = place.damaged
    }
    return status
  }

  private func scrub(isHurried: Bool) async throws {
    if isHurried { self.isHurried = true }
    if let current { return try await current.value }
    let task = Task { try await pass() }
    current = task
    defer {
      current = nil
      self.isHurried = false
      status.isRunning = false
    }
    try await withTaskCancellationHandler {
      try await task.value
    } onCancel: {
      task.cancel()
    }
  }

  // MARK: one pass

  private func pass() async throws {
    var place = try await ScrubPlace.load(registry.database)
    if !place.isUnderWay { place = ScrubPlace(startedAt: now(), finishedAt: place.finishedAt) }
    let files = await registry.scrubbable()
    status = Status(isRunning: true, startedAt: place.startedAt, finishedAt: place.finishedAt)
    status.damaged = place.damaged
    status.total = files.reduce(0) { $0 + $1.manifest.length }
    // By digest, so that a place means the same after models came and went.
    for model in files {
      let hex = model.manifest.sha256.hex
      if hex < place.file {
        status.done += model.manifest.length
        continue
      }
      if hex > place.file { (place.file, place.offset) = (hex, 0) }
      let isIntact = try await read(model, &place)
      if !isIntact, await registry.foundDamaged(model) {
        place.damaged.append(model.manifest.label)
        status.damaged = place.damaged
        await onDamage(model.manifest.sha256)
      }
      // The next digest, whatever it is.
      (place.file, place.offset) = (hex + "~", 0)
      try await place.save(registry.database)
    }
    try await audit(
      .store, "system",
      [
        "event": "scrubbed", "files": .integer(Int64(files.count)),
        "bytes": .integer(Int64(clamping: status.total)), "damaged": .array(place.damaged.map { .string($0) }),
      ])
    place = ScrubPlace(startedAt: nil, finishedAt: now(), damaged: place.damaged)
    try await place.save(registry.database)
    status.finishedAt = place.finishedAt
  }

  /// Reads a file from the place on. False when it is damaged or gone.
  private func read(_ model: InstalledModel, _ place: inout ScrubPlace) async throws -> Bool {
    let manifest = model.manifest
    let before = status.done
    defer { status.done = before + manifest.length }
    let store = registry.store
    guard let file = try await registry.scrubReader(manifest) else { return false }
    guard let digest = manifest.indexDigest, let index = try? store.index(digest), index.totalLength == manifest.length
    else {
      // Without an index only the whole tells.
      return try await readWhole(file, manifest, &place)
    }
    let chunks = index.chunks
    var number = chunks.firstIndex { $0.offset >= place.offset } ?? chunks.count
    var unsaved: UInt64 = 0
    while number < chunks.count {
      try Task.checkCancellation()
      let began = Clock.monotonic()
      let most = batch
      let (start, list) = (number, chunks)
      let (next, isIntact) = try await IdleThread.run { () -> (Int, Bool) in
        var (number, read): (Int, UInt64) = (start, 0)
        while number < list.count, read < most {
          guard try file.holdsAfresh(list[number]) else { return (number, false) }
          read += UInt64(list[number].length)
          number += 1
        }
        return (number, true)
      }
      guard isIntact else { return false }
      number = next
      let end = chunks[number - 1].end
      unsaved += end - place.offset
      let read = end - place.offset
      place.offset = end
      status.done = before + end
      if unsaved >= Scrubber.grain {
        try await place.save(registry.database)
        unsaved = 0
      }
      try await pace(read, since: began)
    }
    return true
  }

  private func readWhole(_ file: ScrubReader, _ manifest: ModelManifest, _ place: inout ScrubPlace) async throws -> Bool
  {
    var hasher = SHA256()
    var offset: UInt64 = 0
    while offset < manifest.length {
      try Task.checkCancellation()
      let began = Clock.monotonic()
      let (at, count) = (offset, Int(min(batch, manifest.length - offset)))
      let bytes = try await IdleThread.run { try file.readAfresh(at: at, count: count) }
      guard bytes.count == count else { return false }
      hasher.update(bytes)
      offset += UInt64(count)
      status.done += UInt64(count)
      try await pace(UInt64(count), since: began)
    }
    return hasher.finalize() == manifest.sha256
  }

  /// Half a second's worth at a time, 8 MiB at most.
  private var batch: UInt64 {
    isHurried || policy.scrubBytesPerSecond == 0 ? 8 << 20 : min(max(policy.scrubBytesPerSecond / 2, 1 << 16), 8 << 20)
  }

  private func pace(_ bytes: UInt64, since began: Duration) async throws {
    guard !isHurried, policy.scrubBytesPerSecond > 0 else { return }
    let due = began + .seconds(Double(bytes) / Double(policy.scrubBytesPerSecond))
    let wait = due - Clock.monotonic()
    if wait > .zero { try await Task.sleep(for: wait) }
  }
}

/// Where a scrub is, in agent.sqlite.
struct ScrubPlace: Sendable, Hashable, Codable {
  /// Unix seconds; nil between scrubs.
  var startedAt: Int64?
  var finishedAt: Int64?
  /// Files of lower digests are done.
  var file = ""
  /// Bytes of that file that are done.
  var offset: UInt64 = 0
  var damaged: [String] = []

  var isUnderWay: Bool { startedAt != nil }

  /// One that can't be read begins anew.
  static func load(_ database: Database) async throws -> ScrubPlace {
    let text = try await database.read { try StoreMarks.scrub("place", $0) }
    return text.flatMap { ScrubPlace(json: try? JSONValue(parsing: $0.utf8)) } ?? ScrubPlace()
  }

  func save(_ database: Database) async throws {
    let text = String(decoding: json.encoded(), as: UTF8.self)
    try await database.write { try StoreMarks.setScrub("place", text, $0) }
  }

  init(startedAt: Int64? = nil, finishedAt: Int64? = nil, damaged: [String] = []) {
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.damaged = damaged
  }

  init?(json: JSONValue?) {
    guard let json, let file = json["file"]?.string, let offset = json["offset"]?.integer, offset >= 0 else {
      return nil
    }
    startedAt = json["startedAt"]?.integer
    finishedAt = json["finishedAt"]?.integer
    self.file = file
    self.offset = UInt64(offset)
    damaged = json["damaged"]?.array?.compactMap(\.string) ?? []
  }

  var json: JSONValue {
    [
      "startedAt": startedAt.map(JSONValue.integer) ?? .null, "finishedAt": finishedAt.map(JSONValue.integer) ?? .null,
      "file": .string(file), "offset": .integer(Int64(clamping: offset)),
      "damaged": .array(damaged.map { .string($0) }),
    ]
  }
}

extension ModelRegistry {
  /// The files to scrub, each once, by their digests: all that callers may be given, and those kept for a rollback.
  func scrubbable() -> [InstalledModel] {
    var seen: Set<Digest> = []
    return models.filter { $0.state == .active }
      .sorted { ($0.isRetired ? 1 : 0) < ($1.isRetired ? 1 : 0) }
      .filter { seen.insert($0.manifest.sha256).inserted }
      .sorted { $0.manifest.sha256.hex < $1.manifest.sha256.hex }
  }

  /// Nil when the file is not there in its full length.
  nonisolated func scrubReader(_ manifest: ModelManifest) async throws -> ScrubReader? {
    let path = store.blobPath(manifest.sha256)
    guard DurableFile.size(path) == manifest.length else { return nil }
    return try? ScrubReader(path)
  }

  /// Takes every model with this file out of use. False when a sync has dealt with it meanwhile.
  func foundDamaged(_ model: InstalledModel) async -> Bool {
    let named = models.filter { $0.manifest.sha256 == model.manifest.sha256 && $0.state == .active }
    for model in named {
      do {
        try await markCorrupt(model, event: "scrub_mismatch", problem: "the scrubber found it damaged")
      } catch {
        // The row is written first: it is out of use even where the record can't be made.
        Log.shared.error("a damaged file could not be put on record", ["reason": "\(error)"])
      }
    }
    return !named.isEmpty
  }
}

/// A stored file, read past the page cache where the kernel allows it.
final class ScrubReader: Sendable {
  private let descriptor: Int32

  init(_ path: String) throws(StorageError) {
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    if descriptor < 0 { throw .notFound(path: path) }
  }

  deinit { close(descriptor) }

  /// Fewer bytes at the file's end, and where the disk gives no more.
  func readAfresh(at offset: UInt64, count: Int) throws -> [UInt8] {
    // Pages that nobody has mapped go, so that the disk is read and not what was read before.
    posix_fadvise(descriptor, off_t(offset), off_t(count), POSIX_FADV_DONTNEED)
    defer { posix_fadvise(descriptor, off_t(offset), off_t(count), POSIX_FADV_DONTNEED) }
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress?.advanced(by: done), count - done, off_t(offset) + off_t(done))
      }
      if got < 0, errno == EINTR { continue }
      if got <= 0 { break }
      done += got
    }
    bytes.removeLast(count - done)
    return bytes
  }

  func holdsAfresh(_ chunk: Chunk) throws -> Bool {
    let bytes = try readAfresh(at: chunk.offset, count: chunk.length)
    return bytes.count == chunk.length && Digest(of: bytes) == chunk.id
  }
}
