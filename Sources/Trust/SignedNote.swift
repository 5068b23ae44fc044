/// One signature line of a note. `signature` holds what follows the key id: 64 bytes of Ed25519, or for a
/// cosignature 8 bytes of time and 64 of Ed25519.
public struct NoteSignature: Sendable, Hashable {
  public let name: String
  public let keyID: UInt32
  public let signature: [UInt8]

  public init(name: String, keyID: UInt32, signature: [UInt8]) {
    self.name = name
    self.keyID = keyID
    self.signature = signature
  }

  /// `— name base64` without the newline.
  public var line: String { "\u{2014} \(name) \(Base64.encode(bigEndian(keyID) + signature))" }

  /// Reads one such line; nil when it is malformed.
  public init?(line: some StringProtocol) {
    let parts = line.split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "\u{2014}", NoteVerifier.isValidName(String(parts[1])),
      let bytes = Base64.decode(parts[2]), bytes.count > 4
    else { return nil }
    self.init(
      name: String(parts[1]), keyID: bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) },
      signature: Array(bytes.dropFirst(4)))
  }
}

/// A text with signatures under it (C2SP signed-note).
public struct SignedNote: Sendable, Hashable {
  public static let maximumLength = 1_000_000
  static let maximumSignatures = 100

  /// What is signed; ends with a newline.
  public let text: String
  public var signatures: [NoteSignature]

  /// A note without signatures yet. Throws when the text can't be a note's.
  public init(text: String) throws(NoteError) {
    guard text.utf8.last == 0x0A else { throw .malformedText("its text does not end with a newline") }
    guard SignedNote.isPlain(Array(text.utf8)) else { throw .malformedText("it has control characters") }
    self.text = text
    signatures = []
  }

  /// Reads a note: the text, an empty line, and at least one signature line.
  public init(parsing bytes: [UInt8]) throws(NoteError) {
    guard bytes.count <= SignedNote.maximumLength else { throw .tooLarge }
    guard String(validating: bytes, as: UTF8.self) != nil else { throw .malformedText("it is not UTF-8") }
    guard bytes.last == 0x0A else { throw .malformedText("it does not end with a newline") }
    // The last empty line parts the text from the signatures.
    guard let gap = bytes.indices.dropLast().last(where: { bytes[$0] == 0x0A && bytes[$0 + 1] == 0x0A }),
      gap + 2 < bytes.count
    else { throw .malformedText("it has no empty line with signatures after it") }
    try self.init(text: String(decoding: bytes[...gap], as: UTF8.self))
    let lines = bytes[(gap + 2)...].dropLast().split(separator: 0x0A, omittingEmptySubsequences: false)
    guard lines.count <= SignedNote.maximumSignatures else { throw .tooLarge }
    for (number, line) in lines.enumerated() {
      guard let signature = NoteSignature(line: String(decoding: line, as: UTF8.self)) else {
        throw .malformedSignature(line: number + 1)
      }
      signatures.append(signature)
    }
  }

  /// The note as it is stored and sent.
  public var encoded: String { text + "\n" + signatures.map { $0.line + "\n" }.joined() }

  /// A note signed with Ed25519 under `name`.
  public static func sign(text: String, name: String, key: SigningKey) throws(NoteError) -> SignedNote {
    guard NoteVerifier.isValidName(name) else { throw .invalidName(name) }
    var note = try SignedNote(text: text)
    let id = NoteVerifier.keyID(name: name, key: key.verifyingKey, algorithm: NoteVerifier.ed25519)
    note.signatures = [NoteSignature(name: name, keyID: id, signature: key.sign(Array(text.utf8)))]
    return note
  }

  /// True when one of the signatures is this verifier's and valid: over the text, or for a cosignature over its
  /// time and the text. Signatures of keys that it doesn't know are no matter; a bad one in its name counts as none.
  public func verified(by verifier: NoteVerifier) -> Bool {
    verifier.algorithm == NoteVerifier.cosignatureV1
      ? cosignatureTime(by: verifier) != nil
      : matching(verifier).contains { verifier.key.isValid($0.signature, for: Array(text.utf8)) }
  }

  /// A cosignature/v1 over this note at `time`, seconds since 1970 (C2SP tlog-cosignature).
  public func cosigned(name: String, key: SigningKey, time: UInt64) -> NoteSignature {
    let id = NoteVerifier.keyID(name: name, key: key.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    let signature = key.sign(cosignedMessage(time: time))
    return NoteSignature(name: name, keyID: id, signature: bigEndian(time) + signature)
  }

  /// When this witness cosigned the note, seconds since 1970; the latest of several; nil when it validly did not.
  public func cosignatureTime(by verifier: NoteVerifier) -> UInt64? {
    guard verifier.algorithm == NoteVerifier.cosignatureV1 else { return nil }
    return matching(verifier).compactMap { candidate -> UInt64? in
      guard candidate.signature.count == 72 else { return nil }
      let time = candidate.signature.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      let valid = verifier.key.isValid(Array(candidate.signature.dropFirst(8)), for: cosignedMessage(time: time))
      return valid ? time : nil
    }.max()
  }

  private func matching(_ verifier: NoteVerifier) -> [NoteSignature] {
    signatures.filter { $0.keyID == verifier.keyID && $0.name.utf8.elementsEqual(verifier.name.utf8) }
  }

  private func cosignedMessage(time: UInt64) -> [UInt8] {
    Array("cosignature/v1\ntime \(time)\n".utf8) + Array(text.utf8)
  }

  private static func isPlain(_ bytes: [UInt8]) -> Bool {
    bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x0A }
  }
}
