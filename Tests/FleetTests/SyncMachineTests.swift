import Fleet
import Testing

@Suite struct BackoffTests {
  @Test func theCeilingDoublesUpToTheCap() {
    var backoff = Backoff(base: 2, cap: 30)
    #expect((0..<7).map { _ in backoff.next(random: 1) } == [2, 4, 8, 16, 30, 30, 30])
    backoff.reset()
    #expect(backoff.next(random: 0.5) == 1)
  }

  @Test func staysWithinItsBoundsForEver() {
    var backoff = Backoff(base: 1, cap: 300)
    for step in 0..<10_000 {
      let wait = backoff.next(random: Double(step % 10) / 10)
      #expect(wait >= 0 && wait <= 300)
    }
    #expect(Backoff(base: 1, cap: 10).next2(random: 7) == 1)
  }
}

extension Backoff {
  fileprivate func next2(random: Double) -> Double {
    var copy = self
    return copy.next(random: random)
  }
}

@Suite struct SyncMachineTests {
  private func machine() -> SyncMachine {
    SyncMachine(probeSeconds: 4, intervalSeconds: 900, backoff: Backoff(base: 4, cap: 300))
  }

  /// A machine that has reached the hub and finished a sync.
  private func settled() -> SyncMachine {
    var machine = machine()
    _ = machine.handle(.started)
    _ = machine.handle(.probeSucceeded)
    _ = machine.handle(.syncFinished(.ok))
    return machine
  }

  @Test func startsWithAProbeAndSyncsWhenItSucceeds() {
    var machine = machine()
    #expect(machine.handle(.started) == [.probeAfter(0), .scheduleAfter(900)])
    #expect(machine.handle(.probeSucceeded) == [.startSync, .probeAfter(4)])
    #expect(machine.handle(.syncFinished(.ok)) == [.probeAfter(4), .scheduleAfter(900)])
    #expect(machine.handle(.probeSucceeded) == [.probeAfter(4)])
  }

  @Test func aHubThatComesBackIsSyncedWithAtOnce() {
    var machine = settled()
    #expect(machine.handle(.requested) == [.startSync])
    #expect(machine.handle(.syncFinished(.unreachable)) == [.probeAfter(4), .scheduleAfter(900)])
    #expect(machine.handle(.probeFailed) == [.probeAfter(4)])
    #expect(machine.handle(.probeSucceeded) == [.startSync, .probeAfter(4)])
  }

  @Test(arguments: [1.0, 4, 60])
  func probesAsOftenAsItIsTold(asked: Double) {
    var machine = SyncMachine(probeSeconds: asked)
    _ = machine.handle(.started)
    var waits: [Double] = []
    for event in [
      SyncMachine.Event.probeFailed, .linkDown, .scheduleDue, .probeFailed, .probeSucceeded, .probeSucceeded,
    ] {
      for case .probeAfter(let seconds) in machine.handle(event) { waits.append(seconds) }
    }
    #expect(waits == [asked, asked, asked, asked, asked])
  }

  @Test func aHubThatWentAwayUnseenIsMissedByTheNextProbe() {
    var machine = settled()
    #expect(machine.handle(.probeFailed) == [.probeAfter(4)])
    #expect(machine.reachability == .down)
    #expect(machine.handle(.probeSucceeded) == [.startSync, .probeAfter(4)])
  }

  @Test func noTwoSyncsAtATime() {
    var machine = machine()
    let events: [SyncMachine.Event] = [
      .started, .probeSucceeded, .requested, .scheduleDue, .linkUp, .linkDown, .probeFailed, .probeSucceeded,
      .requested, .syncFinished(.ok), .requested, .scheduleDue, .syncFinished(.transient), .probeSucceeded,
      .scheduleDue, .syncFinished(.unreachable), .probeSucceeded,
    ]
    var running = 0
    for round in 0..<50 {
      for event in events.dropFirst(round % 5) {
        if case .syncFinished = event { running = max(0, running - 1) }
        running += machine.handle(event).count { $0 == .startSync }
        #expect(running <= 1)
        #expect(machine.isSyncing == (running == 1))
      }
    }
  }

  @Test func requestsDuringASyncBecomeOneMore() {
    var machine = machine()
    #expect(machine.handle(.requested) == [.startSync])
    #expect(machine.handle(.requested) == [])
    #expect(machine.handle(.requested) == [])
    #expect(machine.handle(.syncFinished(.ok)).first == .startSync)
    #expect(machine.handle(.syncFinished(.ok)) == [.probeAfter(4), .scheduleAfter(900)])
  }

  @Test func aFailedSyncTakesTheWaitingRequestWithIt() {
    var machine = machine()
    _ = machine.handle(.requested)
    _ = machine.handle(.requested)
    #expect(machine.handle(.syncFinished(.unreachable)) == [.probeAfter(4), .scheduleAfter(900)])
    #expect(!machine.isAskedAgain)
  }

  @Test func aHubThatAnswersGarbageIsAskedLessAndLess() {
    var machine = settled()
    var waits: [Double] = []
    for _ in 0..<9 {
      #expect(machine.handle(.scheduleDue, random: 1).first == .startSync)
      for case .scheduleAfter(let wait) in machine.handle(.syncFinished(.transient), random: 1) { waits.append(wait) }
      // Its sign of life is no reason to ask again.
      #expect(!machine.handle(.probeSucceeded).contains(.startSync))
    }
    #expect(waits == [4, 8, 16, 32, 64, 128, 256, 300, 300])
    _ = machine.handle(.requested)
    _ = machine.handle(.syncFinished(.ok))
    _ = machine.handle(.requested)
    #expect(machine.handle(.syncFinished(.transient), random: 1).contains(.scheduleAfter(4)))
  }

  @Test func whatCannotGetBetterWaitsForTheSchedule() {
    var machine = settled()
    _ = machine.handle(.requested)
    #expect(machine.handle(.syncFinished(.permanent)) == [.probeAfter(4), .scheduleAfter(900)])
  }

  @Test func outOfReachTheScheduleTriesNothing() {
    var machine = settled()
    _ = machine.handle(.probeFailed)
    #expect(machine.handle(.scheduleDue) == [.scheduleAfter(900)])
  }

  @Test func aSyncEndsOnlyOnce() {
    var machine = settled()
    #expect(machine.handle(.syncFinished(.ok)) == [])
  }

  @Test func theScheduleIsSpread() {
    var waits: [Double] = []
    for random in [0.0, 0.25, 0.999] {
      var machine = machine()
      for case .scheduleAfter(let wait) in machine.handle(.started, random: random) { waits.append(wait) }
    }
    #expect(waits.count == 3 && waits == waits.sorted() && waits.allSatisfy { $0 >= 810 && $0 <= 990 })
    #expect(waits[0] < 811 && waits[2] > 989)
  }
}
