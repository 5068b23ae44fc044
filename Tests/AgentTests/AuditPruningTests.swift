import Fleet
import Glibc
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// Retention: entries go, and what is left is still provably the rest of the same log.
@Suite struct AuditPruningTests {
  let scratch: Scratch
  let device = SigningKey.generate()
  let hub = SigningKey.generate()
  let origin = "skerry/audit/0123456789abcdef0123456789abcdef"
  var directory: String { scratch.path + "/audit" }
  var witness: NoteVerifier {
    NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
  }

  init() throws { scratch = try Scratch() }

  private func open() throws -> AuditLog { try AuditLog(directory: directory, key: device, origin: origin) }

  private func fill(_ log: AuditLog, _ count: Int) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<count {
        group.addTask {
          try await log.append(
            AuditEvent(
              kind: .decision, actor: "token:app",
              fields: ["allowed": true, "verb": "infer", "count": .integer(Int64(number))]))
        }
      }
      try await group.waitForAll()
    }
  }

  private func cosign(_ log: AuditLog) throws {
    var note = log.signedHead()
    note.signatures.append(note.cosigned(name: "hub", key: hub, time: 1_700_000_000))
    try log.store(cosigned: note, by: witness)
  }

  @Test func theTreeStaysProvable() async throws {
    let log = try open()
    try await fill(log, 1500)
    let old = log.head()
    let leaf = Merkle.leafHash(try #require(try log.log.read(from: 1200, limit: 1).first).record)
    let early = try log.inclusionProof(index: 10, size: 1500)
    #expect(early.count <= 11)
    try await log.prune(before: 768, why: ["days": 400])
    #expect(log.first == 768 && log.head().size == 1501)
    try await fill(log, 700)
    for round in 0..<2 {
      // The second time as it comes from the disk.
      let log = round == 0 ? log : try open()
      let head = log.head()
      #expect(head.size == 2201 && log.first == 768)
      // The head of before, and every later one, is the beginning of this one.
      for size in [old.size, 1501, 1600] as [UInt64] {
        let proof = try log.consistencyProof(old: size, new: head.size)
        let root = try Merkle.root(size: size, read: log.tree.hashes.read)
        #expect(
          Merkle.verifyConsistency(
            oldSize: size, oldRoot: size == 1500 ? old.root : root, newSize: head.size, newRoot: head.root, proof: proof
          ))
      }
      // Heads at the tiles' ends in what was pruned can be shown to be its beginning too.
      for size in [256, 512, 768] as [UInt64] { _ = try log.consistencyProof(old: size, new: head.size) }
      #expect(throws: MerkleError.pruned) { try log.consistencyProof(old: 300, new: head.size) }
      #expect(throws: MerkleError.pruned) { try log.inclusionProof(index: 10, size: head.size) }
      let path = try log.inclusionProof(index: 1200, size: head.size)
      #expect(Merkle.verifyInclusion(leaf: leaf, index: 1200, size: head.size, proof: path, root: head.root))
      // The rest alone, with the edge, gives the signed root.
      var tree = try #require(MerkleFrontier(size: 768, subtrees: try log.edge(before: 768)))
      try log.log.scan(from: 0) { entry in
        tree.append(Merkle.leafHash(entry.record))
        return true
      }
      #expect(tree.root == head.root && tree.size == head.size)
      #expect(try log.entries(from: 0, limit: 1).first?["n"] == 768)
      // An export has the roots of what is gone in its place, and verifies.
      var verifier = AuditVerifier(deviceKey: log.deviceKey)
      try await log.export { verifier.push($0) }
      let verdict = verifier.finish()
      #expect(verdict.isValid && verdict.size == head.size, "\(verdict)")
      #expect(throws: MerkleError.pruned) { try log.proof(of: 700) }
      #expect(throws: MerkleError.pruned) { try log.segment(from: 700, to: 2201) { _ in } }
    }
    let record = try #require(try log.entries(from: 1500, limit: 1).first)
    #expect(record["kind"] == "audit" && record["event"] == "pruned" && record["until"] == 768 && record["days"] == 400)
  }

  @Test func onlyWhatTheWitnessSawCanGo() async throws {
    let log = try open()
    try await fill(log, 600)
    try cosign(log)
    try await fill(log, 600)
    await #expect(throws: MerkleError.outOfRange) { try await log.prune(before: 768, why: [:]) }
    await #expect(throws: MerkleError.outOfRange) { try await log.prune(before: 500, why: [:]) }
    #expect(log.first == 0 && log.head().size == 1200)
    try await log.prune(before: 512, why: [:])
    #expect(log.first == 512)
    #expect(try open().first == 512)
  }

  @Test func whatHasHadItsTimeGoesAndNothingElse() async throws {
    let clock = Box(Mutex(1_760_000_000))
    let log = try AuditLog(directory: directory, key: device, origin: origin) { clock.value.withLock { $0 } * 1000 }
    var retention = AuditRetention()
    try await fill(log, 700)
    #expect(try await log.expire(retention, at: 1_760_000_000) == 0)
    clock.value.withLock { $0 += 300 * 86_400 }
    try await fill(log, 700)
    let time = clock.value.withLock { $0 }
    #expect(try await log.expire(retention, at: time) == 0)
    #expect(log.head().size == 1400)
    #expect(try await log.expire(retention, at: time + 101 * 86_400) == 512)
    #expect(try await log.expire(retention, at: time + 101 * 86_400) == 512)
    #expect(log.head().size == 1401)
    retention.days = 180
    #expect(try await log.expire(retention, at: time + 181 * 86_400) == 1280)
    #expect(try open().first == 1280)
  }

  /// A clock that was never set makes no record old, and is no time from which one is.
  @Test func whatASlowClockWroteStaysItsTime() async throws {
    let log = try AuditLog(directory: directory, key: device, origin: origin) { 0 }
    try await fill(log, 600)
    try cosign(log)
    var retention = AuditRetention()
    retention.days = 180
    for time in [0, 3600, 1_790_000_000, 1_790_003_600, 1_790_000_000 + 180 * 86_400] as [Int64] {
      #expect(try await log.expire(retention, at: time) == 0)
    }
    // Also by another run of the agent.
    log.close()
    let again = try AuditLog(directory: directory, key: device, origin: origin)
    #expect(try await again.expire(retention, at: 1_790_000_001 + 180 * 86_400) == 512)
  }

  /// A clock that is set by years while the machine runs makes no record older than the machine ran.
  @Test func aLeapOfTheClockMakesNothingOld() async throws {
    let log = try AuditLog(directory: directory, key: device, origin: origin) { 1_740_000_000_000 }
    try await fill(log, 600)
    let (retention, start, day) = (AuditRetention(), 1_740_000_000 as Int64, 86_400 as Int64)
    func look(_ days: Int64, _ boot: String, _ seconds: Int64) async throws -> UInt64 {
      try await log.expire(retention, at: start + days * day, running: .init(boot: boot, seconds: seconds))
    }
    #expect(try await look(0, "a", 10) == 0)
    #expect(try await look(900, "a", 3610) == 0)
    // Back and forth again.
    #expect(try await look(0, "a", 7210) == 0)
    #expect(try await look(900, "a", 10_810) == 0)
    // The machine was off, and is set right only later on.
    #expect(try await look(1, "b", 5) == 0)
    #expect(try await look(901, "b", 3605) == 0)
    #expect(try await look(1299, "c", 100) == 0)
    #expect(try await look(1302, "c", 100 + 3 * day) == 512)
  }

  @Test func marksAreFewAndForgotten() throws {
    var marks = AuditMarks()
    let (start, keeping) = (1_760_000_000 as Int64, 400 * 86_400 as Int64)
    for hour in 0..<Int64(24 * 800) {
      marks.see(size: UInt64(hour + 1) * 10, at: start + hour * 3600, running: nil, keeping: keeping)
      marks.forget(before: marks.size(before: start + hour * 3600 - keeping))
      #expect(marks.marks.count <= 258)
    }
    let path = scratch.path + "/marks"
    try marks.save(path)
    #expect(try AuditMarks.load(path) == marks)
    try DurableFile.replace(path, with: Array("nonsense".utf8))
    #expect(try AuditMarks.load(path) == AuditMarks())
  }

  private final class Box: Sendable {
    let value: Mutex<Int64>
    init(_ value: consuming sending Mutex<Int64>) { self.value = value }
  }

  @Test func anOutageIsOnRecord() async throws {
    let log = try open()
    try await fill(log, 3)
    rename(directory + "/log.jsonl", directory + "/away")
    await #expect(throws: AuditUnavailable.self) { try await fill(log, 1) }
    #expect(log.trouble?.cause == "moved")
    rename(directory + "/away", directory + "/log.jsonl")
    while log.trouble != nil { try await Task.sleep(for: .milliseconds(50)) }
    let record = try #require(try log.entries(from: 3, limit: 10).last)
    #expect(record["kind"] == "audit" && record["event"] == "outage" && record["cause"] == "moved")
    #expect(record["refused"] == 1)
  }

  /// A beginning that somebody cut off is not taken for one that was pruned.
  @Test func aBeginningThatSomebodyCutIsNotTakenForPruned() async throws {
    let log = try open()
    try await fill(log, 1100)
    try cosign(log)
    log.close()
    // With the roots and the place as pruning leaves them, but without its record.
    try log.tree.hashes.keepRoots(before: 512)
    try log.log.prune(before: 512)
    let error = #expect(throws: AuditTampered.self) { try open() }
    #expect(error?.index == 0 && error?.reason.contains("before 512") == true, "\(String(describing: error))")
  }

  @Test func changedRootsAreFound() async throws {
    let log = try open()
    try await fill(log, 1100)
    try await log.prune(before: 1024, why: [:])
    _ = log.signedHead()
    log.close()
    let good = try #require(try DurableFile.read(directory + "/roots"))
    #expect(good.count == 32 * 7)
    for at in good.indices {
      var bad = good
      bad[at] ^= 1 << UInt8.random(in: 0..<8)
      try DurableFile.replace(directory + "/roots", with: bad)
      #expect(throws: AuditTampered.self) { try open() }
    }
    try DurableFile.replace(directory + "/roots", with: Array(good.prefix(100)))
    #expect(throws: AuditTampered.self) { try open() }
    try DurableFile.replace(directory + "/roots", with: good + [1, 2, 3])
    #expect(try open().head() == log.head())
  }

  /// Whatever of a pruning a power cut leaves, the log opens: with what was there, or with what is said to be left.
  @Test func aCrashAnywhereInAPruningLosesNothing() async throws {
    let log = try open()
    try await fill(log, 1000)
    let names = ["log.jsonl", "log.jsonl.first", "hashes", "roots", "head"]
    func disk() throws -> [[UInt8]?] { try names.map { try DurableFile.read(directory + "/" + $0) } }
    let before = try disk()
    try await log.prune(before: 768, why: [:])
    let head = log.head()
    let after = try disk()
    log.close()
    // The record is durable first; of the rest the roots come before the place, and holes may or may not have come.
    for (roots, place, hole) in [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)] {
      for name in names { unlink(directory + "/" + name) }
      let whole = before[0].map { $0 + (after[0] ?? []).dropFirst($0.count) }
      let parts = [
        hole == 1 ? after[0] : whole, place == 1 ? after[1] : before[1], hole == 1 ? after[2] : before[2],
        roots == 1 ? after[3] : before[3], before[4],
      ]
      for (name, part) in zip(names, parts) {
        if let part { try DurableFile.replace(directory + "/" + name, with: part) }
      }
      let again = try open()
      #expect(again.head() == head && again.first == (place == 1 ? 768 : 0))
      try await again.prune(before: 768, why: [:])
      #expect(try again.first == 768 && open().first == 768)
    }
  }

  @Test func storedHashesAreFoundFromTheirIndexes() {
    for index in Array(0..<5000) + [1 << 40, 123_456_789_012] as [UInt64] {
      let (level, n) = Merkle.storedHash(at: index)
      #expect(Merkle.storedHashIndex(level: level, n: n) == index)
    }
  }
}
