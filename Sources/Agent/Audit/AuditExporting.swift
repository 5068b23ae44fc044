import Fleet
import Trust

extension AuditLog {
  /// Writes the log as it is now in the form that `AuditVerifier` reads, in pieces of about 64 KiB and in memory that does
  /// not grow with it. Entries before `first` and those that the selection leaves out are there by their hashes alone, so
  /// that what is there can be proven all the same. The header's size is where the next export may begin.
  public func export(
    _ selection: AuditSelection = AuditSelection(), from first: UInt64 = 0, to write: ([UInt8]) async throws -> Void
  ) async throws {
    let note = signedHead()
    let size = try Checkpoint(noteText: note.text).size
    guard first <= size else { throw MerkleError.outOfRange }
    let cosigned = cosigned(within: size)
    let header = AuditExportHeader(
      origin: origin, size: size, checkpoint: note, cosigned: cosigned?.note, device: deviceKey,
      witness: cosigned?.witness, selection: selection)
    var piece = header.line + [0x0A]
    /// Up to where the entries are written or known to be left out, and from where on they are left out.
    var next = max(first, log.first)
    var written: UInt64 = 0
    if first >= log.first {
      // A run of its own, so that who has the head of that size can compare.
      piece += try gap(0..<first, partedAt: cosigned?.size)
      written = first
    }
    while next < size {
      let end = min(next - next % 256 + 256, size)
      let leaves = try leafHashes(next..<end)
      for entry in try records(next..<end) {
        if !selection.isEverything {
          guard let record = try? JSONValue(parsing: entry.record), selection.matches(record) else { continue }
        }
        piece += try gap(written..<entry.index, partedAt: cosigned?.size)
        piece += AuditExportEntry.line(
          index: entry.index, record: entry.record, hash: leaves[Int(entry.index - next)])
        piece.append(0x0A)
        written = entry.index + 1
        if piece.count >= 1 << 16 {
          try await write(piece)
          piece = []
        }
      }
      next = end
    }
    piece += try gap(written..<size, partedAt: cosigned?.size)
    if !piece.isEmpty { try await write(piece) }
  }

  /// The evidence for one entry: its record, the path to a head's root, and that head. The head is the last that the
  /// witness cosigned, or when the entry is younger the newest that the device signed. Throws `MerkleError.outOfRange`.
  public func proof(of index: UInt64) throws -> TlogProof {
    let signed = signedHead()
    let size = try Checkpoint(noteText: signed.text).size
    guard index < size else { throw MerkleError.outOfRange }
    guard index >= log.first else { throw MerkleError.pruned }
    let cosigned = cosigned(within: size).flatMap { $0.size > index ? $0 : nil }
    guard let record = try log.read(from: index, limit: 1).first, record.index == index else {
      throw MerkleError.missingHashes
    }
    return try TlogProof(
      extra: record.record, index: index, path: inclusionProof(index: index, size: cosigned?.size ?? size),
      head: cosigned?.note ?? signed)
  }

  /// Exactly these records.
  private func records(_ range: Range<UInt64>) throws -> [RecordLogEntry] {
    let entries = try log.read(from: range.lowerBound, limit: range.count)
    guard entries.count == range.count else { throw MerkleError.missingHashes }
    return entries
  }

  /// What the tree has for these entries, read in one piece.
  private func leafHashes(_ range: Range<UInt64>) throws -> [Digest] {
    let first = Merkle.storedHashIndex(level: 0, n: range.lowerBound)
    let last = Merkle.storedHashIndex(level: 0, n: range.upperBound - 1)
    let bytes = try tree.hashes.bytes(from: first, count: Int(last - first) + 1)
    return try range.map { index in
      let at = Int(Merkle.storedHashIndex(level: 0, n: index) - first) * 32
      guard at + 32 <= bytes.count, let digest = Digest(bytes: bytes[at..<(at + 32)]) else {
        throw MerkleError.missingHashes
      }
      return digest
    }
  }

  /// The lines that stand for entries that are left out; parted where the witness's head ends, which can then be compared.
  private func gap(_ range: Range<UInt64>, partedAt size: UInt64?) throws -> [UInt8] {
    if let size, range.contains(size), size > range.lowerBound {
      return try gap(range.lowerBound..<size, partedAt: nil) + gap(size..<range.upperBound, partedAt: nil)
    }
    guard !range.isEmpty else { return [] }
    return AuditExportGap(range, roots: try Merkle.roots(over: range, read: tree.hashes.read)).line + [0x0A]
  }
}
