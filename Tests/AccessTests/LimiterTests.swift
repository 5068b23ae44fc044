import Testing
import Trust

@testable import Access

@Suite struct RateBucketTests {
  @Test func aMinutesWorthAtOnceThenEvenly() {
    var bucket = RateBucket(perMinute: 60, at: 100)
    for _ in 0..<60 {
      #expect(bucket.wait(for: 1, at: 100) == 0)
      bucket.take(1, at: 100)
    }
    #expect(abs(bucket.wait(for: 1, at: 100) - 1) < 1e-6)
    #expect(bucket.remaining(at: 100) == 0)
    #expect(bucket.wait(for: 1, at: 101) == 0)
    #expect(bucket.remaining(at: 130) == 30)
    #expect(bucket.untilFull(at: 130) == 30)
    #expect(bucket.remaining(at: 1000) == 60)
  }

  @Test func aClockThatGoesBackNeitherFreesNorStarves() {
    var bucket = RateBucket(perMinute: 60, at: 1000)
    bucket.take(60, at: 1000)
    #expect(bucket.wait(for: 1, at: 5) > 0)
    #expect(bucket.wait(for: 1, at: 1000) <= 1.000001)
    #expect(bucket.wait(for: 1, at: 1002) == 0)
  }

  @Test func whatWasNotForeseenIsPaidBack() {
    var bucket = RateBucket(perMinute: 600, at: 0)
    bucket.take(1200, at: 0)
    #expect(bucket.wait(for: 100, at: 0) == 70)
    #expect(bucket.remaining(at: 0) == 0)
    // More than a minute's worth goes when the bucket is full.
    #expect(bucket.wait(for: 100_000, at: 0) == 120)
    #expect(bucket.wait(for: 100_000, at: 120) == 0)
  }

  @Test func anotherLimitKeepsWhatIsUsed() {
    var bucket = RateBucket(perMinute: 60, at: 0)
    bucket.take(50, at: 0)
    bucket.change(perMinute: 100, at: 0)
    #expect(bucket.remaining(at: 0) == 50)
    bucket.change(perMinute: 40, at: 0)
    #expect(bucket.remaining(at: 0) == 0)
  }
}

@Suite struct DayWindowTests {
  @Test func no24HoursHoldMoreThanTheLimit() {
    var generator = SeededRandom(state: 7)
    var window = DayWindow()
    var taken: [(at: Double, tokens: Int)] = []
    var time = 0.0
    for _ in 0..<5000 {
      time += Double(generator.next() % 1200)
      let tokens = Int(generator.next() % 50) + 1
      let wait = window.wait(for: tokens, limit: 1000, at: time)
      if wait == 0 {
        window.add(tokens, in: Int64(time / 3600), now: Int64(time / 3600))
        taken.append((time, tokens))
        let day = taken.suffix(2000).filter { $0.at > time - 86_400 }.reduce(0) { $0 + $1.tokens }
        #expect(day <= 1000)
      } else {
        // Who waits so long gets in, and no sooner.
        var later = window
        #expect(later.wait(for: tokens, limit: 1000, at: time + wait) == 0)
        var sooner = window
        #expect(sooner.wait(for: tokens, limit: 1000, at: time + wait - 1) > 0)
      }
    }
    #expect(taken.count > 500)
  }

  @Test func whatWasNotUsedIsGivenBack() {
    var window = DayWindow()
    window.add(500, in: 3, now: 3)
    window.add(-400, in: 3, now: 4)
    #expect(window.used(at: 4) == 100)
    window.add(-400, in: 3, now: 4)
    #expect(window.used(at: 4) == 0)
    window.add(5, in: 3, now: 4)
    #expect(window.used(at: 27) == 5)
    #expect(window.used(at: 28) == 0)
  }
}

@Suite struct LimiterTests {
  static func grant(_ role: String, _ own: [Limits.Key: Int] = [:], shared: [Limits.Key: Int] = [:]) -> Grant {
    Grant(role: role, own: Allowance(Limits(own)), shared: Allowance(Limits(shared)))
  }

  static func at(_ seconds: Double) -> Limiter.Now { Limiter.Now(seconds: seconds, lasting: seconds) }

  @Test func eachCallerHasTheirOwn() throws {
    var limiter = Limiter()
    let grants = [LimiterTests.grant("chat", [.requestsPerMinute: 2])]
    for _ in 0..<2 { _ = try limiter.take("a", grants, tokens: 1, queue: 9, at: LimiterTests.at(0)) }
    let refusal = #expect(throws: Limiter.Refusal.self) {
      try limiter.take("a", grants, tokens: 1, queue: 9, at: LimiterTests.at(0))
    }
    #expect(refusal?.limit == .requestsPerMinute && refusal?.scope == .caller("a") && refusal?.role == "chat")
    #expect(refusal?.allowed == 2 && refusal?.wait == 30)
    _ = try limiter.take("b", grants, tokens: 1, queue: 9, at: LimiterTests.at(0))
    // The waiting time that was told is true.
    _ = try limiter.take("a", grants, tokens: 1, queue: 9, at: LimiterTests.at(30))
  }

  @Test func aRoleIsLimitedForAllItsCallersTogether() throws {
    var limiter = Limiter()
    let grants = [LimiterTests.grant("chat", shared: [.tokensPerMinute: 100])]
    _ = try limiter.take("a", grants, tokens: 60, queue: 9, at: LimiterTests.at(0))
    let refusal = #expect(throws: Limiter.Refusal.self) {
      try limiter.take("b", grants, tokens: 60, queue: 9, at: LimiterTests.at(0))
    }
    #expect(refusal?.scope == .role("chat") && refusal?.limit == .tokensPerMinute)
    _ = try limiter.take("b", grants, tokens: 60, queue: 9, at: LimiterTests.at(refusal?.wait ?? 0))
  }

  @Test func theMostGenerousRoleCounts() throws {
    var limiter = Limiter()
    let grants = [
      LimiterTests.grant("chat", [.requestsPerMinute: 1]), LimiterTests.grant("heavy", [.requestsPerMinute: 5]),
    ]
    for _ in 0..<5 { _ = try limiter.take("a", grants, tokens: 1, queue: 9, at: LimiterTests.at(0)) }
    let refusal = #expect(throws: Limiter.Refusal.self) {
      try limiter.take("a", grants, tokens: 1, queue: 9, at: LimiterTests.at(0))
    }
    #expect(refusal?.role == "heavy" && refusal?.allowed == 5)
  }

  @Test func aRoleWithRoomLetsInWhereAnotherIsFull() throws {
    var limiter = Limiter()
    let grants = [LimiterTests.grant("one", shared: [.requestsPerMinute: 1]), LimiterTests.grant("two")]
    #expect(try limiter.take("a", grants, tokens: 1, queue: 9, at: LimiterTests.at(0)).role == "two")
    let narrow = [grants[0], LimiterTests.grant("three", shared: [.requestsPerMinute: 1])]
    #expect(try limiter.take("a", narrow, tokens: 1, queue: 9, at: LimiterTests.at(0)).role == "one")
    #expect(try limiter.take("a", narrow, tokens: 1, queue: 9, at: LimiterTests.at(0)).role == "three")
    #expect(throws: Limiter.Refusal.self) { try limiter.take("a", narrow, tokens: 1, queue: 9, at: LimiterTests.at(0)) }
  }

  /// What is made from something has the limits of both, key by key the narrower, for callers and for roles.
  @Test func whatIsMadeFromAnotherHasTheLimitsOfBoth() throws {
    let big = [LimiterTests.grant("big", [.requestsPerMinute: 2])]
    let lab = [LimiterTests.grant("lab", [.requestsPerMinute: 5, .tokensPerMinute: 100])]
    var limiter = Limiter()
    for _ in 0..<2 { _ = try limiter.take("a", big, made: lab, tokens: 10, queue: 9, at: LimiterTests.at(0)) }
    var refusal = #expect(throws: Limiter.Refusal.self) {
      try limiter.take("a", big, made: lab, tokens: 10, queue: 9, at: LimiterTests.at(0))
    }
    #expect(refusal?.limit == .requestsPerMinute && refusal?.role == "big" && refusal?.allowed == 2)
    refusal = #expect(throws: Limiter.Refusal.self) {
      _ = try limiter.take("b", big, made: lab, tokens: 90, queue: 9, at: LimiterTests.at(0))
      return try limiter.take("b", big, made: lab, tokens: 90, queue: 9, at: LimiterTests.at(0))
    }
    #expect(refusal?.limit == .tokensPerMinute && refusal?.role == "lab" && refusal?.allowed == 100)
    // Both roles are charged, the one that lets both once; and both get back what was not used.
    limiter = Limiter()
    let (many, few) = (
      LimiterTests.grant("big", shared: [.tokensPerMinute: 100, .concurrency: 1]),
      LimiterTests.grant("lab", shared: [.tokensPerMinute: 1000, .concurrency: 1])
    )
    let charge = try limiter.take("a", [many], made: [few], tokens: 100, queue: 9, at: LimiterTests.at(0))
    #expect(charge.role == "big")
    limiter.began(charge)
    let other = try limiter.take("b", [few], tokens: 1, queue: 9, at: LimiterTests.at(0))
    #expect(!limiter.mayRun(other), "the variant's role is at the engine")
    limiter.ended(charge)
    #expect(limiter.mayRun(other))
    #expect(limiter.usedToday(.role("big"), at: LimiterTests.at(0)) == 100)
    #expect(limiter.usedToday(.role("lab"), at: LimiterTests.at(0)) == 101)
    limiter.settle(charge, tokens: 40, at: LimiterTests.at(0))
    #expect(limiter.usedToday(.role("big"), at: LimiterTests.at(0)) == 40)
    #expect(limiter.usedToday(.role("lab"), at: LimiterTests.at(0)) == 41)
    let both = try limiter.take("c", [many], made: [many, few], tokens: 10, queue: 9, at: LimiterTests.at(0))
    #expect(limiter.usedToday(.role("big"), at: LimiterTests.at(0)) == 50)
    limiter.settle(both, tokens: 10, at: LimiterTests.at(0))
    #expect(limiter.usedToday(.role("lab"), at: LimiterTests.at(0)) == 41)
  }

  @Test func theDaySurvivesARestart() throws {
    let grants = [LimiterTests.grant("chat", [.tokensPerDay: 100])]
    var limiter = Limiter()
    limiter.restore(.caller("a"), tokens: 90, hour: 5, at: Limiter.Now(seconds: 0, lasting: 6 * 3600))
    let refusal = #expect(throws: Limiter.Refusal.self) {
      try limiter.take("a", grants, tokens: 20, queue: 9, at: Limiter.Now(seconds: 0, lasting: 6 * 3600))
    }
    #expect(refusal?.limit == .tokensPerDay && refusal?.wait == 24 * 3600)
    _ = try limiter.take("a", grants, tokens: 20, queue: 9, at: Limiter.Now(seconds: 0, lasting: 30 * 3600))
  }

  @Test func settlingGivesBackWhatWasNotUsed() throws {
    var limiter = Limiter()
    let grants = [LimiterTests.grant("chat", [.tokensPerMinute: 100, .tokensPerDay: 100])]
    let charge = try limiter.take("a", grants, tokens: 100, queue: 9, at: LimiterTests.at(0))
    limiter.settle(charge, tokens: 10, at: LimiterTests.at(0))
    #expect(limiter.standing(of: "a", at: LimiterTests.at(0)).tokens?.remaining == 90)
    #expect(limiter.usedToday(.caller("a"), at: LimiterTests.at(0)) == 10)
  }

  /// Whatever is asked and whenever: what is let in stays within every limit in the long run, a refusal's waiting time is
  /// true, and scopes that are at rest are forgotten.
  @Test(arguments: 0..<20) func waitingTimesAreTrue(seed: Int) throws {
    var generator = SeededRandom(state: UInt64(seed))
    let limits: [Limits.Key: Int] = [.requestsPerMinute: 30, .tokensPerMinute: 2000, .tokensPerDay: 50_000]
    let grants = [LimiterTests.grant("r", limits, shared: [.tokensPerMinute: 3000])]
    var limiter = Limiter(capacity: 8)
    var time = 0.0
    var used = 0
    var refusals = 0
    for _ in 0..<1000 {
      time += Double(generator.next() % 4000) / 1000
      let caller = "c\(generator.next() % 4)"
      let tokens = Int(generator.next() % 300) + 1
      do {
        let charge = try limiter.take(caller, grants, tokens: tokens, queue: 9, at: LimiterTests.at(time))
        let actual = Int(generator.next() % 400)
        used += actual
        limiter.settle(charge, tokens: actual, at: LimiterTests.at(time))
      } catch {
        refusals += 1
        #expect(error.wait > 0)
        var later = limiter
        _ = try later.take(caller, grants, tokens: tokens, queue: 9, at: LimiterTests.at(time + error.wait + 1e-6))
      }
    }
    #expect(refusals > 0)
    #expect(Double(used) <= 3000 * (time / 60 + 1) + 4 * 400)
  }

  @Test func scopesAtRestAreForgotten() throws {
    var limiter = Limiter(capacity: 10)
    let grants = [LimiterTests.grant("r", [.requestsPerMinute: 60])]
    for number in 0..<1000 {
      let charge = try limiter.take("c\(number)", grants, tokens: 1, queue: 9, at: LimiterTests.at(Double(number)))
      limiter.settle(charge, tokens: 0, at: LimiterTests.at(Double(number)))
    }
    #expect(limiter.scopes < 20)
  }
}
