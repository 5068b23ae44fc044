import Fleet
import FoundationEssentials
import Glibc
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// Somebody with the whole disk changes the log at random, and the export of what is left then meets an auditor who holds the
/// box's key, the witness's key and the head that the hub cosigned last: every change of what was cosigned is found, and an
/// edit in place is named. `AUDIT_MUTATIONS` is the number of changes.
@Suite struct AuditMutationTests {
  private static let count =
    ProcessInfo.processInfo.environment["AUDIT_MUTATIONS"].flatMap { Int($0) } ?? 3_000

  private struct Log {
    let key: SigningKey
    let device: NoteVerifier
    var records: [[UInt8]]

    init(_ count: Int, key: SigningKey, salt: Int = 0) {
      self.key = key
      device = NoteVerifier(name: "skerry/audit/box", key: key.verifyingKey)
      records = (0..<count).map { n in
        JSONValue.object([
          "v": 1, "n": .integer(Int64(n)), "t": .integer(1_700_000_000_000 + Int64(n)), "kind": "decision",
          "actor": .string("token:app\(n % 3)"), "salt": .integer(Int64(salt)),
        ]).encoded()
      }
    }

    func head(_ size: Int) throws -> SignedNote {
      var tree = MerkleFrontier()
      for record in records.prefix(size) { tree.append(Merkle.leafHash(record)) }
      return try SignedNote.sign(
        text: Checkpoint(origin: device.name, size: tree.size, root: tree.root).noteText, name: device.name, key: key)
    }

    /// What the box would export: records, the hashes that its tree has for them, and a head.
    func export(hashes: [Digest], head: SignedNote, cosigned: SignedNote?, witness: NoteVerifier) throws -> [UInt8] {
      let size = try Checkpoint(noteText: head.text).size
      let header = AuditExportHeader(
        origin: device.name, size: size, checkpoint: head, cosigned: cosigned, device: device,
        witness: cosigned == nil ? nil : witness)
      let lines =
        [header.line]
        + records.enumerated().map { at, record in
          AuditExportEntry.line(index: UInt64(at), record: record, hash: at < hashes.count ? hashes[at] : nil)
        }
      return lines.flatMap { $0 + [0x0A] }
    }
  }

  private enum Kind: Int, CaseIterable {
    case bit, byte, delete, insert, reorder, cutAndGoOn, restore, otherKey, rewrite, cut
  }

  @Test func everyChangeOfWhatWasCosignedIsFound() throws {
    var random = SystemRandomNumberGenerator()
    let key = SigningKey.generate()
    let hub = SigningKey.generate()
    let witness = NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    var found: [Kind: Int] = [:]
    for number in 0..<Self.count {
      let size = Int.random(in: 2...40, using: &random)
      let seen = Int.random(in: 1...size, using: &random)
      let honest = Log(size, key: key)
      var head = try honest.head(size)
      var cosigned = try honest.head(seen)
      cosigned.signatures.append(cosigned.cosigned(name: "hub", key: hub, time: 1_700_000_000))
      // What the hub has: the attacker can't reach it.
      let atTheHub = cosigned
      var shown: SignedNote? = cosigned
      var log = honest
      var hashes = honest.records.map { Merkle.leafHash($0) }
      let at = Int.random(in: 0..<seen, using: &random)
      let kind = Kind.allCases[number % Kind.allCases.count]
      var named: UInt64?
      switch kind {
      case .bit, .byte:
        let place = log.records[at].indices.randomElement(using: &random) ?? 0
        log.records[at][place] ^= kind == .bit ? 1 << UInt8.random(in: 0..<8, using: &random) : .random(in: 1...255)
        named = UInt64(at)
      case .delete:
        log.records.remove(at: at)
        hashes.remove(at: at)
      case .insert:
        log.records.insert(log.records[at], at: at)
        hashes.insert(hashes[at], at: at)
      case .reorder:
        let other = (at + 1) % size
        log.records.swapAt(at, other)
        hashes.swapAt(at, other)
      case .rewrite:
        // With the device's key: the tree, the head and all are made again.
        log.records[at] = Array(
          String(decoding: log.records[at], as: UTF8.self).replacing("token:app", with: "token:apx").utf8)
        hashes = log.records.map { Merkle.leafHash($0) }
        head = try log.head(size)
        if Bool.random(using: &random) { shown = nil }
      case .cut:
        log.records = Array(log.records.prefix(at))
        hashes = Array(hashes.prefix(at))
        if Bool.random(using: &random) {
          head = try log.head(at)
          shown = nil
        }
      case .cutAndGoOn:
        log.records = Array(log.records.prefix(at)) + Log(size + 5, key: key, salt: 1).records.dropFirst(at)
        hashes = log.records.map { Merkle.leafHash($0) }
        head = try log.head(log.records.count)
        shown = nil
      case .restore:
        // The disk of an earlier day, heads and all.
        log.records = Array(log.records.prefix(at))
        hashes = Array(hashes.prefix(at))
        head = try log.head(at)
        var old = head
        old.signatures.append(old.cosigned(name: "hub", key: hub, time: 1_600_000_000))
        shown = old
      case .otherKey:
        log = Log(size, key: .generate())
        head = try log.head(size)
        shown = nil
      }
      let verdict = AuditVerifier.verify(
        try log.export(hashes: hashes, head: head, cosigned: shown, witness: witness), deviceKey: honest.device,
        witness: witness, known: atTheHub)
      // A swap within what was not cosigned, of equal records, or of a log with one entry, changes nothing.
      let isSame = log.records == honest.records && kind != .otherKey
      #expect(!verdict.isValid || isSame, "\(kind) at \(at) of \(size), \(seen) cosigned: \(verdict)")
      if let named, !isSame {
        #expect(verdict.firstBad == named, "\(kind) at \(at) of \(size): \(verdict)")
      }
      found[kind, default: 0] += 1
    }
    #expect(found.count == Kind.allCases.count || Self.count < Kind.allCases.count)
    print("audit mutations: \(found.values.reduce(0, +)) of \(Kind.allCases.count) kinds, all found")
  }

  /// Only what was appended since the last cosigned head rests on the box's word; the verdict says how much that is.
  @Test func theUncosignedTailIsStated() throws {
    let hub = SigningKey.generate()
    let witness = NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    let log = Log(12, key: .generate())
    var cosigned = try log.head(7)
    cosigned.signatures.append(cosigned.cosigned(name: "hub", key: hub, time: 1))
    let bytes = try log.export(hashes: [], head: log.head(12), cosigned: cosigned, witness: witness)
    let verdict = AuditVerifier.verify(bytes, deviceKey: log.device, witness: witness, known: cosigned)
    #expect(verdict.isValid && verdict.uncosignedTail == 5)
    #expect(verdict.notProven.contains { $0.contains("the last 5 entries") })
  }
}

@Suite struct AuditSearchTests {
  private let key = SigningKey.generate()

  private func log(_ scratch: Scratch) throws -> AuditLog {
    try AuditLog(directory: scratch.path + "/audit", key: key, origin: "skerry/audit/box")
  }

  private func fill(_ log: AuditLog, _ count: Int) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<count {
        group.addTask {
          let rare = number % 701 == 0
          try await log.append(
            AuditEvent(
              kind: number % 2 == 0 ? .decision : .inference,
              actor: rare ? "uid:\(number)(\"quoted, \\ name\")" : "token:app\(number % 5)",
              fields: number % 2 == 0
                ? ["allowed": .bool(number % 3 != 0), "resource": .string("model:m\(number % 7):1.0")]
                : [
                  "model": .string("m\(number % 7)"), "outcome": "completed", "role": "\"actor\":\"token:app0\"",
                  "api": "test", "version": "1", "sha256": .string(Digest(of: []).hex),
                  "prompt": .string("hmac-sha256:" + Digest(of: []).hex), "promptKey": "2026-11.00000000",
                  "promptTokens": 1, "cachedTokens": 0,
                  "completionTokens": 1, "milliseconds": 1,
                ]))
        }
      }
      try await group.waitForAll()
    }
  }

  /// The index may say too much and never too little: what is found is what reading everything finds.
  @Test func aSearchFindsWhatReadingEverythingFinds() async throws {
    let scratch = try Scratch()
    var log = try self.log(scratch)
    try await fill(log, 3_000)
    for reopened in [false, true] {
      if reopened {
        log.close()
        log = try self.log(scratch)
      }
      let all = try log.entries(from: 0, limit: 10_000)
      for selection in [
        AuditSelection(subject: "token:app3"), AuditSelection(subject: "uid:701"),
        AuditSelection(subject: "uid:1402(\"quoted, \\ name\")"), AuditSelection(model: "m4"),
        AuditSelection(outcome: "denied", kind: "decision"), AuditSelection(subject: "token:app1", model: "m2"),
        AuditSelection(subject: "nobody"), AuditSelection(), AuditSelection(since: .max), AuditSelection(until: 1),
      ] {
        let expected = all.filter { selection.matches($0) }
        #expect(try log.search(selection, count: 10_000) == expected.reversed(), "\(selection)")
        #expect(try log.search(selection, count: 7) == expected.suffix(7).reversed())
        #expect(
          try log.search(selection, count: 9, before: 1_000)
            == expected.filter { ($0["n"]?.integer ?? 0) < 1_000 }.suffix(9).reversed())
      }
    }
  }

  @Test func exportsOfAPartAndProofsOfARealLogHold() async throws {
    let scratch = try Scratch()
    let log = try self.log(scratch)
    try await fill(log, 700)
    for (selection, first) in [
      (AuditSelection(), 0), (AuditSelection(subject: "token:app2"), 0), (AuditSelection(model: "m1"), 300),
      (AuditSelection(), 699), (AuditSelection(), 700), (AuditSelection(subject: "nobody"), 5),
    ] as [(AuditSelection, UInt64)] {
      let bytes = Mutex<[UInt8]>([])
      try await log.export(selection, from: first) { piece in bytes.withLock { $0 += piece } }
      let verdict = AuditVerifier.verify(bytes.withLock { $0 }, deviceKey: log.deviceKey)
      let expected = try log.entries(from: first, limit: 1_000).count { selection.matches($0) }
      #expect(verdict.isValid && verdict.entriesRead == UInt64(expected), "\(selection) from \(first): \(verdict)")
    }
    for index in [0, 1, 255, 256, 699] as [UInt64] {
      let proof = try log.proof(of: index)
      #expect(try TlogProof(parsing: Array(proof.encoded.utf8)).proves(proof.extra ?? []))
      #expect(proof.head.verified(by: log.deviceKey))
    }
    #expect(throws: MerkleError.outOfRange) { try log.proof(of: 700) }
  }

  @Test func aPrunedLogIsSearchedAndExportedFromWhatIsLeft() async throws {
    let scratch = try Scratch()
    let log = try self.log(scratch)
    try await fill(log, 1_500)
    try await log.prune(before: 768, why: ["days": 400])
    let all = try log.entries(from: 768, limit: 10_000)
    for selection in [AuditSelection(), AuditSelection(subject: "token:app3"), AuditSelection(model: "m2")] {
      #expect(try log.search(selection, count: 10_000) == all.filter { selection.matches($0) }.reversed())
    }
    for first in [0, 300, 768, 1_000, 1_501] as [UInt64] {
      var verifier = AuditVerifier(deviceKey: log.deviceKey)
      try await log.export(AuditSelection(subject: "token:app1"), from: first) { verifier.push($0) }
      let verdict = verifier.finish()
      #expect(verdict.isValid && verdict.size == 1_501, "from \(first): \(verdict)")
    }
  }
}
