import Trust

/// What the witness answers (C2SP tlog-witness, "add-checkpoint").
public enum WitnessVerdict: Sendable, Hashable {
  case accepted
  /// 400: the request contradicts itself.
  case malformed(String)
  /// 409: the box reckons with another head than the recorded one, whose size this is.
  case conflict(size: UInt64)
  /// 422: the new head does not contain the recorded one.
  case inconsistent
}

/// The body of a request to a witness: `old SIZE`, the lines of a consistency proof, an empty line, a checkpoint.
public struct AddCheckpoint: Sendable {
  /// "The consistency proof … MUST NOT be more than 63 lines."
  static let maximumProof = 63
  /// More than any checkpoint with a full proof takes, in bytes.
  static let maximumLength = 64 << 10

  public let oldSize: UInt64
  public let proof: [Digest]
  public let note: SignedNote
  public let checkpoint: Checkpoint

  public struct Malformed: Error, CustomStringConvertible {
    public let description: String
  }

  public init(parsing body: [UInt8]) throws(Malformed) {
    guard body.count <= AddCheckpoint.maximumLength else { throw Malformed(description: "the request is too large") }
    let lines = body.split(separator: 0x0A, omittingEmptySubsequences: false)
    guard let gap = lines.firstIndex(where: \.isEmpty), gap > 0 else {
      throw Malformed(description: "there is no empty line between the proof and the checkpoint")
    }
    let first = String(decoding: lines[0], as: UTF8.self)
    guard first.hasPrefix("old "), let old = UInt64(first.dropFirst(4)), String(old) == first.dropFirst(4) else {
      throw Malformed(description: "the first line is not \"old\" and a size")
    }
    guard gap - 1 <= AddCheckpoint.maximumProof else {
      throw Malformed(description: "the proof has more than \(AddCheckpoint.maximumProof) lines")
    }
    var proof: [Digest] = []
    for line in lines[1..<gap] {
      guard let bytes = Base64.decode(String(decoding: line, as: UTF8.self)), let hash = Digest(bytes: bytes) else {
        throw Malformed(description: "line \(proof.count + 2) is no hash in base64")
      }
      proof.append(hash)
    }
    // The last line has no line feed after it: an empty one there parts nothing.
    let start = lines[0...gap].reduce(0) { $0 + $1.count + 1 }
    guard start < body.count else { throw Malformed(description: "there is no checkpoint") }
    do {
      note = try SignedNote(parsing: Array(body[start...]))
      checkpoint = try Checkpoint(noteText: note.text)
    } catch { throw Malformed(description: error.description) }
    oldSize = old
    self.proof = proof
  }

  /// The body as a box sends it.
  public static func body(oldSize: UInt64, proof: [Digest], note: SignedNote) -> [UInt8] {
    Array(
      (["old \(oldSize)"] + proof.map { Base64.encode($0.bytes) } + ["", note.encoded]).joined(separator: "\n").utf8)
  }

  /// Decides over a checkpoint whose signature was checked already. `recorded` is the head cosigned last, nil before
  /// the first.
  public func verdict(recorded: (size: UInt64, root: Digest)?) -> WitnessVerdict {
    let recorded = recorded ?? (0, Merkle.emptyRoot)
    // "The old size MUST be equal to or lower than the checkpoint size. Otherwise, the witness MUST respond with a
    // "400 Bad Request" HTTP status code."
    guard oldSize <= checkpoint.size else { return .malformed("the old size is above the checkpoint's") }
    // "The witness MUST check that the old size matches the size of the latest checkpoint it cosigned for the
    // checkpoint's origin (or zero if it never cosigned a checkpoint for the origin). If it doesn't match, the witness
    // MUST respond with a "409 Conflict" HTTP status code."
    guard oldSize == recorded.size else { return .conflict(size: recorded.size) }
    // "If the old size matches the checkpoint size, the witness MUST check that the root hashes are also identical. If
    // they don't match, the witness MUST respond with a "409 Conflict" HTTP status code."
    if oldSize == checkpoint.size, recorded.root != checkpoint.root { return .conflict(size: recorded.size) }
    // "If the proof doesn't verify, the witness MUST respond with a "422 Unprocessable Entity" HTTP status code."
    let consistent = Merkle.verifyConsistency(
      oldSize: recorded.size, oldRoot: recorded.root, newSize: checkpoint.size, newRoot: checkpoint.root, proof: proof)
    return consistent ? .accepted : .inconsistent
  }
}
