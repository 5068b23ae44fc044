import Fleet
import FoundationEssentials
import Testing
import Trust

@testable import Hub

@Suite struct BoundsTests {
  @Test func aBucketEmptiesAndFills() {
    let limiter = RateLimiter(rate: 2, burst: 3)
    #expect((0..<5).map { _ in limiter.allows("a", at: .seconds(10)) } == [true, true, true, false, false])
    #expect(limiter.allows("b", at: .seconds(10)))
    #expect(!limiter.allows("a", at: .milliseconds(10_400)))
    #expect(limiter.allows("a", at: .milliseconds(10_600)))
    #expect((0..<5).map { _ in limiter.allows("a", at: .seconds(1000)) } == [true, true, true, false, false])
  }

  @Test func strangersCanNotFillTheLimitersMemoryNorCrowdOutTheRest() {
    let limiter = RateLimiter(rate: 1, burst: 2, capacity: 10)
    for n in 0..<10 { #expect(limiter.allows("busy \(n)", at: .seconds(0))) }
    #expect(!limiter.allows("one more", at: .seconds(0)))
    #expect(limiter.allows("busy 3", at: .seconds(0)))
    // Once they have rested they are forgotten, and there is room.
    #expect(limiter.allows("one more", at: .seconds(60)))
  }

  @Test func onlyTheNewestItemsOfABoxAreKept() async throws {
    let path = FileManager.default.temporaryDirectory.path + "/skerry-store-\(Hex.encode(SecureRandom.bytes(8))).sqlite"
    defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
    let store = try HubStore(path: path)
    defer { store.close() }
    try await store.addEnrollmentToken(secret: "s", expires: 100, now: 1)
    let id = try await store.enroll(
      key: SigningKey.generate().verifyingKey, secret: "s", name: "box", agentVersion: "1", sequence: 1, now: 2)
    var last = ""
    for round in 0..<13 {
      let items = (0..<100).map {
        OutboxItem(
          id: OutboxItem.newID(), kind: "event", priority: 0, created: 1, body: .integer(Int64(round * 100 + $0)))
      }
      last = items[99].id
      _ = try await store.recordOutbox(id, sequence: UInt64(round + 2), items: items, now: 3)
    }
    let events = try await store.events(id, limit: 5000)
    #expect(events.count == 1000)
    #expect(events.first?.id == last)
    #expect(events.first?.body == 1299)
    #expect(events.last?.body == 300)
  }

  @Test func theTransactionTakesTheNumberAndTheEffectTogether() async throws {
    let path = FileManager.default.temporaryDirectory.path + "/skerry-store-\(Hex.encode(SecureRandom.bytes(8))).sqlite"
    defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
    let store = try HubStore(path: path)
    defer { store.close() }
    try await store.addEnrollmentToken(secret: "s", expires: 100, now: 1)
    let id = try await store.enroll(
      key: SigningKey.generate().verifyingKey, secret: "s", name: "box", agentVersion: "1", sequence: 1, now: 2)
    struct Broken: Error {}
    await #expect(throws: Broken.self) {
      try await store.act(as: id, sequence: 9, now: 50) { connection, _ in
        try connection.execute("UPDATE devices SET name = 'half' WHERE id = ?", .text(id.hex))
        throw Broken()
      }
    }
    let device = try #require(try await store.device(id))
    #expect(device.lastSequence == 1 && device.name == "box" && device.lastSeen == 2)
    // Of many at once with the same number exactly one gets through.
    let passed = await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<20 {
        group.addTask { (try? await store.act(as: id, sequence: 9, now: 60) { _, _ in true }) ?? false }
      }
      return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
    #expect(passed == 1)
  }

  @Test func oddBodiesForTheWitnessDoNotHurt() throws {
    let key = SigningKey.generate()
    let checkpoint = Checkpoint(origin: DeviceID(key: key.verifyingKey).auditOrigin, size: 9, root: Digest(of: [1]))
    let note = try SignedNote.sign(text: checkpoint.noteText, name: checkpoint.origin, key: key)
    let proof = (0..<4).map { Digest(of: [UInt8($0)]) }
    let body = AddCheckpoint.body(oldSize: 3, proof: proof, note: note)
    let whole = try AddCheckpoint(parsing: body)
    #expect(whole.oldSize == 3 && whole.proof == proof && whole.checkpoint == checkpoint)
    var random = SystemRandomNumberGenerator()
    var refused = 0
    for _ in 0..<5000 {
      var odd = body
      switch Int.random(in: 0..<4, using: &random) {
      case 0: odd.removeLast(Int.random(in: 1...odd.count, using: &random))
      case 1: odd[Int.random(in: 0..<odd.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      case 2: odd.insert(0x0A, at: Int.random(in: 0..<odd.count, using: &random))
      default: odd = (0..<40).map { _ in [0x0A, 0x20, 0x6F, 0x6C, 0x64, 0x30].randomElement(using: &random) ?? 0 }
      }
      do {
        let read = try AddCheckpoint(parsing: odd)
        #expect(read.proof.count <= AddCheckpoint.maximumProof)
        #expect(read.verdict(recorded: (3, Digest(of: [7]))) != .accepted)
      } catch { refused += 1 }
    }
    #expect(refused > 1000)
  }

  @Test func aRangeNeverLeavesItsFile() {
    let numbers = ["", "0", "1", "9", "10", "11", "18446744073709551615", "18446744073709551616", "-1", "x"]
    for size in [0, 1, 10, UInt64.max] {
      for first in numbers {
        for last in numbers {
          if case .part(let range) = ByteRange.parse("bytes=\(first)-\(last)", size: size) {
            #expect(range.count > 0 && range.start < size && range.count <= size - range.start)
          }
        }
      }
    }
    #expect(ByteRange.parse("bytes=2-4", size: 10) == .part(ByteRange(start: 2, count: 3)))
    #expect(ByteRange.parse("bytes=8-", size: 10) == .part(ByteRange(start: 8, count: 2)))
    #expect(ByteRange.parse("bytes=10-", size: 10) == .unsatisfiable)
    #expect(ByteRange.parse(nil, size: 10) == .whole)
  }
}
