/// Evidence for one entry of a log, in one file that is verified alone (C2SP tlog-proof): the entry's place, the path
/// from it to the root, and the signed head with the root.
public struct TlogProof: Sendable, Hashable {
  /// The first line of every such file.
  public static let magic = "c2sp.org/tlog-proof@v1"
  /// Bytes of the largest file that is read.
  public static let limit = 4 << 20
  /// A tree of 2^63 entries has no longer path.
  static let maximumPath = 63

  /// What the log's application adds; nobody vouches for it. Skerry puts the record itself here, which its hash proves.
  public let extra: [UInt8]?
  public let index: UInt64
  /// From the leaf's sibling up (RFC 6962 §2.1.1).
  public let path: [Digest]
  /// The head, signed by the log and cosigned by witnesses.
  public let head: SignedNote
  /// What the head says.
  public let checkpoint: Checkpoint

  /// Throws `NoteError.malformedCheckpoint` when the note is no head.
  public init(extra: [UInt8]?, index: UInt64, path: [Digest], head: SignedNote) throws(NoteError) {
    self.extra = extra
    self.index = index
    self.path = path
    self.head = head
    checkpoint = try Checkpoint(noteText: head.text)
  }

  /// The file.
  public var encoded: String {
    var lines = [TlogProof.magic]
    if let extra { lines.append("extra \(Base64.encode(extra))") }
    lines.append("index \(index)")
    lines += path.map { Base64.encode($0.bytes) }
    return lines.map { $0 + "\n" }.joined() + "\n" + head.encoded
  }

  /// Reads a file to the letter; nothing is verified yet. Throws `TlogProofError`.
  public init(parsing bytes: [UInt8]) throws(TlogProofError) {
    guard bytes.count <= TlogProof.limit else { throw TlogProofError("it is larger than \(TlogProof.limit) bytes") }
    var rest = bytes[...]
    func line() throws(TlogProofError) -> String {
      guard let end = rest.firstIndex(of: 0x0A) else { throw TlogProofError("it ends too early") }
      defer { rest = rest[(end + 1)...] }
      return String(decoding: rest[..<end], as: UTF8.self)
    }
    guard try line() == TlogProof.magic else { throw TlogProofError("its first line is not \(TlogProof.magic)") }
    var next = try line()
    var extra: [UInt8]?
    if next.hasPrefix("extra ") {
      guard let decoded = Self.exact(next.dropFirst(6)) else { throw TlogProofError("its extra data is not base64") }
      extra = decoded
      next = try line()
    }
    guard next.hasPrefix("index "), let index = UInt64(next.dropFirst(6)), String(index) == next.dropFirst(6) else {
      throw TlogProofError("it has no line \"index\" with a plain decimal number")
    }
    var path: [Digest] = []
    while true {
      next = try line()
      if next.isEmpty { break }
      guard path.count < TlogProof.maximumPath else { throw TlogProofError("its path is too long") }
      guard let hash = Self.exact(next[...]).flatMap({ Digest(bytes: $0) }) else {
        throw TlogProofError("line \(path.count + 1) of its path is no hash in base64")
      }
      path.append(hash)
    }
    do {
      try self.init(extra: extra, index: index, path: path, head: SignedNote(parsing: Array(rest)))
    } catch { throw TlogProofError(error.description) }
  }

  /// True when the head's tree has this record at `index`. Whose head it is, the head's signatures tell.
  public func proves(_ record: [UInt8]) -> Bool {
    Merkle.verifyInclusion(
      leaf: Merkle.leafHash(record), index: index, size: checkpoint.size, proof: path, root: checkpoint.root)
  }

  /// Base64 that is written in no other way than ours.
  private static func exact(_ text: Substring) -> [UInt8]? {
    guard let bytes = Base64.decode(text), Base64.encode(bytes) == text else { return nil }
    return bytes
  }
}

/// Why a file is no tlog-proof.
public struct TlogProofError: Error, Hashable, CustomStringConvertible {
  public let description: String
  init(_ reason: String) { description = "this is no tlog-proof: \(reason)" }
}
