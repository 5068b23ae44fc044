import Fleet
import Testing
import Trust

/// A log of a box with its witness, exported as the agent does.
private struct Sample {
  let device = SigningKey.generate()
  let hub = SigningKey.generate()
  let origin = "skerry/0123456789abcdef"
  var records: [[UInt8]] = []
  var deviceKey: NoteVerifier { NoteVerifier(name: origin, key: device.verifyingKey) }
  var witness: NoteVerifier {
    NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
  }

  init(_ count: Int) {
    records = (0..<count).map { index in
      JSONValue.object([
        "v": 1, "n": .integer(Int64(index)), "t": .integer(1_700_000_000_000 + Int64(index)), "kind": "decision",
        "actor": "uid:1000(ann)", "verb": "infer", "resource": "model:tiny",
        "note": .string("Größe \(index) \u{1}\"\\"),
      ]).encoded()
    }
  }

  func head(_ size: Int, cosigned: Bool = false) throws -> SignedNote {
    var frontier = MerkleFrontier()
    for record in records.prefix(size) { frontier.append(Merkle.leafHash(record)) }
    let text = Checkpoint(origin: origin, size: UInt64(size), root: frontier.root).noteText
    var note = try SignedNote.sign(text: text, name: origin, key: device)
    if cosigned { note.signatures.append(note.cosigned(name: "hub", key: hub, time: 1_700_000_100)) }
    return note
  }

  func lines(cosignedSize: Int? = nil) throws -> [[UInt8]] {
    let header = AuditExportHeader(
      origin: origin, size: UInt64(records.count), checkpoint: try head(records.count),
      cosigned: try cosignedSize.map { try head($0, cosigned: true) }, device: deviceKey,
      witness: cosignedSize == nil ? nil : witness)
    return [header.line] + records.enumerated().map { AuditExportEntry.line(index: UInt64($0), record: $1) }
  }

  func verify(_ lines: [[UInt8]]) -> AuditVerdict {
    AuditVerifier.verify(joined(lines), deviceKey: deviceKey, witness: witness)
  }
}

private func joined(_ lines: [[UInt8]]) -> [UInt8] { Array(lines.map { $0 + [0x0A] }.joined()) }

@Suite struct AuditVerifierTests {
  @Test(arguments: [0, 1, 2, 7, 8, 33])
  func aWholeExportVerifies(_ count: Int) throws {
    let sample = Sample(count)
    for cosigned in [nil, 0, count / 2, count] {
      let verdict = sample.verify(try sample.lines(cosignedSize: cosigned))
      #expect(verdict.isValid, "\(verdict)")
      #expect(verdict.uncosignedTail == UInt64(count - (cosigned ?? 0)))
      #expect(verdict.cosignedAt == (cosigned == nil ? nil : 1_700_000_100))
      #expect(verdict.entriesRead == UInt64(count) && verdict.deviceKeyGiven && verdict.witnessGiven)
    }
  }

  @Test func piecesOfAnySizeAndKeysFromTheFile() throws {
    let sample = Sample(9)
    let bytes = joined(try sample.lines(cosignedSize: 4))
    for step in [1, 7, 64, 100_000] {
      var verifier = AuditVerifier()
      for start in stride(from: 0, to: bytes.count, by: step) {
        verifier.push(bytes[start..<min(start + step, bytes.count)])
      }
      let verdict = verifier.finish()
      #expect(verdict.isValid && !verdict.deviceKeyGiven)
      #expect(verdict.notProven.contains { $0.contains("--key") })
    }
  }

  /// Wherever one bit is flipped, the line that it is in is named; in the header, the header.
  @Test func everyFlippedBitIsFoundWhereItIs() throws {
    let sample = Sample(5)
    let lines = try sample.lines(cosignedSize: 3)
    for (number, line) in lines.enumerated() {
      for at in 0...line.count {
        var changed = lines.map { $0 + [0x0A] }
        changed[number][at] ^= 1 << UInt8.random(in: 0..<8)
        let verdict = AuditVerifier.verify(
          Array(changed.joined()), deviceKey: sample.deviceKey, witness: sample.witness)
        #expect(!verdict.isValid, "line \(number), byte \(at)")
        #expect(verdict.firstBad == (number == 0 ? nil : UInt64(number - 1)), "line \(number), byte \(at): \(verdict)")
      }
    }
  }

  @Test func missingExtraReorderedAndRepeatedEntriesAreNamed() throws {
    let sample = Sample(6)
    let lines = try sample.lines(cosignedSize: 2)
    var missing = lines
    missing.remove(at: 3)
    #expect(sample.verify(missing).firstBad == 2)
    #expect(sample.verify(missing).description.contains("missing"))
    #expect(sample.verify(lines.dropLast()).firstBad == 5)
    #expect(sample.verify(Array(lines.prefix(1))).firstBad == 0)
    #expect(sample.verify([]).failure != nil)
    #expect(sample.verify(lines + [AuditExportEntry.line(index: 6, record: Array(#"{"n":6}"#.utf8))]).firstBad == 6)
    #expect(sample.verify(lines + [[]]).firstBad == 6)
    var swapped = lines
    swapped.swapAt(2, 4)
    #expect(sample.verify(swapped).firstBad == 1)
    var repeated = lines
    repeated.insert(lines[3], at: 4)
    #expect(sample.verify(repeated).firstBad == 3)
    // The whole file without its last line feed is a cut one.
    let cut = joined(lines).dropLast()
    #expect(AuditVerifier.verify(cut, deviceKey: sample.deviceKey).firstBad == 5)
  }

  @Test func anEditWithItsHashMendedStillShows() throws {
    let sample = Sample(8)
    let edited = Array(String(decoding: sample.records[5], as: UTF8.self).replacing("infer", with: "peek!").utf8)
    var lines = try sample.lines(cosignedSize: 4)
    lines[6] = AuditExportEntry.line(index: 5, record: edited)
    let verdict = sample.verify(lines)
    #expect(verdict.firstBad == nil)
    #expect(verdict.description.contains("from entry 4 to 7"), "\(verdict)")
  }

  /// Whoever holds the device's key can sign another history, but not what the witness has seen.
  @Test func aHistoryRewrittenWithTheDeviceKeyShowsByTheWitness() throws {
    var sample = Sample(8)
    let cosigned = try sample.head(4, cosigned: true)
    sample.records[1] = Array(String(decoding: sample.records[1], as: UTF8.self).replacing("infer", with: "peek!").utf8)
    let header = AuditExportHeader(
      origin: sample.origin, size: 8, checkpoint: try sample.head(8), cosigned: cosigned, device: sample.deviceKey,
      witness: sample.witness)
    let verdict = sample.verify([header.line] + (try sample.lines().dropFirst()))
    #expect(!verdict.isValid && verdict.description.contains("the witness saw"), "\(verdict)")
    // The same when the log was cut back behind the witness's head.
    let short = AuditExportHeader(
      origin: sample.origin, size: 3, checkpoint: try sample.head(3), cosigned: cosigned, device: sample.deviceKey,
      witness: sample.witness)
    #expect(sample.verify([short.line] + (try sample.lines().dropFirst().prefix(3))).description.contains("longer log"))
  }

  @Test func theKeysMustBeTheGivenOnes() throws {
    let sample = Sample(3)
    let bytes = joined(try sample.lines(cosignedSize: 2))
    let stranger = Sample(0)
    #expect(!AuditVerifier.verify(bytes, deviceKey: stranger.deviceKey).isValid)
    #expect(!AuditVerifier.verify(bytes, witness: stranger.witness).isValid)
    #expect(AuditVerifier.verify(bytes, deviceKey: sample.deviceKey).isValid)
    // A head signed by somebody else under the right name.
    var forged = try sample.lines()
    let text = try sample.head(3).text
    forged[0] =
      AuditExportHeader(
        origin: sample.origin, size: 3,
        checkpoint: try SignedNote.sign(text: text, name: sample.origin, key: stranger.device), cosigned: nil,
        device: sample.deviceKey, witness: nil
      ).line
    #expect(!sample.verify(forged).isValid)
  }

  @Test func otherSpellingsOfTheSameRecordAreRefused() throws {
    let sample = Sample(2)
    let lines = try sample.lines()
    let text = String(decoding: lines[1], as: UTF8.self)
    for spelling in [
      text + " ", text.replacing(",\"n\":0,", with: ", \"n\":0,"), text.replacing("\"v\":1", with: "\"v\":1.0"),
      text.replacing("\"n\":0,\"record\"", with: "\"n\":0,\"n\":0,\"record\""), text.replacing("ö", with: "\\u00f6"),
      text + "\r", "", "[]", "null",
    ] {
      #expect(spelling != text)
      let verdict = sample.verify([lines[0], Array(spelling.utf8), lines[2]])
      #expect(verdict.firstBad == 0, "\(spelling): \(verdict)")
    }
    var invalid = lines
    invalid[1].insert(0xFF, at: 20)
    #expect(sample.verify(invalid).firstBad == 0)
  }

  @Test func aLineWithoutEndIsRefusedInBoundedMemory() throws {
    let sample = Sample(2)
    var verifier = AuditVerifier()
    verifier.push(try sample.lines()[0] + [0x0A])
    let piece = [UInt8](repeating: 0x61, count: 1 << 20)
    for _ in 0..<9 { verifier.push(piece) }
    #expect(verifier.isDecided)
    #expect(verifier.finish().firstBad == 0)
    #expect(!AuditVerifier.verify(Array(#"{"skerryAudit":2}"#.utf8) + [0x0A]).isValid)
    #expect(AuditVerifier.verify(Array("{}\n".utf8)).description.contains("no Skerry audit export"))
  }
}
