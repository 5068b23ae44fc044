import Fleet
import FoundationEssentials
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

private let now: Int64 = 1_800_000_000
private let day: Int64 = 86_400

@Suite struct TrustedClockTests {
  let scratch: Scratch
  let hands = ClockHands()
  let publisher = Publisher()

  init() throws { scratch = try Scratch() }

  var path: String { scratch.path + "/time.json" }

  private func open() -> TrustedClock { TrustedClock(path: path, read: hands.read) }

  private func settled() throws -> TrustedClock {
    let clock = open()
    try clock.settle(roots: [TUFRoot(parsing: publisher.root())], offlineSigned: [])
    return clock
  }

  private var onlineKey: String { TUFKey(ed25519: publisher.onlineKey.verifyingKey).fingerprint ?? "" }

  private func said(_ time: Int64) -> TimeStatement {
    TimeStatement(time: time, source: .metadata, keys: [onlineKey])
  }

  @Test func theFloorSurvivesARestartAndUptimeCarriesItOnOverReboots() throws {
    let clock = try settled()
    #expect(try clock.learn(said(now)) == .raised)
    hands.wall = 0
    #expect(clock.judgement().doubt == .behind && clock.now() == now)
    hands.pass(500)
    #expect(clock.now() == now + 500)
    // Killed without a word, and started again on the same boot: the time between counts too.
    hands.pass(40)
    let again = open()
    #expect(again.now() == now + 540 && again.judgement().doubt == .behind)
    try again.save()
    // After a reboot at least its uptime has passed.
    hands.reboot(after: 33)
    #expect(open().now() == now + 573)
    hands.wall = now + 600
    let right = open()
    #expect(right.judgement().doubt == nil && right.now() == now + 600)
  }

  @Test func aMonotonicClockThatGoesBackCostsNothing() throws {
    let clock = try settled()
    _ = try clock.learn(said(now))
    hands.wall = 0
    hands.pass(50)
    #expect(clock.now() == now + 50)
    hands.pass(-5000)
    #expect(clock.now() == now + 50)
  }

  @Test func damageIsPassedOver() throws {
    for bytes in [
      [], Array("{".utf8), Array("[]".utf8),
      Array(#"{"uptime":-5,"monotonic":0,"boot":"","told":{},"floor":{"entries":[]}}"#.utf8),
      Array(#"{"uptime":5,"monotonic":-9223372036854775808,"boot":"one","told":{},"floor":{"entries":[]}}"#.utf8),
    ] {
      try DurableFile.replace(path, with: bytes)
      let clock = try settled()
      #expect(clock.now() == now)
      #expect(try clock.learn(said(now + 5)) == .raised)
      #expect(open().account().source?.time == now + 5)
    }
  }

  @Test func readingItWritesNothingAndDriftIsNoReasonToWrite() throws {
    let clock = try settled()
    _ = try clock.learn(said(now))
    try DurableFile.remove(path)
    for _ in 0..<1000 { _ = clock.now() }
    #expect(try clock.learn(said(now + 30)) == .raised)
    #expect(!DurableFile.exists(path), "half a minute is drift")
    try clock.saveIfDue()
    #expect(!DurableFile.exists(path))
    #expect(try clock.learn(said(now + 3600)) == .raised)
    #expect(DurableFile.exists(path))
    try DurableFile.remove(path)
    hands.pass(601)
    try clock.saveIfDue()
    #expect(DurableFile.exists(path))
  }

  @Test func whenTheRootTakesTheKeyAwayItsFutureGoesWithIt() throws {
    let clock = try settled()
    _ = try clock.learn(said(now))
    _ = try clock.learn(said(now + 900 * day))
    #expect(clock.judgement().doubt == .behind)
    let other = try publisher.root(version: 2, online: SigningKey.generate())
    let gone = try clock.settle(roots: [TUFRoot(parsing: other)], offlineSigned: [])
    #expect(gone.map(\.time) == [now + 900 * day])
    #expect(clock.judgement().doubt == nil && clock.now() == now)
    #expect(open().account().source == nil, "forgotten on disk as well")
  }

  @Test func eachDoubtIsToldOnceThroughRestarts() async throws {
    let scratch = try Scratch()
    let records = Records()
    func keeper() async throws -> (ClockKeeper, TrustedClock) {
      let clock = try settled()
      let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
      let access = try await AccessControl(
        policyFile: scratch.path + "/none", database: database, now: clock.now, audit: records.writer)
      let registry = try await ModelRegistry.open(
        database: database, directory: scratch.path + "/registry", audit: records.writer, now: clock.now)
      return (ClockKeeper(clock: clock, audit: records.writer, access: access, registry: registry), clock)
    }
    var (watch, clock) = try await keeper()
    await watch.look()
    _ = try clock.learn(said(now))
    await watch.look()
    #expect(records.of("clock").isEmpty)
    hands.wall = 0
    for _ in 0..<3 { await watch.look() }
    (watch, clock) = try await keeper()
    await watch.look()
    #expect(records.of("clock").compactMap { $0.fields["doubt"] } == ["behind"])
    hands.wall = now + 10 * 365 * day
    await watch.look()
    hands.wall = now
    for _ in 0..<3 { await watch.look() }
    #expect(
      records.of("clock").map { $0.fields["event"] } == ["step", "doubted", "step", "doubted", "step", "right"])
    #expect(records.of("clock").compactMap { $0.fields["doubt"] } == ["behind", "ahead", .null])
    // Each time that it was set is told of once, by how much, also when it is believed all the same; passing time is not.
    let ahead = 10 * 365 * day
    #expect(records.of("clock").compactMap { $0.fields["seconds"]?.integer } == [-now, now + ahead, -ahead])
    hands.pass(500)
    hands.wall += 500
    await watch.look()
    #expect(records.of("clock").count == 6)
    records.fail(true)
    hands.wall += 3
    await watch.look()
    records.fail(false)
    (watch, clock) = try await keeper()
    for _ in 0..<2 { await watch.look() }
    #expect(records.of("clock").dropFirst(6).map { $0.fields["seconds"] } == [3])
    // The machine was off meanwhile.
    hands.reboot(after: 33)
    for _ in 0..<2 { await watch.look() }
    #expect(records.of("clock").count == 7)
  }
}

/// What the hub's signed time and the metadata do to a box, over real requests.
@Suite struct SyncTimeTests {
  private func fleet(
    _ prepare: (FakeHub) throws -> Void = { _ in }, _ body: (FakeHub, SyncBox) async throws -> Void
  ) async throws {
    let hub = try FakeHub()
    try prepare(hub)
    try hub.start()
    let box = try await SyncBox()
    do {
      try await box.service.enroll(token: try hub.token())
      try await body(hub, box)
    } catch {
      await box.close()
      await hub.stop()
      throw error
    }
    await box.close()
    await hub.stop()
  }

  private func say(_ hub: FakeHub, _ time: Int64, key: SigningKey? = nil, nonce: String? = nil) {
    let key = key ?? hub.publisher.onlineKey
    hub.state.withLock {
      $0.signTime = { device, asked in TimeReply.signed(device: device, nonce: nonce ?? asked, time: time, key: key) }
    }
  }

  private func attacks(_ box: SyncBox) throws -> [String] {
    try box.records("attack").compactMap { $0["attack"]?.string }
  }

  @Test func theHubsAnswerRaisesTheFloorAndEachQuestionIsAnother() async throws {
    try await fleet { hub, box in
      say(hub, now + 5)
      _ = try await box.service.syncNow()
      _ = try await box.service.syncNow()
      #expect(box.clock.account().source?.source == .reply)
      #expect(box.clock.judgement().floor == now + 5)
      let nonces = hub.state.withLock { $0.syncs.compactMap(\.nonce) }
      #expect(nonces.count >= 2 && Set(nonces).count == nonces.count)
      box.hands.wall = 0
      #expect(box.clock.judgement().doubt == .behind && box.clock.now() == now + 5)
    }
  }

  @Test func aForgedAnOldAndAnAbsurdAnswerAreOnRecordAndNotBelieved() async throws {
    try await fleet { hub, box in
      say(hub, now + 5 * day, key: SigningKey.generate())
      _ = try await box.service.syncNow()
      #expect(try attacks(box).isEmpty, "a hub whose key nobody here knows says nothing")
      say(hub, now + 5 * day, nonce: "an old one")
      _ = try await box.service.syncNow()
      #expect(try attacks(box) == ["replay"])
      say(hub, 200_000_000_000)
      _ = try await box.service.syncNow()
      #expect(try attacks(box) == ["replay", "clock"])
      #expect(box.clock.account().refused != nil)
      #expect(box.clock.now() == now && box.clock.account().source == nil)
      // Once the hub says what can be, the box no longer complains.
      say(hub, now)
      _ = try await box.service.syncNow()
      #expect(box.clock.account().refused == nil && box.clock.account().source?.time == now)
    }
  }

  /// The whole way back: a thief has the online key, claims a far future, and the owners take the key away.
  @Test func aStolenOnlineKeyDoesNotBrickABox() async throws {
    try await fleet { hub, box in
      let model = try hub.publisher.publish(ggufFile(seed: 1, weights: 30_000), name: "tiny")
      try hub.release()
      _ = try await box.service.syncNow()
      let future: Int64 = 4_000_000_000 - day
      say(hub, future)
      _ = try await box.service.syncNow()
      #expect(box.clock.judgement().doubt == .behind && box.clock.now() == future)
      // What honest people sign now is long over by that clock.
      try hub.release(expires: Date(timeIntervalSince1970: Double(now + 30 * day)))
      hub.state.withLock { $0.signTime = nil }
      await #expect(throws: (any Error).self) { _ = try await box.service.syncNow() }
      #expect(await box.registry.installed().map(\.name) == [model.name], "what is installed stays")
      // A new root, itself shorter than the thief's future, takes the key away.
      let fresh = SigningKey.generate()
      let ends = Date(timeIntervalSince1970: Double(now + 365 * day))
      let root = try hub.publisher.root(version: 2, expires: ends, online: fresh)
      hub.state.withLock { $0.files["2.root.json"] = root }
      try hub.publisher.publish(ggufFile(seed: 2, weights: 30_000), name: "tiny", version: "2")
      try hub.release(expires: Date(timeIntervalSince1970: Double(now + 30 * day)), online: fresh)
      say(hub, now + 60, key: fresh)
      let outcome = try await box.service.syncNow()
      #expect(outcome.activated == ["tiny:2"])
      #expect(box.clock.judgement().doubt == nil && box.clock.now() == now + 60)
      #expect(try box.records("clock").map { $0["event"] } == ["forgotten"])
      // The thief goes on: nobody listens.
      say(hub, future)
      _ = try await box.service.syncNow()
      #expect(box.clock.now() == now + 60)
    }
  }

  @Test func aTimestampThatSaysWhenItWasSignedRaisesTheFloor() async throws {
    try await fleet { hub, box in
      box.hands.wall = 0
      try hub.publisher.publish(ggufFile(seed: 1, weights: 30_000), name: "tiny")
      try hub.release(signedAt: Date(timeIntervalSince1970: Double(now + 7)))
      _ = try await box.service.syncNow()
      #expect(box.clock.account().source?.source == .metadata && box.clock.now() == now + 7)
    }
  }

  /// The clock says 1970 and there is no answer of the hub: what the metadata says of the time shows that it is over.
  @Test func metadataThatShowsItselfToBeOverInstallsNothing() async throws {
    let prepare: (FakeHub) throws -> Void = { hub in
      hub.publisher.begin(
        with: try hub.publisher.root(version: 1, expires: Date(timeIntervalSince1970: Double(now + 10))))
    }
    try await fleet(prepare) { hub, box in
      box.hands.wall = 0
      try hub.publisher.publish(ggufFile(seed: 1, weights: 30_000), name: "tiny")
      try hub.release(signedAt: Date(timeIntervalSince1970: Double(now + 11)))
      await #expect(throws: TUFError.self) { _ = try await box.service.syncNow() }
      #expect(await box.registry.installed().isEmpty)
      #expect(try attacks(box) == ["freeze"])
    }
  }

  @Test func signedGraceLetsInWhatHasExpiredAndSaysSo() async throws {
    let prepare: (FakeHub) throws -> Void = { hub in
      hub.publisher.begin(
        with: try hub.publisher.root(version: 1, policy: RepositoryPolicy(graceSeconds: 3600, staleSeconds: 7200)))
    }
    try await fleet(prepare) { hub, box in
      try hub.publisher.publish(ggufFile(seed: 1, weights: 30_000), name: "tiny")
      try hub.release(expires: Date(timeIntervalSince1970: Double(now - 3601)))
      await #expect(throws: TUFError.self) { _ = try await box.service.syncNow() }
      #expect(await box.registry.installed().isEmpty)
      try hub.release(expires: Date(timeIntervalSince1970: Double(now - 3599)))
      #expect(try await box.service.syncNow().activated == ["tiny:1"])
      #expect(try box.records("grace").map { $0["event"] } == ["installed"])
      #expect(try box.records("grace").last?["models"] == ["tiny:1"])

      // Stale, and by the same policy at an end after two hours.
      try await box.registry.demandUsable("tiny:1", at: now)
      let stale = await box.registry.freshness(at: now)
      #expect(stale.isStale && stale.refusesAt == now - 3599 + 7200)
      await #expect(throws: RegistryError.self) {
        try await box.registry.demandUsable("tiny:1", at: now - 3599 + 7200)
      }
      #expect(await box.registry.installed().count == 1)
    }
  }
}
