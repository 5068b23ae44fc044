import Fleet
import Host
import Storage
import Trust

/// What the box has to tell its hub, as one sealed bundle: how it is, its outbox with a fresh report, the head of its
/// audit log with the proof that it continues the last cosigned one, and the records since.
extension BundleService {
  /// A bundle that is ready to be sent: its head, then what is spooled. The file goes with this value.
  final class Export: Sendable {
    let head: [UInt8]
    private let spool: SpoolFile
    private let length: UInt64

    init(head: [UInt8], spool: SpoolFile, length: UInt64) {
      self.head = head
      self.spool = spool
      self.length = length
    }

    deinit { spool.remove() }

    /// Hands the whole bundle on, in pieces.
    func write(_ to: ([UInt8]) async throws -> Void) async throws {
      try await to(head)
      var offset: UInt64 = 0
      while offset < length {
        let (spool, start) = (spool, offset)
        let piece = try await offPool { try spool.read(at: start, count: 1 << 18) }
        guard !piece.isEmpty else { throw StorageError.damaged(path: spool.path, reason: "it is shorter than it was") }
        try await to(piece)
        offset += UInt64(piece.count)
      }
    }
  }

  /// Throws `BundleFailure`, and what the disk and the audit log throw. The outbox stays as it is: what the hub has, it
  /// says in its next bundle.
  func export(actor: String) async throws -> Export {
    guard !isBusy else { throw BundleFailure.busy }
    isBusy = true
    defer { isBusy = false }
    guard let enrolment = await sync.currentEnrolment() else { throw BundleFailure.notEnrolled }
    guard let key = enrolment.sealTo.flatMap({ SealingKey(hex: $0) }) else { throw BundleFailure.noHubKey }
    try await sync.queueReport()
    try await audit(.bundle, actor, ["event": "exported", "hub": .string(enrolment.hub)])

    let state = try JSONValue(encoding: try await sync.request()).encoded()
    let note = log.signedHead()
    let size = try Checkpoint(noteText: note.text).size
    let cosigned = min(log.cosigned()?.size ?? 0, size)
    let checkpoint = try checkpoint(note, from: cosigned, to: size)
    let pages = try await tables.pages()
    let (log, device, path) = (log, identity.id, spoolDirectory + "/outgoing")
    let spooled = try await offPool {
      let spool = try SpoolFile(path)
      do {
        var writer = try SealedEntries(to: key, device: device, spool: spool)
        try writer.add(.state, "state", state)
        for (number, page) in pages.enumerated() { try writer.add(.outbox, "\(number + 1)", page) }
        try writer.add(.checkpoint, "head", checkpoint)
        try writer.add(.records, "segment") { write in try log.segment(from: cosigned, to: size, write: write) }
        return (spool, try writer.finish())
      } catch {
        spool.remove()
        throw error
      }
    }
    let entry = BundleEntry(
      kind: .sealed, name: device.hex, length: spooled.1.length, sha256: spooled.1.sha256)
    var listing = BundleListing()
    try listing.add(entry)
    let sums = listing.finish()
    let signed = try await signed(hub: enrolment.hub, sums.entries, sums.length, sums.sha256)
    return Export(head: BundleFormat.head(signed) + entry.header, spool: spooled.0, length: spooled.1.length)
  }

  /// The body of a request to the witness, as it would go online.
  private func checkpoint(_ note: SignedNote, from old: UInt64, to new: UInt64) throws -> [UInt8] {
    let proof = old == 0 || old == new ? [] : try log.consistencyProof(old: old, new: new)
    return Array(
      (["old \(old)"] + proof.map { Base64.encode($0.bytes) } + ["", note.encoded]).joined(separator: "\n").utf8)
  }
}

/// Writes entries sealed into a spool.
struct SealedEntries: ~Copyable {
  private var sealer: SealedStream.Sealer
  private let spool: SpoolFile
  private var length: UInt64 = 0
  private var digest = SHA256()

  init(to key: SealingKey, device: DeviceID, spool: SpoolFile) throws {
    sealer = try SealedStream.Sealer(to: key, info: BundleSeal.info(device))
    self.spool = spool
  }

  mutating func add(_ kind: BundleKind, _ name: String, _ bytes: [UInt8]) throws {
    guard UInt64(bytes.count) <= kind.limit else { throw BundleError.tooLarge("\(kind) \(name)") }
    try put(sealer.push(BundleEntry(kind: kind, name: name, bytes: bytes).header))
    try put(sealer.push(bytes))
  }

  /// An entry that is too long to hold: it is made twice, first to be measured.
  mutating func add(_ kind: BundleKind, _ name: String, _ make: (([UInt8]) throws -> Void) throws -> Void) throws {
    var size: UInt64 = 0
    var hasher = SHA256()
    try make { piece in
      size += UInt64(piece.count)
      hasher.update(piece)
    }
    try put(sealer.push(BundleEntry(kind: kind, name: name, length: size, sha256: hasher.finalize()).header))
    try make { piece in try put(sealer.push(piece)) }
  }

  consuming func finish() throws -> (length: UInt64, sha256: Digest) {
    try put(sealer.finish())
    return (length, digest.finalize())
  }

  private mutating func put(_ sealed: [UInt8]) throws {
    guard !sealed.isEmpty else { return }
    try spool.write(sealed, at: length)
    length += UInt64(sealed.count)
    digest.update(sealed)
  }
}

extension SyncTables {
  /// All that waits, most important first, as bodies of POST /v1/outbox.
  func pages() async throws -> [[UInt8]] {
    try await database.read { connection in
      var pages: [[UInt8]] = []
      var items: [OutboxItem] = []
      var bytes = 0
      func close() throws {
        if !items.isEmpty { pages.append(try JSONValue(encoding: OutboxBatch(items: items)).encoded()) }
        (items, bytes) = ([], 0)
      }
      for row in try connection.query("SELECT * FROM outbox ORDER BY priority, created, id") {
        let body = try row.text("body")
        if items.count == OutboxBatch.maximumItems || bytes + body.utf8.count > 1 << 20 { try close() }
        bytes += body.utf8.count
        items.append(
          OutboxItem(
            id: try row.text("id"), kind: try row.text("kind"), priority: Int(try row.integer("priority")),
            created: try row.integer("created"), body: try JSONValue(parsing: body.utf8)))
      }
      try close()
      return pages
    }
  }
}
