import Storage
import Synchronization
import Trust

/// A head that the log doesn't know as its own.
public struct AuditHeadRefused: Error, Hashable, CustomStringConvertible {
  public let description: String
}

/// The signed heads on disk: `head`, the newest that the device signed, and `cosigned.json`, the newest that the
/// witness cosigned, with the witness's key. The log is held to both when it is opened.
final class AuditHeads: Sendable {
  struct Cosigned: Sendable {
    let note: SignedNote
    let checkpoint: Checkpoint
    let witness: NoteVerifier
  }

  private struct State {
    var signed: (note: SignedNote, checkpoint: Checkpoint)?
    var cosigned: Cosigned?
    /// Whether `signed` is on disk.
    var isSaved = true
  }

  private let device: NoteVerifier
  private let headPath: String
  private let cosignedPath: String
  private let state: Mutex<State>
  /// Held while files are written; whoever only asks does not wait for the disk.
  private let writing = Mutex(())

  /// Throws `AuditTampered` when a file is there but no head of this device.
  init(directory: String, device: NoteVerifier) throws {
    self.device = device
    headPath = directory + "/head"
    cosignedPath = directory + "/cosigned.json"
    var state = State()
    if let bytes = try DurableFile.read(headPath, limit: SignedNote.maximumLength) {
      do {
        let note = try SignedNote(parsing: bytes)
        state.signed = (note, try Self.checkpoint(note, device))
      } catch {
        throw AuditTampered(index: nil, reason: "its file head is not a head that this device signed")
      }
    }
    if let bytes = try DurableFile.read(cosignedPath, limit: SignedNote.maximumLength) {
      do {
        let value = try JSONValue(parsing: bytes)
        let note = try SignedNote(parsing: Array((value["note"]?.string ?? "").utf8))
        let witness = try NoteVerifier(vkey: value["witness"]?.string ?? "")
        guard note.verified(by: witness) else { throw AuditHeadRefused(description: "no cosignature") }
        state.cosigned = Cosigned(note: note, checkpoint: try Self.checkpoint(note, device), witness: witness)
      } catch {
        throw AuditTampered(index: nil, reason: "its file cosigned.json is not a head that the witness cosigned")
      }
    }
    self.state = Mutex(state)
  }

  var cosigned: Cosigned? { state.withLock(\.cosigned) }

  /// All heads that the log must agree with.
  var checkpoints: [Checkpoint] {
    state.withLock { [$0.signed?.checkpoint, $0.cosigned?.checkpoint].compactMap { $0 } }
  }

  /// A log has a head on disk before it has its first entry, so that one with entries and without it was changed: its tail
  /// could be cut off, and nobody would see. Throws `AuditTampered`, or a `StorageError`; then the log can't begin.
  func begin(_ head: Checkpoint, with key: SigningKey) throws {
    guard state.withLock({ $0.signed == nil }) else { return }
    guard head.size == 0 else { throw AuditTampered(index: nil, reason: "its file head is missing") }
    let note = try SignedNote.sign(text: head.noteText, name: device.name, key: key)
    try writing.withLock { _ in try DurableFile.replace(headPath, with: Array(note.encoded.utf8)) }
    state.withLock { $0.signed = (note, head) }
  }

  /// Signs a head and keeps it; the same one again, or an older one, is not signed twice.
  func sign(_ checkpoint: Checkpoint, with key: SigningKey) -> SignedNote {
    let note = state.withLock { state in
      if let signed = state.signed, signed.checkpoint.size >= checkpoint.size { return signed.note }
      // The origin is checked where it is made, and a checkpoint is always a note's text.
      guard let note = try? SignedNote.sign(text: checkpoint.noteText, name: device.name, key: key) else {
        preconditionFailure("the origin \(device.name.debugDescription) can't name a log")
      }
      state.signed = (note, checkpoint)
      state.isSaved = false
      return note
    }
    save()
    return note
  }

  /// Writes the newest head, if it is not on disk. On a full disk it is kept with the next one.
  private func save() {
    writing.withLock { _ in
      let (note, isSaved) = state.withLock { ($0.signed?.note, $0.isSaved) }
      guard let note, !isSaved else { return }
      guard (try? DurableFile.replace(headPath, with: Array(note.encoded.utf8))) != nil else { return }
      state.withLock { if $0.signed?.note == note { $0.isSaved = true } }
    }
  }

  func store(
    _ note: SignedNote, by witness: NoteVerifier, current: Checkpoint, root: (UInt64) throws -> Digest
  ) throws {
    guard let checkpoint = try? Self.checkpoint(note, device) else {
      throw AuditHeadRefused(description: "the cosigned head is not one that this device signed")
    }
    guard note.cosignatureTime(by: witness) != nil else {
      throw AuditHeadRefused(description: "the head carries no valid cosignature of \(witness.name)")
    }
    guard checkpoint.size <= current.size, try root(checkpoint.size) == checkpoint.root else {
      throw AuditHeadRefused(description: "the cosigned head is not one that this log ever had")
    }
    var kept = try SignedNote(text: note.text)
    kept.signatures = [device, witness].compactMap { verifier in
      note.signatures.first { candidate in
        var single = kept
        single.signatures = [candidate]
        return single.verified(by: verifier)
      }
    }
    try writing.withLock { _ in
      if let have = cosigned, have.witness == witness, have.checkpoint.size > checkpoint.size { return }
      let value: JSONValue = ["note": .string(kept.encoded), "witness": .string(witness.vkey)]
      try DurableFile.replace(cosignedPath, with: value.encoded())
      state.withLock { $0.cosigned = Cosigned(note: kept, checkpoint: checkpoint, witness: witness) }
    }
  }

  private static func checkpoint(_ note: SignedNote, _ device: NoteVerifier) throws -> Checkpoint {
    let checkpoint = try Checkpoint(noteText: note.text)
    guard checkpoint.origin == device.name, note.verified(by: device) else {
      throw AuditHeadRefused(description: "it is not this device's")
    }
    return checkpoint
  }
}
