import Testing

@testable import Trust

@Suite struct SignedNoteTests {
  // The example of Go's golang.org/x/mod/sumdb/note.
  static let neumann = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
  static let neumannKey = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
  static let text =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
  static let note =
    text
    + "\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

  static func signer() throws -> SigningKey {
    let bytes = try #require(Base64.decode(neumannKey))
    return try #require(SigningKey(seed: Array(bytes.dropFirst())))
  }

  @Test func goExampleVerifies() throws {
    let verifier = try NoteVerifier(vkey: Self.neumann)
    #expect(verifier.name == "PeterNeumann" && verifier.keyID == 0xc74f_20a3 && verifier.vkey == Self.neumann)
    let note = try SignedNote(parsing: Array(Self.note.utf8))
    #expect(note.text == Self.text)
    #expect(note.verified(by: verifier))
    #expect(note.encoded == Self.note)
  }

  @Test func goExampleSignsToTheSameBytes() throws {
    let note = try SignedNote.sign(text: Self.text, name: "PeterNeumann", key: Self.signer())
    #expect(note.encoded == Self.note)
  }

  @Test func everyFlippedBitIsNoticed() throws {
    let verifier = try NoteVerifier(vkey: Self.neumann)
    let bytes = Array(Self.note.utf8)
    for at in bytes.indices {
      for bit in 0..<8 {
        var changed = bytes
        changed[at] ^= 1 << UInt8(bit)
        let note = try? SignedNote(parsing: changed)
        // The only bits that say nothing are the unused ones at the end of the base64.
        let sameMeaning = note.map { $0.text == Self.text && $0.encoded == Self.note } ?? false
        #expect(sameMeaning || !(note?.verified(by: verifier) ?? false), "byte \(at), bit \(bit)")
      }
    }
  }

  @Test(arguments: [
    "", "\n", "text\n", "text\n\n", "\n\n\u{2014} a AAAAAAAA\n\n", "text\n\n- a AAAAAAAA\n",
    "text\n\n\u{2014} a AAAA\n",
    "text\n\n\u{2014} a  AAAAAAAA\n", "text\n\n\u{2014} a+b AAAAAAAA\n", "text\n\n\u{2014} a AAAAAAAA",
    "te\u{1}xt\n\n\u{2014} a AAAAAAAA\n",
    "text\n\n\u{2014} a AAAAAAAA\r\n", "text\n\u{2014} a AAAAAAAA\n", "text\n\n\u{2014} a !!!!!!!!\n",
  ])
  func refusesWhatIsNoNote(_ text: String) {
    #expect(throws: NoteError.self) { try SignedNote(parsing: Array(text.utf8)) }
  }

  @Test func refusesBadBytesAndHugeNotes() {
    #expect(throws: NoteError.self) { try SignedNote(parsing: [0xFF, 0x0A, 0x0A] + "\u{2014} a AAAAAAAA\n".utf8) }
    #expect(throws: NoteError.tooLarge) {
      try SignedNote(parsing: Array(repeating: 0x61, count: SignedNote.maximumLength + 1))
    }
    let many = "t\n\n" + String(repeating: "\u{2014} a AAAAAAAA\n", count: 101)
    #expect(throws: NoteError.tooLarge) { try SignedNote(parsing: Array(many.utf8)) }
  }

  @Test func anEmptyLineMayStandInTheText() throws {
    let note = try SignedNote.sign(text: "one\n\ntwo\n", name: "n", key: .generate())
    #expect(try SignedNote(parsing: Array(note.encoded.utf8)) == note)
  }

  @Test(arguments: [
    "", "a", "a+b", "a+c74f20a3", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "PeterNeumanm+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "PeterNeumann+c74f20a3+AxpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "PeterNeumann+c74f20a3+ARpc2QcUPDhM",
    "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "PeterNeumann+74f20a3+ARpc",
  ])
  func refusesBadVerifierKeys(_ vkey: String) {
    #expect(throws: NoteError.self) { try NoteVerifier(vkey: vkey) }
  }

  @Test func cosignatures() throws {
    let log = SigningKey.generate()
    let witness = SigningKey.generate()
    let verifier = NoteVerifier(name: "hub", key: witness.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    #expect(try NoteVerifier(vkey: verifier.vkey) == verifier)
    let checkpoint = Checkpoint(origin: "skerry/box", size: 7, root: Digest(of: [1]))
    var note = try SignedNote.sign(text: checkpoint.noteText, name: "skerry/box", key: log)
    #expect(note.cosignatureTime(by: verifier) == nil)
    let cosignature = note.cosigned(name: "hub", key: witness, time: 1_700_000_000)
    note.signatures.append(cosignature)
    let read = try SignedNote(parsing: Array(note.encoded.utf8))
    #expect(read.cosignatureTime(by: verifier) == 1_700_000_000)
    #expect(read.verified(by: verifier))
    // The message as C2SP tlog-cosignature writes it, checked by hand.
    let message = "cosignature/v1\ntime 1700000000\n" + checkpoint.noteText
    #expect(witness.verifyingKey.isValid(Array(cosignature.signature.dropFirst(8)), for: Array(message.utf8)))

    // Another time, another text, another name, a plain signature in its place: none of them counts.
    var late = read
    late.signatures[1] = NoteSignature(
      name: "hub", keyID: verifier.keyID,
      signature: bigEndian(UInt64(1_700_000_001)) + cosignature.signature.dropFirst(8))
    #expect(!late.verified(by: verifier))
    var other = try SignedNote(text: Checkpoint(origin: "skerry/box", size: 8, root: Digest(of: [1])).noteText)
    other.signatures = read.signatures
    #expect(!other.verified(by: verifier))
    #expect(
      !read.verified(by: NoteVerifier(name: "hub2", key: witness.verifyingKey, algorithm: NoteVerifier.cosignatureV1)))
    #expect(!read.verified(by: NoteVerifier(name: "hub", key: witness.verifyingKey)))
    var plain = try SignedNote(text: checkpoint.noteText)
    plain.signatures = [
      NoteSignature(name: "hub", keyID: verifier.keyID, signature: witness.sign(Array(checkpoint.noteText.utf8)))
    ]
    #expect(!plain.verified(by: verifier))
  }

  @Test func checkpointsReadAsWritten() throws {
    let checkpoint = Checkpoint(
      origin: "example.com/log", size: 20_852_163, root: Digest(of: [2]), extensions: ["more"])
    #expect(try Checkpoint(noteText: checkpoint.noteText) == checkpoint)
    let root = Base64.encode(Digest(of: [2]).bytes)
    for bad in [
      "", "a\n1\n", "a\n1\n\(root)", "\n1\n\(root)\n", "a\n01\n\(root)\n", "a\n+1\n\(root)\n", "a\n-1\n\(root)\n",
      "a\n1\nAAAA\n", "a\n1\n\(root)\n\nx\n", "a\n18446744073709551616\n\(root)\n", "a\n1 \n\(root)\n",
    ] {
      #expect(throws: NoteError.self, "\(bad.debugDescription)") { try Checkpoint(noteText: bad) }
    }
  }
}
