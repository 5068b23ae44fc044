import Trust

/// Verifies an audit export with nothing but the file and, if the auditor has them, the keys. It takes the file in
/// pieces of any size and needs memory for one line and one path of the tree.
public struct AuditVerifier: Sendable {
  /// No line of an export is longer.
  public static let maximumLineLength = 8 << 20

  private let deviceKey: NoteVerifier?
  private let witness: NoteVerifier?
  private var line: [UInt8] = []
  private var header: AuditExportHeader?
  private var checkpoint: Checkpoint?
  private var cosigned: Checkpoint?
  /// The tree over the records, and the tree over the hashes that stand beside them.
  private var computed = MerkleFrontier()
  private var listed = MerkleFrontier()
  private var firstMismatch: UInt64?
  private var historyRewritten = false
  private var verdict = AuditVerdict()
  /// Nothing after the first structural failure means anything.
  private var stopped = false

  /// `deviceKey` is the device's note key as the hub or the box gave it to the auditor, `witness` the hub's.
  public init(deviceKey: NoteVerifier? = nil, witness: NoteVerifier? = nil) {
    self.deviceKey = deviceKey
    self.witness = witness
    verdict.deviceKeyGiven = deviceKey != nil
    verdict.witnessGiven = witness != nil
  }

  /// Verifies an export that is at hand as a whole.
  public static func verify(
    _ bytes: some Collection<UInt8>, deviceKey: NoteVerifier? = nil, witness: NoteVerifier? = nil
  ) -> AuditVerdict {
    var verifier = AuditVerifier(deviceKey: deviceKey, witness: witness)
    verifier.push(bytes)
    return verifier.finish()
  }

  /// How many entries were read; for a progress bar.
  public var entriesRead: UInt64 { computed.size }
  /// How many there should be, once the header was read.
  public var entriesExpected: UInt64? { checkpoint?.size }
  /// True once reading on can't change the verdict.
  public var isDecided: Bool { stopped }

  /// Takes the next piece of the file.
  public mutating func push(_ bytes: some Collection<UInt8>) {
    var rest = bytes[...]
    while !stopped, let end = rest.firstIndex(of: 0x0A) {
      line += rest[..<end]
      rest = rest[rest.index(after: end)...]
      if line.count > Self.maximumLineLength {
        tooLong()
      } else {
        take()
      }
      line.removeAll(keepingCapacity: true)
    }
    if stopped { return }
    line += rest
    if line.count > Self.maximumLineLength { tooLong() }
  }

  /// The verdict over all that was pushed.
  public mutating func finish() -> AuditVerdict {
    if !stopped { conclude() }
    stopped = true
    verdict.entriesRead = computed.size
    return verdict
  }

  private mutating func take() {
    do {
      if header == nil {
        do {
          try takeHeader()
        } catch {
          throw AuditVerdict.Failure(index: nil, reason: "the export's header is wrong: \(error)")
        }
      } else {
        try takeEntry()
      }
    } catch let failure as AuditVerdict.Failure {
      fail(failure.index, failure.reason)
    } catch {
      fail(computed.size, "\(error)")
    }
  }

  private mutating func takeHeader() throws {
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
    if let note = header.cosigned {
      guard let witness = witness ?? header.witness else { throw AuditExportError("it names no witness") }
      let cosigned = try Self.checkpoint(in: note, of: header)
      guard cosigned.size <= checkpoint.size else { throw AuditExportError("the witness cosigned a longer log") }
      guard note.signatures.count == 2, let time = note.cosignatureTime(by: witness) else {
        throw AuditExportError("the witness's cosignature is not valid")
      }
      if cosigned.size == checkpoint.size && cosigned.root != checkpoint.root {
        throw AuditExportError("the witness cosigned another log of the same size")
      }
      self.cosigned = cosigned
      verdict.cosignedSize = cosigned.size
      verdict.cosignedAt = time
    }
    self.header = header
    self.checkpoint = checkpoint
    compareWithWitness()
  }

  private static func checkpoint(in note: SignedNote, of header: AuditExportHeader) throws -> Checkpoint {
    guard note.verified(by: header.device) else { throw AuditExportError("the device's signature is not valid") }
    let checkpoint = try Checkpoint(noteText: note.text)
    guard checkpoint.origin == header.origin else { throw AuditExportError("the signed head is another log's") }
    return checkpoint
  }

  private mutating func takeEntry() throws {
    let index = computed.size
    guard let size = checkpoint?.size, index < size else {
      throw AuditVerdict.Failure(index: index, reason: "the signed head has only \(index) entries, and here is another")
    }
    let entry = try AuditExportEntry(line: line)
    guard entry.index == index else {
      let reason =
        entry.index > index
        ? "it is missing; entry \(entry.index) stands in its place"
        : "entry \(entry.index) stands in its place once more"
      throw AuditVerdict.Failure(index: index, reason: reason)
    }
    let hash = Merkle.leafHash(entry.record)
    if hash != entry.listedHash && firstMismatch == nil { firstMismatch = index }
    computed.append(hash)
    listed.append(entry.listedHash)
    compareWithWitness()
  }

  /// At the size that the witness cosigned, the tree must be the one that it saw.
  private mutating func compareWithWitness() {
    guard let cosigned, cosigned.size == computed.size else { return }
    historyRewritten = computed.root != cosigned.root
  }

  private mutating func conclude() {
    guard let checkpoint else { return fail(nil, "the export is empty or cut off in its header") }
    if !line.isEmpty { return fail(computed.size, "the export is cut off in this line") }
    if let index = firstMismatch { return fail(index, mismatchReason(checkpoint)) }
    if computed.size < checkpoint.size {
      return fail(computed.size, "the export ends here, and the signed head has \(checkpoint.size) entries")
    }
    if historyRewritten {
      return fail(nil, "entries that the witness saw were rewritten, somewhere before entry \(cosigned?.size ?? 0)")
    }
    if computed.root != checkpoint.root {
      let seen = cosigned?.size ?? 0
      return fail(
        nil, "an entry was rewritten together with its hash, somewhere from entry \(seen) to \(checkpoint.size - 1)")
    }
  }

  private func mismatchReason(_ checkpoint: Checkpoint) -> String {
    if computed.size < checkpoint.size { return "its record has not the hash beside it, and later entries are missing" }
    if listed.root == checkpoint.root { return "its record was changed: the signed tree has another hash for it" }
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
