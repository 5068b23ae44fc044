import Testing
import Trust

@testable import Fleet

/// A log whose records are hostile to every form they are put into.
private struct Sample {
  let key = SigningKey.generate()
  let hub = SigningKey.generate()
  let origin = "skerry/audit/0123456789abcdef0123456789abcdef"
  let records: [[UInt8]]
  let hashes: [Digest]
  var device: NoteVerifier { NoteVerifier(name: origin, key: key.verifyingKey) }
  var witness: NoteVerifier {
    NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
  }

  init(_ count: Int) {
    let texts = [
      "plain", "=cmd()", "a,b\"c\"", "\",\"{\"\"x", "] {\"v\":1}", "\u{FEFF}{", "Größe\r\n\t", "<34>1 - - - - - -",
      "@x", "",
    ]
    records = (0..<count).map { n in
      let text = texts[n % texts.count]
      return JSONValue.object([
        "v": 1, "n": .integer(Int64(n)), "t": .integer(1_700_000_000_000 + Int64(n) * 1000),
        "kind": .string(["decision", "inference", "start", "token", "attack", "sync"][n % 6]),
        "actor": .string(n % 3 == 0 ? "token:app" : "uid:1000(\(text))"), "resource": "model:tiny:1.0",
        "allowed": .bool(n % 4 != 0), "reason": .string(text), "api": .string(text), "name": .string(text),
      ]).encoded()
    }
    var tree = MerkleFrontier()
    hashes = records.flatMap { tree.append(Merkle.leafHash($0)) }
  }

  func read(_ indexes: [UInt64]) -> [Digest] { indexes.map { hashes[Int($0)] } }

  func head(_ size: Int, cosigned: Bool = false) throws -> SignedNote {
    let root = try Merkle.root(size: UInt64(size), read: read)
    let text = Checkpoint(origin: origin, size: UInt64(size), root: root).noteText
    var note = try SignedNote.sign(text: text, name: origin, key: key)
    if cosigned { note.signatures.append(note.cosigned(name: "hub", key: hub, time: 1_700_000_100)) }
    return note
  }

  /// An export of these entries and no others, its gaps parted at the cosigned size.
  func export(_ indexes: [Int], cosigned: Int? = nil, parted: Bool = true) throws -> [[UInt8]] {
    let header = AuditExportHeader(
      origin: origin, size: UInt64(records.count), checkpoint: try head(records.count),
      cosigned: try cosigned.map { try head($0, cosigned: true) }, device: device,
      witness: cosigned == nil ? nil : witness, selection: AuditSelection(subject: "token:app"))
    var lines = [header.line]
    var next = 0
    func gap(to end: Int) throws {
      let parts = parted && cosigned.map { next < $0 && $0 < end } == true ? [next, cosigned ?? 0, end] : [next, end]
      for (low, high) in zip(parts, parts.dropFirst()) where low < high {
        let range = UInt64(low)..<UInt64(high)
        lines.append(AuditExportGap(range, roots: try Merkle.roots(over: range, read: read)).line)
      }
    }
    for index in indexes {
      try gap(to: index)
      lines.append(AuditExportEntry.line(index: UInt64(index), record: records[index]))
      next = index + 1
    }
    try gap(to: records.count)
    return lines
  }

  func verify(_ lines: [[UInt8]], known: SignedNote? = nil) -> AuditVerdict {
    AuditVerifier.verify(
      Array(lines.flatMap { $0 + [0x0A] }), deviceKey: device, witness: witness, known: known)
  }
}

@Suite struct AuditGapTests {
  @Test func anyPartOfALogIsProvable() throws {
    var random = SystemRandomNumberGenerator()
    for size in [1, 2, 3, 7, 8, 9, 31, 64, 100] {
      let sample = Sample(size)
      for round in 0..<20 {
        let chosen = (0..<size).filter { _ in Int.random(in: 0...3, using: &random) >= round % 4 }
        let cosigned = round % 2 == 0 ? nil : Int.random(in: 0...size, using: &random)
        let verdict = sample.verify(try sample.export(chosen, cosigned: cosigned))
        #expect(verdict.isValid, "\(size) \(chosen) \(String(describing: cosigned)): \(verdict)")
        #expect(verdict.entriesRead == UInt64(chosen.count) && verdict.leftOut == UInt64(size - chosen.count))
        #expect(verdict.cosignedSize == cosigned.map { UInt64($0) })
        #expect((verdict.leftOut > 0) == verdict.notProven.contains { $0.contains("left-out") })
      }
    }
  }

  @Test func everyFlippedBitOfAPartIsFound() throws {
    let sample = Sample(20)
    let lines = try sample.export([3, 4, 11, 19], cosigned: 9)
    for (number, line) in lines.enumerated() {
      for at in line.indices {
        var changed = lines
        changed[number][at] ^= 1 << UInt8.random(in: 0..<8)
        // What was asked for is said by nobody who signs.
        let verdict = sample.verify(changed)
        #expect(!verdict.isValid || verdict.selection.subject != "token:app", "line \(number), byte \(at)")
      }
    }
    for number in lines.indices.dropFirst() {
      var cut = lines
      cut.remove(at: number)
      #expect(!sample.verify(cut).isValid)
    }
  }

  @Test func anEditedRecordOfAPartIsNamed() throws {
    let sample = Sample(20)
    var lines = try sample.export([3, 4, 11, 19], cosigned: 9)
    let at = try #require(lines.firstIndex { String(decoding: $0, as: UTF8.self).contains("\"n\":11,") })
    lines[at] = Array(String(decoding: lines[at], as: UTF8.self).replacing("model:tiny", with: "model:huge").utf8)
    #expect(sample.verify(lines).firstBad == 11)
  }

  /// A run that hides the size that the witness saw would let the device pass off another history.
  @Test func leftOutEntriesMayNotHideTheWitness() throws {
    let sample = Sample(20)
    let verdict = sample.verify(try sample.export([0], cosigned: 9, parted: false))
    #expect(!verdict.isValid && verdict.description.contains("hide the head"), "\(verdict)")
  }

  @Test func aKnownHeadIsContainedHiddenOrContradicted() throws {
    let sample = Sample(12)
    let all = try sample.export(Array(0..<12))
    #expect(sample.verify(all, known: try sample.head(7, cosigned: true)).knownHead == .contained)
    #expect(sample.verify(all, known: try sample.head(7, cosigned: true)).cosignedSize == 7)
    let part = sample.verify(try sample.export([0]), known: try sample.head(7, cosigned: true))
    #expect(part.isValid && part.knownHead == .hidden && part.cosignedSize == nil)
    // The log of an earlier day, and one that was begun anew with the same key.
    let later = Sample(14)
    let root = try Merkle.root(size: 14, read: later.read)
    let text = Checkpoint(origin: sample.origin, size: 14, root: root).noteText
    let longer = try SignedNote.sign(text: text, name: sample.origin, key: sample.key)
    #expect(sample.verify(all, known: longer).description.contains("earlier day"))
    let other = Checkpoint(origin: sample.origin, size: 7, root: Digest(of: [1])).noteText
    let contradicting = try SignedNote.sign(text: other, name: sample.origin, key: sample.key)
    #expect(sample.verify(all, known: contradicting).description.contains("head that you gave covers"))
    #expect(!sample.verify(all, known: try Sample(7).head(7)).isValid, "another key's")
  }
}

@Suite struct AuditFormatTests {
  @Test(arguments: [AuditFormat.ocsf, .syslog, .otlp, .csv])
  func everyFormGivesEveryRecordBack(_ format: AuditFormat) throws {
    let sample = Sample(60)
    let records = try sample.records.enumerated().map {
      try #require(AuditFormatRecord(origin: sample.origin, index: UInt64($0), bytes: $1))
    }
    let text = format.preamble + format.encode(records, version: "0.1.0")
    #expect(text.last == 0x0A)
    let lines = text.dropLast().split(separator: 0x0A, omittingEmptySubsequences: false).map(Array.init)
    let back = try lines.dropFirst(format == .csv ? 1 : 0).flatMap { try format.records(in: $0) }
    #expect(back == sample.records, "a record can break out of its line, or is changed")
  }

  @Test func selectionsFindByEachKey() throws {
    let record = try JSONValue(parsing: Sample(1).records[0])
    func matches(_ change: (inout AuditSelection) -> Void) -> Bool {
      var selection = AuditSelection()
      change(&selection)
      #expect(AuditSelection(json: selection.json) == selection)
      return selection.matches(record)
    }
    #expect(matches { _ in } && matches { $0.subject = "token:app" } && !matches { $0.subject = "token:ap" })
    #expect(matches { $0.model = "tiny" } && !matches { $0.model = "tiny:1.0" })
    #expect(matches { $0.outcome = "denied" } && !matches { $0.outcome = "allowed" })
    #expect(matches { $0.since = 1_700_000_000_000 } && !matches { $0.since = 1_700_000_000_001 })
    #expect(matches { $0.until = 1_700_000_000_001 } && !matches { $0.until = 1_700_000_000_000 })
    let named: JSONValue = ["actor": "uid:1000(ann (x))", "kind": "token", "t": 1]
    #expect(AuditSelection(subject: "uid:1000").matches(named))
    #expect(AuditSelection(subject: "uid:1000(ann (x))").matches(named))
    #expect(AuditSelection(json: ["colour": "red"]) == nil && AuditSelection(json: ["since": "x"]) == nil)
  }
}
