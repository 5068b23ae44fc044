/// The head of a transparency log: how many entries it has and the root hash over them (C2SP tlog-checkpoint).
public struct Checkpoint: Sendable, Hashable {
  /// The log's own name, the same for all its life.
  public let origin: String
  public let size: UInt64
  public let root: Digest
  /// Lines after the root; not empty ones. Skerry writes none.
  public let extensions: [String]

  public init(origin: String, size: UInt64, root: Digest, extensions: [String] = []) {
    self.origin = origin
    self.size = size
    self.root = root
    self.extensions = extensions
  }

  /// Reads a note's text. Throws `NoteError.malformedCheckpoint` with what is wrong.
  public init(noteText: String) throws(NoteError) {
    guard noteText.utf8.last == 0x0A else { throw .malformedCheckpoint("it does not end with a newline") }
    let lines = noteText.utf8.dropLast().split(separator: 0x0A, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard lines.count >= 3 else { throw .malformedCheckpoint("it has fewer than three lines") }
    guard !lines[0].isEmpty else { throw .malformedCheckpoint("its origin is empty") }
    guard let size = UInt64(lines[1]), String(size) == lines[1] else {
      throw .malformedCheckpoint("its second line is no plain decimal number")
    }
    guard let bytes = Base64.decode(lines[2]), let root = Digest(bytes: bytes), Base64.encode(bytes) == lines[2] else {
      throw .malformedCheckpoint("its third line is not 32 bytes in base64")
    }
    let extensions = Array(lines.dropFirst(3))
    guard !extensions.contains("") else { throw .malformedCheckpoint("it has an empty line") }
    self.init(origin: lines[0], size: size, root: root, extensions: extensions)
  }

  /// The text to sign.
  public var noteText: String {
    ([origin, String(size), Base64.encode(root.bytes)] + extensions).map { $0 + "\n" }.joined()
  }
}
