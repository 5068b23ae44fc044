import Fleet
import Synchronization
import Testing
import Trust

@testable import Agent

@Suite final class RetentionKeeperTests: Sendable {
  private let scratch: Scratch
  private let hands = ClockHands()
  private let records = Records()
  private let said = Mutex<RetentionException?>(nil)
  private let start: Int64 = 1_800_000_000
  private let day: Int64 = 86_400

  init() throws { scratch = try Scratch() }

  private func keeper(days: Int) -> RetentionKeeper {
    var settings = AuditRetention()
    settings.days = days
    let clock = TrustedClock(path: scratch.path + "/time.json", read: hands.read)
    return RetentionKeeper(settings: settings, clock: clock, audit: records.writer) { self.said.withLock { $0 } }
  }

  private func make(_ id: Character) -> RetentionException {
    RetentionException(
      id: String(repeating: id, count: 16), days: 30, reason: "works council", issued: start, expires: start + 10 * day,
      issuedBy: "operator:first")
  }

  @Test func eachChangeIsOnRecordBeforeItCounts() async throws {
    hands.wall = start
    var watch = keeper(days: 7)
    #expect(try await watch.current().days == 180 && records.all.isEmpty)
    said.withLock { $0 = make("a") }
    records.fail(true)
    await #expect(throws: Records.Broken.self) { try await watch.current() }
    records.fail(false)
    for _ in 0..<2 { #expect(try await watch.current().days == 30) }
    watch = keeper(days: 7)
    #expect(try await watch.current().days == 30)
    #expect(records.of("audit").map { $0.fields["event"] } == ["exception"])
    #expect(records.all[0].fields["reason"] == "works council" && records.all[0].fields["days"] == 30)
    #expect(try await keeper(days: 400).current().days == 400)
    said.withLock { $0 = make("b") }
    #expect(try await watch.current().days == 30 && records.all.count == 2)
    // It ends by itself.
    hands.wall = start + 10 * day
    for _ in 0..<2 { #expect(try await watch.current().days == 180) }
    #expect(records.of("audit").map { $0.fields["event"] } == ["exception", "exception", "exceptionEnded"])
    #expect(records.all[2].fields["id"] == .string(String(repeating: "b", count: 16)))
  }

  /// What was signed of the time, and has passed since, ends it whatever the wall clock shows.
  @Test func aClockThatIsSetBackMakesItLastNoLonger() async throws {
    hands.wall = start
    said.withLock { $0 = make("a") }
    let watch = keeper(days: 7)
    let publisher = Publisher()
    try watch.clock.settle(roots: [TUFRoot(parsing: publisher.root())], offlineSigned: [])
    let online = TUFKey(ed25519: publisher.onlineKey.verifyingKey).fingerprint ?? ""
    #expect(try watch.clock.learn(TimeStatement(time: start, source: .metadata, keys: [online])) == .raised)
    #expect(try await watch.current().days == 30)
    hands.pass(10 * day)
    #expect(hands.wall == start)
    #expect(try await watch.current().days == 180)
  }
}
