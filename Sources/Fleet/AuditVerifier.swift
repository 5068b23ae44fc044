import Trust

/// Verifies an audit export with nothing but the file and, if the auditor has them, the keys and a head. It takes the file
/// in pieces of any size and needs memory for one line and one path of the tree.
public struct AuditVerifier: Sendable {
  /// No line of an export is longer.
  public static let maximumLineLength = 8 << 20

  private let deviceKey: NoteVerifier?
  private let witness: NoteVerifier?
  private let known: SignedNote?
  private var line: [UInt8] = []
  private var header: AuditExportHeader?
  private var checkpoint: Checkpoint?
  /// Heads that the entries must lead through, by size, the smallest first.
  private var milestones: [Milestone] = []
  /// The tree over the records.
  private var computed = MerkleFrontier()
  /// The tree over the hashes that stand beside them; the same until an entry is found whose record has another.
  private var listed: MerkleFrontier?
  private var firstMismatch: UInt64?
  private var rewrittenBefore: Milestone?
  private var cosignedInFile: (UInt64?, UInt64?) = (nil, nil)
  private var verdict = AuditVerdict()
  /// Nothing after the first structural failure means anything.
  private var stopped = false

  private struct Milestone: Sendable {
    let head: Checkpoint
    /// By the auditor; else it stands in the export, cosigned.
    var isGiven = false
    var says: String { isGiven ? "the head that you gave covers" : "the witness saw" }
  }

  /// - Parameters:
  ///   - deviceKey: the device's note key as the hub or the box gave it to the auditor.
  ///   - witness: the hub's.
  ///   - known: a head of this log that the auditor has from elsewhere, from the hub say: the export must contain it.
  public init(deviceKey: NoteVerifier? = nil, witness: NoteVerifier? = nil, known: SignedNote? = nil) {
    self.deviceKey = deviceKey
    self.witness = witness
    self.known = known
    verdict.deviceKeyGiven = deviceKey != nil
    verdict.witnessGiven = witness != nil
  }

  /// Verifies an export that is at hand as a whole.
  public static func verify(
    _ bytes: some Collection<UInt8>, deviceKey: NoteVerifier? = nil, witness: NoteVerifier? = nil,
    known: SignedNote? = nil
  ) -> AuditVerdict {
    var verifier = AuditVerifier(deviceKey: deviceKey, witness: witness, known: known)
    verifier.push(bytes)
    return verifier.finish()
  }

  /// How many of the log's entries were accounted for; for a progress bar.
  public var entriesRead: UInt64 { computed.size }
  /// How many there should be, once the header was read.
  public var entriesExpected: UInt64? { checkpoint?.size }
  /// True once reading on can't change the verdict.
  public var isDecided: Bool { stopped }

  /// Takes the next piece of the file.
  public mutating func push(_ bytes: some Collection<UInt8>) {
    let taken: Void? = bytes.withContiguousStorageIfAvailable { push(UnsafeRawBufferPointer($0)) }
    if taken == nil { Array(bytes).withUnsafeBytes { push($0) } }
  }

  private mutating func push(_ bytes: UnsafeRawBufferPointer) {
    var start = 0
    while !stopped, let end = Self.lineFeed(in: bytes, from: start) {
      let piece = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
      start = end + 1
      if line.isEmpty {
        take(piece)
      } else {
        line += piece
        let whole = line
        line = []
        whole.withUnsafeBytes { take($0) }
      }
    }
    if stopped { return }
    line += bytes[start...]
    if line.count > Self.maximumLineLength { tooLong() }
  }

  /// The next line feed, found eight bytes at a time: a byte is zero where it takes a borrow and had no high bit.
  private static func lineFeed(in bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
    var at = start
    while at + 8 <= bytes.count {
      let word = bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self) ^ 0x0A0A_0A0A_0A0A_0A0A
      if (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080 != 0 { break }
      at += 8
    }
    return bytes[at...].firstIndex(of: 0x0A)
  }

  /// The verdict over all that was pushed.
  public mutating func finish() -> AuditVerdict {
    if !stopped { conclude() }
    stopped = true
    return verdict
  }

  private mutating func take(_ line: UnsafeRawBufferPointer) {
    guard line.count <= Self.maximumLineLength else { return tooLong() }
    do {
      if header == nil {
        do {
          try takeHeader(Array(line))
        } catch {
          throw AuditVerdict.Failure(index: nil, reason: "the export's header is wrong: \(error)")
        }
      } else if line.starts(with: AuditExportEntry.start) {
        try takeEntry(line)
      } else {
        try takeGap(Array(line))
      }
    } catch let failure as AuditVerdict.Failure {
      fail(failure.index, failure.reason)
    } catch {
      fail(computed.size, "\(error)")
    }
  }

  private mutating func takeHeader(_ line: [UInt8]) throws {
    let header = try AuditExportHeader(line: line)
    if let deviceKey, deviceKey != header.device {
      throw AuditExportError("it is another device's key than the one given")
    }
    if let witness, let stated = header.witness, witness != stated {
      throw AuditExportError("it names another witness than the one given")
    }
    guard header.device.algorithm == NoteVerifier.ed25519, header.device.name == header.origin else {
      throw AuditExportError("its device key is not for signing this log")
    }
    let checkpoint = try Self.checkpoint(in: header.checkpoint, of: header)
    guard checkpoint.size == header.size else { throw AuditExportError("its size is not the signed head's") }
    if header.checkpoint.signatures.count != 1 { throw AuditExportError("its head has stray signatures") }
    verdict.origin = header.origin
    verdict.size = checkpoint.size
    verdict.root = checkpoint.root
    verdict.selection = header.selection
    if let note = header.cosigned {
      guard let witness = witness ?? header.witness else { throw AuditExportError("it names no witness") }
      let cosigned = try Self.checkpoint(in: note, of: header)
      guard cosigned.size <= checkpoint.size else { throw AuditExportError("the witness cosigned a longer log") }
      guard note.signatures.count == 2, let time = note.cosignatureTime(by: witness) else {
        throw AuditExportError("the witness's cosignature is not valid")
      }
      milestones.append(Milestone(head: cosigned))
      verdict.cosignedSize = cosigned.size
      verdict.cosignedAt = time
      cosignedInFile = (cosigned.size, time)
    }
    if let known { try takeKnown(known, header, checkpoint) }
    milestones.sort { $0.head.size < $1.head.size }
    self.header = header
    self.checkpoint = checkpoint
    compare()
  }

  /// The head that the auditor brought must be this log's, and not of a later day.
  private mutating func takeKnown(_ note: SignedNote, _ header: AuditExportHeader, _ checkpoint: Checkpoint) throws {
    let head: Checkpoint
    do { head = try Self.checkpoint(in: note, of: header) } catch {
      throw AuditExportError("the head that you gave is not this log's: \(error)")
    }
    guard head.size <= checkpoint.size else {
      throw AuditExportError(
        "it ends at \(checkpoint.size) entries, but the head that you gave has \(head.size): entries were cut off, or the "
          + "log is one of an earlier day")
    }
    if let witness = witness ?? header.witness, let time = note.cosignatureTime(by: witness),
      head.size >= verdict.cosignedSize ?? 0
    {
      verdict.cosignedSize = head.size
      verdict.cosignedAt = time
    }
    milestones.append(Milestone(head: head, isGiven: true))
    verdict.knownHead = .contained
  }

  private static func checkpoint(in note: SignedNote, of header: AuditExportHeader) throws -> Checkpoint {
    guard note.verified(by: header.device) else { throw AuditExportError("the device's signature is not valid") }
    let checkpoint = try Checkpoint(noteText: note.text)
    guard checkpoint.origin == header.origin else { throw AuditExportError("the signed head is another log's") }
    return checkpoint
  }

  /// A line is `{"hash":"` hash `","n":` index `,"record":` record `}` and nothing else: what is hashed are the bytes as they
  /// stand there.
  private mutating func takeEntry(_ line: UnsafeRawBufferPointer) throws {
    let index = computed.size
    guard let size = checkpoint?.size, index < size else {
      throw AuditVerdict.Failure(index: index, reason: "the signed head has only \(index) entries, and here is another")
    }
    let parts = try EntryParts(line)
    guard parts.index == index else {
      let reason =
        parts.index > index
        ? "it is missing; entry \(parts.index) stands in its place"
        : "entry \(parts.index) stands in its place once more"
      throw AuditVerdict.Failure(index: index, reason: reason)
    }
    let hash = Merkle.leafHash(parts.record)
    if !Base64.isEncoding(of: hash, parts.hash) || listed != nil {
      guard let stated = Base64.decode(String(decoding: parts.hash, as: UTF8.self)).flatMap({ Digest(bytes: $0) })
      else {
        throw AuditExportError("its hash is not 32 bytes in base64")
      }
      if firstMismatch == nil {
        firstMismatch = index
        listed = computed
      }
      listed?.count(stated)
    }
    computed.count(hash)
    verdict.entriesRead += 1
    if computed.size == milestones.first?.head.size { compare() }
  }

  private mutating func takeGap(_ line: [UInt8]) throws {
    let gap = try AuditExportGap(line: line)
    guard let size = checkpoint?.size, gap.range.upperBound <= size else {
      throw AuditVerdict.Failure(index: computed.size, reason: "it leaves out more entries than the signed head has")
    }
    while let milestone = milestones.first, gap.range.contains(milestone.head.size),
      milestone.head.size != gap.range.lowerBound
    {
      // Only the tree of that very size can be compared with it, and an exporter parts its runs at the witness's.
      guard milestone.isGiven else {
        throw AuditExportError("the left-out entries hide the head that the witness cosigned")
      }
      milestones.removeFirst()
      verdict.knownHead = .hidden
      (verdict.cosignedSize, verdict.cosignedAt) = cosignedInFile
    }
    guard gap.append(to: &computed) else {
      throw AuditVerdict.Failure(
        index: computed.size, reason: "it is missing; the line leaves out entries from \(gap.range.lowerBound) on")
    }
    if var others = listed {
      _ = gap.append(to: &others)
      listed = others
    }
    verdict.leftOut += UInt64(gap.range.count)
    compare()
  }

  /// At the size of a head that somebody vouches for, the tree must be the one that was seen.
  private mutating func compare() {
    while let milestone = milestones.first, milestone.head.size == computed.size {
      milestones.removeFirst()
      if milestone.head.root != computed.root, rewrittenBefore == nil { rewrittenBefore = milestone }
    }
  }

  private mutating func conclude() {
    guard let checkpoint else { return fail(nil, "the export is empty or cut off in its header") }
    if !line.isEmpty { return fail(computed.size, "the export is cut off in this line") }
    if let index = firstMismatch { return fail(index, mismatchReason(checkpoint)) }
    if computed.size < checkpoint.size {
      return fail(computed.size, "the export ends here, and the signed head has \(checkpoint.size) entries")
    }
    if let milestone = rewrittenBefore {
      return fail(
        nil, "entries that \(milestone.says) were rewritten, somewhere before entry \(milestone.head.size)")
    }
    if computed.root != checkpoint.root {
      let seen = verdict.cosignedSize ?? 0
      return fail(
        nil, "an entry was rewritten together with its hash, somewhere from entry \(seen) to \(checkpoint.size - 1)")
    }
  }

  private func mismatchReason(_ checkpoint: Checkpoint) -> String {
    if computed.size < checkpoint.size { return "its record has not the hash beside it, and later entries are missing" }
    if listed?.root == checkpoint.root { return "its record was changed: the signed tree has another hash for it" }
    if computed.root == checkpoint.root { return "its record is as signed, but the hash beside it was changed" }
    return "its record has not the hash beside it, and the tree is not the signed one"
  }

  private mutating func tooLong() {
    fail(header == nil ? nil : computed.size, "the line is longer than \(Self.maximumLineLength) bytes")
  }

  private mutating func fail(_ index: UInt64?, _ reason: String) {
    // An entry that was changed before is the first bad one.
    if let earlier = firstMismatch, index ?? 0 > earlier {
      verdict.failure = AuditVerdict.Failure(
        index: earlier, reason: "its record has not the hash beside it; and entry \(index ?? 0): \(reason)")
    } else {
      verdict.failure = AuditVerdict.Failure(index: index, reason: reason)
    }
    stopped = true
  }
}

/// The parts of an entry's line, where they stand.
struct EntryParts {
  let hash: UnsafeRawBufferPointer
  let index: UInt64
  let record: UnsafeRawBufferPointer

  init(_ line: UnsafeRawBufferPointer) throws(AuditExportError) {
    var at = AuditExportEntry.start.count
    // 32 bytes are 44 characters of base64.
    guard line.count > at + 44, line[(at + 44)...].starts(with: AuditExportEntry.afterHash) else {
      throw AuditExportError("its hash is not 32 bytes in base64")
    }
    hash = UnsafeRawBufferPointer(rebasing: line[at..<(at + 44)])
    at += 44 + AuditExportEntry.afterHash.count
    let digits = at
    var number: UInt64 = 0
    while at < line.count, line[at] >= 0x30, line[at] <= 0x39, at - digits < 19 {
      number = number * 10 + UInt64(line[at] - 0x30)
      at += 1
    }
    guard at > digits, line[digits] != 0x30 || at == digits + 1, line[at...].starts(with: AuditExportEntry.afterIndex),
      line.last == 0x7D
    else { throw AuditExportError("the line is not in canonical form") }
    at += AuditExportEntry.afterIndex.count
    guard at < line.count - 1, line[at] == 0x7B, line[line.count - 2] == 0x7D else {
      throw AuditExportError("the line has no record")
    }
    index = number
    record = UnsafeRawBufferPointer(rebasing: line[at..<(line.count - 1)])
  }
}
