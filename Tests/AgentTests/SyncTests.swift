import Fleet
import FoundationEssentials
import Glibc
import Storage
import Synchronization
import Testing
import Trust
import Web

@testable import Agent

/// Gives a hub and an enrolled box to a test and takes both away after it.
private func fleet(
  enrolled: Bool = true, report: (@Sendable () async throws -> JSONValue)? = nil,
  _ body: (FakeHub, SyncBox) async throws -> Void
) async throws {
  let hub = try FakeHub()
  try hub.start()
  let box = try await SyncBox(report: report)
  do {
    if enrolled { try await box.service.enroll(token: try hub.token()) }
    try await body(hub, box)
  } catch {
    await box.close()
    await hub.stop()
    throw error
  }
  await box.close()
  await hub.stop()
}

/// The error that the work ends with, nil when it ends well.
private func failure(_ work: () async throws -> Void) async -> (any Error)? {
  do {
    try await work()
    return nil
  } catch {
    return error
  }
}

/// What must not happen did.
private struct Unexpected: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Waits for a condition, looking often; false after the time.
private func eventually(_ seconds: Double = 5, _ condition: () async throws -> Bool) async throws -> Bool {
  let end = ContinuousClock.now + .seconds(seconds)
  while ContinuousClock.now < end {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(20))
  }
  return false
}

@Suite struct SyncEnrolmentTests {
  @Test func joinsAndKeepsItsEnrolment() async throws {
    try await fleet(enrolled: false) { hub, box in
      #expect(await failure { _ = try await box.service.syncNow() } as? SyncError != nil)
      let enrolment = try await box.service.enroll(token: try hub.token(), actor: "uid:0(root)")
      #expect(enrolment.deviceID == box.identity.id)
      #expect(enrolment.hub == hub.url)
      #expect(try box.events("enroll") == ["requested", "enrolled"])
      #expect(try Enrolment.load(from: box.scratch.path) == enrolment)
      #expect(await box.registry.trusted?.rootVersion == 1)
      #expect(hub.state.withLock(\.badSignatures) == 0)
      // The same token once more is no harm.
      #expect(try await box.service.enroll(token: try hub.token()).deviceID == box.identity.id)
    }
  }

  @Test func plainlyRefusesBadTokens() async throws {
    try await fleet(enrolled: false) { hub, box in
      let token = try hub.token()
      for bad in ["", "skerry1.x", String(token.dropLast(3)), "skerry9" + token.dropFirst(7)] {
        guard case .token = await failure({ try await box.service.enroll(token: bad) }) as? SyncError else {
          Issue.record("\(bad.prefix(20))")
          continue
        }
      }
      // A stranger with the pinned address but another key.
      let stranger = try TLSIdentity.selfSigned(commonName: "x", addresses: ["127.0.0.1"])
      let wrongPin = try hub.token(pin: stranger.pin)
      guard case .wrongKey = await failure({ try await box.service.enroll(token: wrongPin) }) as? SyncError else {
        throw Unexpected("another TLS key was taken")
      }
      #expect(hub.state.withLock(\.paths).isEmpty)
      #expect(try Enrolment.load(from: box.scratch.path) == nil)
    }
  }

  @Test func aTokenThatAnotherBoxUsedIsRefused() async throws {
    try await fleet { hub, _ in
      let other = try await SyncBox()
      let error = await failure { try await other.service.enroll(token: try hub.token()) }
      guard case .refused(let refusal, 409) = error as? SyncError else {
        await other.close()
        throw Unexpected("\(String(describing: error))")
      }
      #expect(refusal.code == .tokenUsed)
      #expect(try other.events("enroll") == ["requested", "failed"])
      await other.close()
    }
  }

  @Test func aFalseHubDoesNotUseTheNumbersUp() async throws {
    try await fleet { hub, box in
      let claims: [UInt64] = [UInt64(Int64.max) - 1, 1 << 62, (1 << 62) - 1, UInt64.max]
      for last in claims {
        hub.set(.ahead(last))
        #expect(await failure { _ = try await box.service.syncNow() } as? SyncError != nil)
      }
      hub.set(.honest)
      _ = try await box.service.syncNow()
      let used = try #require(hub.state.withLock { $0.lastSequence.values.max() })
      #expect(used > (1 << 61) && used < (1 << 62) + 100)
    }
  }

  @Test func aHubsWordsDoNotFillTheBox() async throws {
    try await fleet { hub, box in
      hub.set(.rambling)
      #expect(await failure { _ = try await box.service.syncNow() } as? SyncError != nil)
      let last = try #require(try box.log.entries(from: 0, limit: 1000).last { $0["event"] == "failed" })
      #expect(last.encoded().count < 2000)
      #expect(try #require(try await box.service.status().lastError).utf8.count < 1000)
    }
  }

  @Test func aForeignRootChangesNothingAndTheTokenStaysGood() async throws {
    try await fleet(enrolled: false) { hub, box in
      hub.set(.otherRoot)
      guard case .wrongRoot = await failure({ try await box.service.enroll(token: try hub.token()) }) as? SyncError
      else { throw Unexpected("a foreign root was trusted") }
      #expect(await box.registry.trusted == nil)
      #expect(try Enrolment.load(from: box.scratch.path) == nil)
      for mode in [FakeHub.Mode.garbage, .half, .otherShape, .failing(500)] {
        hub.set(mode)
        #expect(await failure { try await box.service.enroll(token: try hub.token()) } as? SyncError != nil, "\(mode)")
      }
      hub.set(.honest)
      try await box.service.enroll(token: try hub.token())
    }
  }

  @Test func theKeyOutlivesAKillBeforeTheEnrolmentIsSaved() async throws {
    let hub = try FakeHub()
    try hub.start()
    let scratch = try Scratch()
    let first = try await SyncBox(scratch: scratch)
    try await first.service.enroll(token: try hub.token())
    await first.close()
    // The hub knows the box; the box was killed before it wrote that down.
    try DurableFile.remove(Enrolment.path(in: scratch.path))
    let second = try await SyncBox(scratch: scratch)
    #expect(second.identity.id == first.identity.id)
    #expect(try await second.service.enroll(token: try hub.token()).deviceID == first.identity.id)
    await second.close()
    await hub.stop()
  }

  @Test func anotherFleetIsRefusedWhileEnrolled() async throws {
    try await fleet { _, box in
      let other = try FakeHub()
      try other.start()
      guard
        case .alreadyEnrolled = await failure({ try await box.service.enroll(token: try other.token()) }) as? SyncError
      else { throw Unexpected("moved to another fleet") }
      await other.stop()
    }
  }

  @Test func aDamagedKeyIsNeverReplaced() throws {
    let scratch = try Scratch()
    let before = try DeviceIdentity.open(directory: scratch.path)
    #expect(try DeviceIdentity.open(directory: scratch.path).id == before.id)
    try DurableFile.replace(scratch.path + "/device.key", with: Array("not a key".utf8))
    #expect(throws: StorageError.self) { try DeviceIdentity.open(directory: scratch.path) }
  }
}

@Suite struct SyncRoundTests {
  @Test func oneSyncBringsTheModelTheReportAndTheHead() async throws {
    let report: @Sendable () async throws -> JSONValue = { ["report": 1] }
    try await fleet(report: report) { hub, box in
      _ = try await box.service.syncNow()
      let bytes = ggufFile(seed: 1)
      try hub.publisher.publish(bytes, name: "tiny")
      try hub.release()
      try await box.service.enqueue(kind: "event", priority: 0, body: ["what": "started"])
      let seen = Mutex<Set<SyncProgress.Phase>>([])
      let outcome = try await box.service.syncNow(progress: { progress in
        seen.withLock { _ = $0.insert(progress.phase) }
      })
      #expect(outcome.changed)
      #expect(outcome.activated == ["tiny:1"])
      #expect(hub.state.withLock { $0.syncs.last?.models.map(\.state) } == ["active"])
      #expect(await box.registry.installed().map(\.state) == [.active])
      #expect(try DurableFile.read(try await box.registry.verifiedPath("tiny")) == bytes)
      #expect(outcome.metadataVersion == 1)
      #expect(outcome.failures.isEmpty)
      let state = hub.state.withLock { $0 }
      #expect(state.items.map(\.kind).sorted() == ["event", "report"])
      #expect(state.badSignatures == 0)
      let cosigned = try #require(box.log.cosigned())
      #expect(cosigned.size == state.head?.size)
      #expect(try await box.service.status().outbox == 0)
      #expect(try await box.service.status().lastSuccess == 1_800_000_000)
      #expect(try box.events("sync").contains("done"))
    }
  }

  @Test func whoAsksDuringASyncHearsOfItToo() async throws {
    let (hub, scratch) = (try FakeHub(), try Scratch())
    try hub.start()
    try hub.publisher.publish(ggufFile(seed: 1, weights: 8_000_000), name: "tiny")
    try hub.release()
    let box = try await SyncBox(scratch: scratch)
    try await box.service.enroll(token: try hub.token())
    _ = try await eventually { try await box.service.status().state == "syncing" }
    let outcome = try await box.service.syncNow()
    #expect(outcome.activated == ["tiny:1"])
    await box.close()
    await hub.stop()
  }

  @Test func whenNothingChangedOneRequestIsAll() async throws {
    try await fleet { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1), name: "tiny")
      try hub.release()
      _ = try await box.service.syncNow()
      _ = try await box.service.syncNow()
      hub.state.withLock { $0.paths = [] }
      for _ in 0..<3 {
        let outcome = try await box.service.syncNow()
        #expect(!outcome.changed)
      }
      #expect(hub.state.withLock(\.paths) == ["/v1/sync", "/v1/sync", "/v1/sync"])
      // What is worth telling does bring the head up.
      _ = try await box.log.append(AuditEvent(kind: .decision, actor: "uid:1", fields: ["allowed": true]))
      _ = try await box.service.syncNow()
      #expect(hub.state.withLock(\.paths).suffix(2) == ["/v1/sync", "/v1/audit/add-checkpoint"])
    }
  }

  @Test func theSequenceJumpsAheadOnce() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      let id = box.identity.id.hex
      hub.state.withLock { $0.lastSequence[id] = 5000 }
      _ = try await box.service.syncNow()
      #expect(hub.state.withLock { $0.lastSequence[id] ?? 0 } > 5000)
      #expect(try await SyncTables(database: box.database).nextSequence() > 5000)
    }
  }

  @Test func aFlippedBitIsMendedByTheNextSync() async throws {
    try await fleet { hub, box in
      let bytes = ggufFile(seed: 4, weights: 2_000_000)
      let manifest = try hub.publisher.publish(bytes, name: "tiny")
      try hub.release()
      _ = try await box.service.syncNow()
      let path = try await box.registry.verifiedPath("tiny")
      var changed = bytes
      changed[1_500_000] ^= 0x10
      try DurableFile.replace(path, with: changed)
      await #expect(throws: RegistryError.self) { try await box.registry.verifiedPath("tiny") }
      hub.publisher.set(.none)
      let outcome = try await box.service.syncNow()
      #expect(outcome.activated == [manifest.label])
      #expect(hub.publisher.asked.count == 1)
      #expect(try DurableFile.read(try await box.registry.verifiedPath("tiny")) == bytes)
      #expect(try box.events("model") == ["activated", "digest_mismatch", "mended"])
    }
  }

  @Test func theHubsWishIsFollowedAndKept() async throws {
    try await fleet { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1), name: "one")
      try hub.publisher.publish(ggufFile(seed: 2), name: "two")
      hub.state.withLock { $0.desired = ["two", "ghost"] }
      try hub.release()
      let outcome = try await box.service.syncNow()
      #expect(await box.registry.installed().map(\.name.description) == ["two"])
      #expect(outcome.failures.isEmpty)
      hub.state.withLock { $0.desired = ["one"] }
      let second = try await box.service.syncNow()
      #expect(second.activated == ["one:1"])
      #expect(second.removed == ["two:1"])
    }
  }

  @Test func aRolledBackRepositoryIsRefusedAndTheBoxServesOn() async throws {
    try await fleet { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1), name: "tiny")
      try hub.release()
      let old = hub.state.withLock { ($0.files, $0.timestampVersion) }
      _ = try await box.service.syncNow()
      try hub.release()
      _ = try await box.service.syncNow()
      hub.state.withLock { ($0.files, $0.timestampVersion) = old }
      let error = await failure { _ = try await box.service.syncNow() }
      guard case .rollback = error as? TUFError else { throw Unexpected("\(String(describing: error))") }
      _ = try await box.registry.verifiedPath("tiny")
      #expect(try await box.service.status().lastError != nil)
    }
  }
}

@Suite struct SyncHostileHubTests {
  @Test(arguments: [FakeHub.Mode.garbage, .half, .otherShape, .failing(500), .failing(503), .failing(418)])
  func anyAnswerIsSurvived(mode: FakeHub.Mode) async throws {
    try await fleet { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1), name: "tiny")
      try hub.release()
      _ = try await box.service.syncNow()
      hub.set(mode)
      #expect(await failure { _ = try await box.service.syncNow() } as? SyncError != nil)
      #expect(try box.events("sync").contains("failed"))
      _ = try await box.registry.verifiedPath("tiny")
      hub.set(.honest)
      _ = try await box.service.syncNow()
      #expect(try await box.service.status().lastError == nil)
    }
  }

  @Test func aSilentHubDoesNotHoldUpAStop() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      hub.set(.silent)
      let waiting = Task { try await box.service.syncNow() }
      _ = try await eventually { try await box.service.status().state == "syncing" }
      let start = ContinuousClock.now
      await box.service.stop()
      #expect(ContinuousClock.now - start < .seconds(20))
      await #expect(throws: (any Error).self) { try await waiting.value }
    }
  }

  @Test func aCallerWhoLeavesDoesNotEndTheSync() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      hub.set(.silent)
      let waiting = Task { try await box.service.syncNow() }
      _ = try await eventually { try await box.service.status().state == "syncing" }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      #expect(try await box.service.status().state == "syncing")
    }
  }

  @Test func aFalseWitnessIsNotBelieved() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      let before = box.log.cosigned()?.size
      hub.set(.falseWitness)
      _ = try await box.log.append(AuditEvent(kind: .decision, actor: "uid:1", fields: ["allowed": true]))
      guard case .garbage = await failure({ _ = try await box.service.syncNow() }) as? SyncError else {
        throw Unexpected("a false cosignature was kept")
      }
      #expect(box.log.cosigned()?.size == before)
      hub.set(.honest)
      _ = try await box.service.syncNow()
    }
  }

  @Test func aWitnessThatKnowsAnotherLogIsToldOf() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      hub.state.withLock { state in
        state.head = Checkpoint(origin: box.identity.auditOrigin, size: 10_000, root: Digest(of: [1]))
      }
      let outcome = try await box.service.syncNow()
      #expect(outcome.failures.contains { $0.message.contains("10000") })
      hub.state.withLock { state in
        state.head = Checkpoint(origin: box.identity.auditOrigin, size: 1, root: Digest(of: [1]))
      }
      let second = try await box.service.syncNow()
      #expect(!second.failures.isEmpty)
    }
  }

  @Test func theOutboxKeepsWhatTheHubDidNotTake() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      hub.set(.deafOutbox)
      for number in 0..<250 {
        try await box.service.enqueue(kind: "event", priority: number % 3, body: .integer(Int64(number)))
      }
      #expect(await failure { _ = try await box.service.syncNow() } as? SyncError != nil)
      #expect(try await box.service.status().outbox == 250)
      hub.set(.honest)
      _ = try await box.service.syncNow()
      #expect(try await box.service.status().outbox == 0)
      let items = hub.state.withLock(\.items)
      #expect(items.count == 250)
      #expect(items.map(\.priority) == items.map(\.priority).sorted())
    }
  }

  @Test func aReportReplacesTheOlderOne() async throws {
    try await fleet { _, box in
      await box.service.stop()
      for number in 0..<3 { try await box.service.enqueue(kind: "report", priority: 1, body: .integer(Int64(number))) }
      let items = try await SyncTables(database: box.database).batch(limit: 10, bytes: 1000)
      #expect(items.map(\.body) == [2])
    }
  }
}

@Suite struct SyncReachabilityTests {
  @Test func aReturningHubIsNoticedByItself() async throws {
    try await fleet { hub, box in
      _ = try await box.service.syncNow()
      await hub.stop()
      guard case .unreachable = await failure({ _ = try await box.service.syncNow() }) as? SyncError else {
        throw Unexpected("reached a stopped hub")
      }
      #expect(try await box.service.status().reachable == false)
      let before = hub.state.withLock(\.syncs.count)
      try hub.start()
      #expect(try await eventually(10) { hub.state.withLock(\.syncs.count) > before })
      #expect(try await eventually(10) { try await box.service.status().reachable == true })
    }
  }

  @Test func aChangeOfTheNetworkIsLookedIntoAtOnce() async throws {
    let hub = try FakeHub()
    try hub.start()
    let (stream, network) = AsyncStream.makeStream(of: Void.self)
    let box = try await SyncBox(probeSeconds: 120, network: { stream })
    try await box.service.enroll(token: try hub.token())
    _ = try await box.service.syncNow()
    await hub.stop()
    #expect(await failure { _ = try await box.service.syncNow() } as? SyncError != nil)
    let before = hub.state.withLock(\.syncs.count)
    try hub.start()
    network.yield()
    // The next probe by itself would come after a minute and a half.
    #expect(try await eventually(20) { hub.state.withLock(\.syncs.count) > before })
    await box.close()
    await hub.stop()
  }

  @Test func metadataThatEndsSoonIsRenewedThoughNothingChanged() async throws {
    try await fleet { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1), name: "tiny")
      let soon = Date(timeIntervalSince1970: 1_800_000_000 + 3600)
      let files = try hub.publisher.metadata(expires: soon)
      hub.state.withLock { state in
        for (name, bytes) in files { state.files[name] = bytes }
        state.timestampVersion = 1
      }
      _ = try await box.service.syncNow()
      hub.state.withLock { $0.paths = [] }
      _ = try await box.service.syncNow()
      #expect(hub.state.withLock(\.paths).contains("/repo/metadata/timestamp.json"))
      try hub.release()
      _ = try await box.service.syncNow()
      hub.state.withLock { $0.paths = [] }
      _ = try await box.service.syncNow()
      #expect(!hub.state.withLock(\.paths).contains("/repo/metadata/timestamp.json"))
    }
  }

  @Test func aRestartedAgentSyncsByItself() async throws {
    let hub = try FakeHub()
    try hub.start()
    let scratch = try Scratch()
    let first = try await SyncBox(scratch: scratch)
    try await first.service.enroll(token: try hub.token())
    _ = try await first.service.syncNow()
    await first.close()
    let before = hub.state.withLock(\.syncs.count)
    let second = try await SyncBox(scratch: scratch)
    await second.service.start()
    #expect(try await eventually(10) { hub.state.withLock(\.syncs.count) > before })
    #expect(hub.state.withLock(\.badSignatures) == 0)
    await second.close()
    await hub.stop()
  }

  @Test func probesTellOpenFromClosed() async throws {
    let hub = try FakeHub()
    try hub.start()
    let address = try #require(HubAddress(url: hub.url))
    #expect(await TCPProbe.reaches(address, within: .seconds(2)))
    await hub.stop()
    #expect(await TCPProbe.reaches(address, within: .seconds(2)) == false)
    let deaf = try DeafListener()
    let start = ContinuousClock.now
    #expect(await TCPProbe.reaches(deaf.address, within: .milliseconds(300)) == false)
    #expect(ContinuousClock.now - start < .seconds(20))
    #expect(HubAddress(url: "http://x") == nil)
    #expect(HubAddress(url: "https://[::1]:8443")?.host == "::1")
    #expect(HubAddress(url: "https://hub.example")?.port == 443)
  }
}

/// Listens on loopback with a full queue, so that a further connection is neither taken nor refused.
private final class DeafListener {
  let address: HubAddress
  private var descriptors: [Int32] = []

  init() throws {
    let kind = Int32(SOCK_STREAM.rawValue)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    let listener = socket(AF_INET, kind, 0)
    descriptors = [listener]
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, length) == 0 && listen(listener, 0) == 0 && getsockname(listener, $0, &length) == 0
      }
    }
    try #require(bound)
    address = try #require(HubAddress(url: "https://127.0.0.1:\(UInt16(bigEndian: name.sin_port))"))
    for _ in 0..<4 {
      let filler = socket(AF_INET, kind | Int32(SOCK_NONBLOCK.rawValue), 0)
      descriptors.append(filler)
      withUnsafePointer(to: &name) {
        _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(filler, $0, length) }
      }
    }
  }

  deinit { for descriptor in descriptors { close(descriptor) } }
}

@Suite struct SyncAttackTests {
  private func attacks(_ box: SyncBox) throws -> [String] {
    try box.log.entries(from: 0, limit: 1000).filter { $0["kind"] == "attack" }
      .map { "\($0["attack"]?.string ?? "") \($0["role"]?.string ?? "")" }
  }

  @Test func eachAttackIsOnRecordOnceASync() async throws {
    try await fleet { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1), name: "one")
      try hub.release()
      _ = try await box.service.syncNow()
      #expect(try attacks(box).isEmpty)
      let old = hub.state.withLock(\.files)
      try hub.publisher.publish(ggufFile(seed: 2), name: "two")
      try hub.release()
      _ = try await box.service.syncNow()
      hub.state.withLock {
        $0.files["timestamp.json"] = old["timestamp.json"]
        $0.timestampVersion = 1
      }
      #expect(await failure { _ = try await box.service.syncNow() } is TUFError)
      #expect(try attacks(box) == ["rollback image/timestamp"])
      hub.state.withLock { $0.files["timestamp.json"] = [UInt8](repeating: 0x20, count: 100_000) }
      #expect(await failure { _ = try await box.service.syncNow() } is SourceFault)
      #expect(try attacks(box) == ["rollback image/timestamp", "endless-data image/metadata"])
    }
  }

  @Test func noAttackerFillsTheLog() async throws {
    let records = Records()
    let ledger = AttackLedger(audit: records.writer)
    for number in 0..<100 {
      for _ in 0..<3 { try await ledger.record(AttackReport(.freeze, role: "image/root", reason: "\(number)")) }
    }
    try await ledger.close()
    #expect(records.of("attack").count == AttackLedger.limit + 1)
    #expect(records.of("attack").last?.fields["counts"] == ["freeze": .integer(Int64(100 - AttackLedger.limit))])
  }
}
