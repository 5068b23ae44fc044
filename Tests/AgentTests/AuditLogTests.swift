import Agent
import Fleet
import Glibc
import Storage
import Synchronization
import Testing
import Trust

/// A folder with an audit log and the keys around it; removed at the end.
private final class Box: Sendable {
  let directory: String
  let device = SigningKey.generate()
  let hub = SigningKey.generate()
  let origin = "skerry/0123456789abcdef"
  var witness: NoteVerifier {
    NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
  }
  var deviceKey: NoteVerifier { NoteVerifier(name: origin, key: device.verifyingKey) }
  var records: String { directory + "/audit/log.jsonl" }
  var hashes: String { directory + "/audit/hashes" }

  init() throws {
    directory = "/tmp/skerry-audit-\(Hex.encode(SecureRandom.bytes(6)))"
    try DurableFile.makeDirectory(directory)
  }

  deinit {
    for name in (try? DurableFile.names(in: directory + "/audit")) ?? [] { unlink("\(directory)/audit/\(name)") }
    for name in (try? DurableFile.names(in: directory)) ?? [] { unlink("\(directory)/\(name)") }
    rmdir(directory + "/audit")
    rmdir(directory)
  }

  func open() throws -> AuditLog { try AuditLog(directory: directory + "/audit", key: device, origin: origin) }

  func content(_ path: String) throws -> [UInt8] { try DurableFile.read(path) ?? [] }

  func cosign(_ log: AuditLog) throws {
    var note = log.signedHead()
    note.signatures.append(note.cosigned(name: "hub", key: hub, time: 1_700_000_000))
    try log.store(cosigned: note, by: witness)
  }

  func verify(_ bytes: [UInt8]) -> AuditVerdict {
    AuditVerifier.verify(bytes, deviceKey: deviceKey, witness: witness)
  }
}

extension AuditLog {
  fileprivate func fill(_ count: Int) async throws {
    for number in 0..<count {
      try await append(
        AuditEvent(
          kind: .decision, actor: "uid:1000(ann)",
          fields: [
            "allowed": true, "verb": "infer", "resource": "model:tiny", "reason": .string("Größe \(number)\n"),
          ]))
    }
  }

  fileprivate func exported() async throws -> [UInt8] {
    let bytes = Mutex<[UInt8]>([])
    try await export { piece in bytes.withLock { $0 += piece } }
    return bytes.withLock { $0 }
  }
}

@Suite struct AuditLogTests {
  @Test func manyWritersAtOnceEachGetTheirOwnDurableRecord() async throws {
    let box = try Box()
    let log = try box.open()
    let indexes = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for number in 0..<300 {
        group.addTask {
          try await log.append(
            AuditEvent(kind: .decision, actor: "system", fields: ["allowed": true, "count": .integer(Int64(number))]))
        }
      }
      return try await group.reduce(into: Set<UInt64>()) { $0.insert($1) }
    }
    #expect(indexes == Set(0..<300))
    let verdict = box.verify(try await log.exported())
    #expect(verdict.isValid && verdict.size == 300 && verdict.uncosignedTail == 300, "\(verdict)")
    // What is on disk at this moment is the whole of it.
    let again = try box.open()
    #expect(again.head() == log.head())
    #expect(again.recovery.tornBytes == 0 && again.recovery.hashesRebuiltFrom == nil)
  }

  @Test func recordsHaveTheirFormWhateverTheFields() async throws {
    let box = try Box()
    let log = try AuditLog(directory: box.directory + "/audit", key: box.device, origin: box.origin) { 1234 }
    let awkward: [String: JSONValue] = [
      "event": "load", "model": "\u{0}\u{1F}\u{7F}\u{2028}\"\\/é e\u{301}", "version": "1", "problem": .null,
      "sha256": .string(Digest(of: []).hex), "failures": .integer(-7), "adapters": ["\u{202E}a"],
    ]
    try await log.append(AuditEvent(kind: .model, actor: "system\n", fields: awkward))
    let entry = try #require(try log.entries(from: 0, limit: 10).first)
    #expect(entry["n"] == 0 && entry["kind"] == "model" && entry["t"] == 1234 && entry["v"] == 2)
    #expect(entry["actor"] == "system<U+000A>" && entry["adapters"] == ["<U+202E>a"] && entry["problem"] == nil)
    #expect(entry["model"] == "<U+0000><U+001F><U+007F><U+2028>\"\\/é e\u{301}")
    #expect(box.verify(try await log.exported()).isValid)
    #expect(try log.entries(from: 1, limit: 10).isEmpty)
  }

  @Test func cosignaturesSurviveAndCover() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(5)
    try box.cosign(log)
    let old = log.head()
    try await log.fill(4)
    #expect(log.cosigned()?.size == 5)
    let proof = try log.consistencyProof(old: 5, new: 9)
    #expect(
      Merkle.verifyConsistency(
        oldSize: 5, oldRoot: old.root, newSize: 9, newRoot: log.head().root, proof: proof))
    let again = try box.open()
    #expect(again.cosigned()?.size == 5 && again.witness == box.witness)
    let verdict = box.verify(try await again.exported())
    #expect(verdict.isValid && verdict.cosignedSize == 5 && verdict.uncosignedTail == 4, "\(verdict)")
    #expect(throws: MerkleError.outOfRange) { try again.consistencyProof(old: 5, new: 10) }
  }

  @Test func headsOfOthersAreNotKept() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(3)
    func note(_ size: UInt64, _ root: Digest, by key: SigningKey, witnessed by: SigningKey) throws -> SignedNote {
      var note = try SignedNote.sign(
        text: Checkpoint(origin: box.origin, size: size, root: root).noteText, name: box.origin, key: key)
      note.signatures.append(note.cosigned(name: "hub", key: by, time: 1))
      return note
    }
    let head = log.head()
    let stranger = SigningKey.generate()
    for refused in [
      try note(3, head.root, by: stranger, witnessed: box.hub),
      try note(3, head.root, by: box.device, witnessed: stranger),
      try note(4, head.root, by: box.device, witnessed: box.hub),
      try note(2, head.root, by: box.device, witnessed: box.hub),
      log.signedHead(),
    ] {
      #expect(throws: AuditHeadRefused.self) { try log.store(cosigned: refused, by: box.witness) }
    }
    #expect(log.cosigned() == nil)
    let older = try note(3, head.root, by: box.device, witnessed: box.hub)
    try await log.fill(1)
    try box.cosign(log)
    try log.store(cosigned: older, by: box.witness)
    #expect(log.cosigned()?.size == 4)
  }

  /// A crash leaves any length of what was written after the last head; every acknowledged record before it stays.
  @Test func aTailTornAnywhereIsCutOffAndTheLogGoesOn() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(6)
    let head = log.signedHead()
    let kept = try box.content(box.records).count
    try await log.fill(5)
    let records = try box.content(box.records)
    let hashes = try box.content(box.hashes)
    for _ in 0..<25 {
      let length = Int.random(in: kept...records.count)
      let stored = Int.random(in: 0...hashes.count)
      truncate(box.records, off_t(length))
      truncate(box.hashes, off_t(stored))
      let again = try box.open()
      let whole = records.prefix(length).filter { $0 == 0x0A }.count
      #expect(again.head().size == UInt64(whole))
      #expect(again.recovery.tornBytes == UInt64(length - (records.prefix(length).lastIndex(of: 0x0A) ?? -1) - 1))
      try await again.fill(1)
      let verdict = box.verify(try await again.exported())
      #expect(verdict.isValid && verdict.size == UInt64(whole + 1), "\(verdict)")
      let proof = try again.consistencyProof(old: 6, new: UInt64(whole + 1))
      let old = try Checkpoint(noteText: head.text)
      #expect(
        Merkle.verifyConsistency(
          oldSize: 6, oldRoot: old.root, newSize: UInt64(whole + 1), newRoot: again.head().root, proof: proof))
      try restore(box, records, hashes, head)
    }
  }

  private func restore(_ box: Box, _ records: [UInt8], _ hashes: [UInt8], _ head: SignedNote) throws {
    try DurableFile.replace(box.records, with: records)
    try DurableFile.replace(box.hashes, with: hashes)
    try DurableFile.replace(box.directory + "/audit/head", with: Array(head.encoded.utf8))
  }

  /// Records are read and hashed in batches of 512; what is wrong within one is found all the same.
  @Test func aLongLogIsHeldToItsHashesAndHeadsAtEachPlace() async throws {
    let box = try Box()
    let log = try box.open()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<26 { group.addTask { try await log.fill(50) } }
      try await group.waitForAll()
    }
    log.close()
    let (head, good) = (log.head(), try box.content(box.hashes))
    #expect(try box.open().recovery.hashesRebuiltFrom == nil)
    // Leaves, and what completes a tile, a batch and two batches.
    for index: UInt64 in [0, 3, 511, 512, 700, 1023, 1024, 1299] {
      let after = Merkle.storedHashCount(treeSize: index + 1)
      for place in [Merkle.storedHashIndex(level: 0, n: index), after - 1] {
        var bad = good
        bad[Int(place) * 32 + 5] ^= 4
        try DurableFile.replace(box.hashes, with: bad)
        let again = try box.open()
        #expect(again.recovery.hashesRebuiltFrom == index, "\(index) \(place)")
        #expect(again.head() == head)
        #expect(try box.content(box.hashes) == good)
      }
    }
    // The last head is that of 1,300; a head in the middle of a batch is held to as well.
    let early = try Checkpoint(origin: box.origin, size: 600, root: Merkle.root(size: 600) { try again(good, $0) })
    let note = try SignedNote.sign(text: early.noteText, name: box.origin, key: box.device)
    try DurableFile.replace(box.directory + "/audit/head", with: Array(note.encoded.utf8))
    #expect(try box.open().recovery.hashesRebuiltFrom == nil)
    let records = try box.content(box.records)
    var lines = records.split(separator: 0x0A, omittingEmptySubsequences: false)
    lines.swapAt(598, 599)
    try DurableFile.replace(box.records, with: Array(lines.joined(separator: [0x0A])))
    #expect { try box.open() } throws: { ($0 as? AuditTampered)?.index == 598 }
    try DurableFile.replace(box.records, with: records)
    #expect(try box.open().head() == head)
  }

  private func again(_ stored: [UInt8], _ indexes: [UInt64]) throws -> [Digest] {
    try indexes.map { try #require(Digest(bytes: stored[Int($0) * 32..<Int($0) * 32 + 32])) }
  }

  @Test func hashesOfGarbageAreMended() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(20)
    let good = try box.content(box.hashes)
    for _ in 0..<10 {
      var bad = good
      let from = Int.random(in: 0..<bad.count)
      for at in from..<bad.count { bad[at] = .random(in: 0...255) }
      bad += [1, 2, 3]
      try DurableFile.replace(box.hashes, with: bad)
      let again = try box.open()
      #expect(again.recovery.hashesRebuiltFrom != nil)
      #expect(again.head() == log.head())
      #expect(try box.content(box.hashes) == good)
    }
  }

  /// Wherever a bit of the stored log is changed, opening refuses, names the entry and leaves the evidence.
  @Test func anEditedLogIsNotOpened() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(8)
    _ = log.signedHead()
    let good = try box.content(box.records)
    let hashes = try box.content(box.hashes)
    for round in 0..<60 {
      var bad = good
      let at = round == 0 ? bad.count - 1 : Int.random(in: bad.indices)
      bad[at] ^= 1 << UInt8.random(in: 0..<8)
      let entry = UInt64(good[..<at].filter { $0 == 0x0A }.count)
      try DurableFile.replace(box.records, with: bad)
      let error = #expect(throws: AuditTampered.self) { try box.open() }
      // A line feed that goes or comes shifts what follows; the index is then that of the first line that differs.
      if let index = error?.index { #expect(index == entry, "byte \(at) of entry \(entry): \(index)") }
      #expect(try box.content(box.records) == bad && box.content(box.hashes) == hashes)
    }
    try DurableFile.replace(box.records, with: good)
    #expect(try box.open().head() == log.head())
  }

  @Test func aTailThatSomebodyCutIsNotTakenForATornOne() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(8)
    try box.cosign(log)
    let good = try box.content(box.records)
    for length in [0, 1, good.count / 2, good.count - 1] {
      try DurableFile.replace(box.records, with: Array(good.prefix(length)))
      #expect(throws: AuditTampered.self) { try box.open() }
      #expect(try box.content(box.records).count == length)
    }
    // Removing the device's own head does not help, for the witness's is there too.
    unlink(box.directory + "/audit/head")
    #expect(throws: AuditTampered.self) { try box.open() }
    unlink(box.records)
    #expect(throws: AuditTampered.self) { try box.open() }
    for name in ["head", "cosigned.json"] {
      try DurableFile.replace(box.records, with: good)
      let path = box.directory + "/audit/" + name
      let kept = try DurableFile.read(path)
      try DurableFile.replace(path, with: Array("nothing\n".utf8))
      #expect(throws: AuditTampered.self) { try box.open() }
      if let kept { try DurableFile.replace(path, with: kept) } else { unlink(path) }
    }
    // Without its own head it is not opened, whatever is left of it and of the other.
    #expect(throws: AuditTampered.self) { try box.open() }
    unlink(box.directory + "/audit/cosigned.json")
    for length in [good.count, good.count / 2] {
      try DurableFile.replace(box.records, with: Array(good.prefix(length)))
      let error = #expect(throws: AuditTampered.self) { try box.open() }
      #expect(error?.reason == "its file head is missing")
      #expect(try box.content(box.records).count == length)
    }
  }

  /// The head is there before the first entry: a crash at any time before the next one leaves a log that opens.
  @Test func aLogHasAHeadBeforeItHasEntries() async throws {
    let box = try Box()
    let head = box.directory + "/audit/head"
    let log = try box.open()
    #expect(try Checkpoint(noteText: SignedNote(parsing: box.content(head)).text).size == 0)
    // The power went between the two.
    unlink(head)
    #expect(try box.open().head().size == 0)
    try await log.fill(3)
    #expect(try box.open().head() == log.head())
    unlink(head)
    #expect(throws: AuditTampered.self) { try box.open() }
    // Moved away, it begins anew.
    rename(box.directory + "/audit", box.directory + "/away")
    #expect(try box.open().head().size == 0)
    for name in try DurableFile.names(in: box.directory + "/away") { unlink("\(box.directory)/away/\(name)") }
    rmdir(box.directory + "/away")
  }

  @Test func anEditUnderARunningAgentShowsInTheExport() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(9)
    let descriptor = Glibc.open(box.records, O_WRONLY)
    let content = try box.content(box.records)
    let place = try #require(content.lastIndex(of: UInt8(ascii: "7")))
    let entry = UInt64(content[..<place].filter { $0 == 0x0A }.count)
    #expect(pwrite(descriptor, "6", 1, off_t(place)) == 1)
    close(descriptor)
    let verdict = box.verify(try await log.exported())
    #expect(verdict.firstBad == entry, "\(verdict)")
  }

  @Test func flippedBitsInExportsAreAlwaysFound() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(12)
    try box.cosign(log)
    try await log.fill(3)
    let good = try await log.exported()
    for _ in 0..<300 {
      var bad = good
      let at = Int.random(in: bad.indices)
      bad[at] ^= 1 << UInt8.random(in: 0..<8)
      let line = good[..<at].filter { $0 == 0x0A }.count
      let verdict = box.verify(bad)
      #expect(!verdict.isValid)
      #expect(verdict.firstBad == (line == 0 ? nil : UInt64(line - 1)), "byte \(at): \(verdict)")
    }
  }

  @Test func exportsWhileWritersWriteAreWhole() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(3)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 { group.addTask { try await log.fill(20) } }
      for _ in 0..<6 {
        group.addTask {
          let verdict = box.verify(try await log.exported())
          #expect(verdict.isValid, "\(verdict)")
        }
      }
      try await group.waitForAll()
    }
    #expect(log.head().size == 163)
  }

  @Test func aClosedLogRefuses() async throws {
    let box = try Box()
    let log = try box.open()
    try await log.fill(1)
    log.close()
    await #expect(throws: AuditUnavailable.self) { try await log.fill(1) }
    #expect(try SignedNote(parsing: box.content(box.directory + "/audit/head")).verified(by: box.deviceKey))
  }
}
