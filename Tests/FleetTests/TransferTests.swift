import Fleet
import Testing

@Suite struct TokenBucketTests {
  /// Several who share a limit take pieces whenever they may; returns bytes and seconds.
  private func run(rate: Double, seconds: Double, pieces: [Int]) -> Double {
    var bucket = TokenBucket(rate: rate, at: 100)
    var (now, taken) = (100.0, 0)
    var next = [Double](repeating: 100, count: pieces.count)
    while let (who, at) = next.enumerated().min(by: { $0.element < $1.element }), at < 100 + seconds {
      now = at
      if let wait = bucket.take(pieces[who], at: now) {
        #expect(wait > 0)
        next[who] = now + wait
      } else {
        taken += pieces[who]
        next[who] = now + 0.000_001
      }
    }
    return Double(taken) / seconds
  }

  @Test(arguments: [20_000.0, 250_000, 1_000_000, 50_000_000])
  func holdsWithinFivePercentHoweverManyShareIt(rate: Double) {
    for pieces in [[1_000], [1_000, 1_000, 700, 333], [Int(rate / 20), Int(rate / 20), 100]] {
      let got = run(rate: rate, seconds: 5, pieces: pieces)
      #expect(abs(got / rate - 1) < 0.05, "\(got) of \(rate) with \(pieces)")
    }
  }

  @Test func idleTimeIsNotSavedUp() {
    var bucket = TokenBucket(rate: 1_000, at: 0)
    #expect(bucket.take(10, at: 3_600) == nil)
    #expect(bucket.take(100, at: 3_600) == nil)
    let wait = bucket.take(1, at: 3_600)
    #expect(wait ?? 0 > 0.05)
    // A clock that goes back gives nothing.
    #expect(bucket.take(1, at: 10) == wait)
  }
}

@Suite struct QuietHoursTests {
  private func hours(_ texts: String...) -> QuietHours? { QuietHours(texts.compactMap { QuietHours.Window($0) }) }

  @Test func windowsMayPassMidnight() throws {
    let night = try #require(hours("22:00-06:00"))
    for (minute, end) in [(22 * 60, 360), (23 * 60 + 59, 360), (0, 360), (359, 360)] {
      #expect(night.isQuiet(minute))
      #expect(night.end(from: minute) == end)
    }
    for minute in [360, 720, 22 * 60 - 1] {
      #expect(!night.isQuiet(minute))
      #expect(night.end(from: minute) == nil)
    }
    let joined = try #require(hours("08:00-12:00", "12:00-18:30"))
    #expect(joined.end(from: 9 * 60) == 18 * 60 + 30)
    #expect(QuietHours.none.end(from: 0) == nil)
  }

  @Test func everyMinuteIsOnOneSide() throws {
    for text in ["00:00-00:01", "23:59-00:00", "12:00-11:59", "06:30-22:15"] {
      let window = try #require(QuietHours.Window(text))
      #expect(window.description == text)
      let length = (0..<1440).count { window.contains($0) }
      #expect(length == (window.end - window.start + 1440) % 1440)
    }
  }

  @Test(arguments: [
    "", "22-06", "22:00", "22:00-", "24:00-06:00", "22:60-06:00", "1:00-06:00", "22:00-22:00", "22:00-06:00-07:00",
    "aa:00-06:00", "-1:00-06:00",
  ])
  func whatIsNoWindowIsRefused(text: String) { #expect(QuietHours.Window(text) == nil) }

  @Test func aDayWithoutABreakIsRefused() {
    #expect(hours("00:00-12:00", "12:00-00:00") == nil)
    #expect(hours("00:00-12:00", "12:01-00:00") != nil)
  }
}

@Suite struct TransferMonthTests {
  @Test func aNewMonthHasItsOwnAccount() {
    var month = TransferMonth(month: 24_000, used: 500)
    month.advance(to: 24_000, after: 3_600)
    #expect(month.used == 500)
    month.advance(to: 24_001, after: 3_600)
    #expect(month == TransferMonth(month: 24_001))
    #expect(month.name == "2000-02")
  }

  @Test func aClockThatJumpsAheadAndBackDoesNotHoldForEver() {
    var month = TransferMonth(month: 24_300, used: 500)
    month.advance(to: 25_000, after: 1)
    #expect(month.used == 0)
    month.used = 900
    month.advance(to: 24_300, after: 1)
    #expect(month.month == 24_300)
    #expect(month.used == 900, "going back wins nothing")
    month.advance(to: 24_301, after: 1)
    #expect(month.used == 0)
  }

  @Test func aClockThatStandsStillDoesNotEither() {
    var month = TransferMonth(month: 23_640, used: 500)
    for _ in 0..<30 { month.advance(to: 23_640, after: 86_400) }
    #expect(month.used == 500)
    month.advance(to: 23_640, after: 86_400)
    #expect(month.used == 0)
  }

  @Test func theAccountIsKeptAsText() throws {
    let month = TransferMonth(month: 24_323, used: 123_456_789_012, running: 77)
    #expect(TransferMonth(month.text) == month)
    for bad in ["", "1 2", "1 2 3 4", "-1 2 3", "1 -2 3", "x 2 3", "999999999 1 1"] {
      #expect(TransferMonth(bad) == nil)
    }
  }
}

@Suite struct TransferRulesTests {
  private let month = TransferMonth(month: 24_323, used: 900)

  @Test func quietHoursComeBeforeTheBudget() throws {
    let night = try #require(QuietHours.Window("22:00-06:00"))
    let rules = TransferRules(quiet: try #require(QuietHours([night])), bytesPerMonth: 1_000)
    #expect(rules.hold(50, minute: 60, quietFor: 0, month: month) == .quietHours(until: 360))
    #expect(rules.hold(100, minute: 600, quietFor: 0, month: month) == nil)
    #expect(
      rules.hold(101, minute: 600, quietFor: 0, month: month) == .budget(month: "2026-12", used: 900, budget: 1_000))
    // No quiet hours last a day: such a clock stands still.
    #expect(rules.hold(50, minute: 60, quietFor: 86_400, month: month) == nil)
  }

  @Test func withoutRulesEverythingTravels() {
    #expect(TransferRules().hold(.max / 2, minute: 0, quietFor: 0, month: month) == nil)
  }

  @Test func aHoldSaysWhatHelps() {
    #expect("\(TransferHold.quietHours(until: 360))".contains("06:00"))
    let full = "\(TransferHold.budget(month: "2026-12", used: 9, budget: 10))"
    #expect(full.contains("2026-12") && full.contains("--now"))
  }
}
