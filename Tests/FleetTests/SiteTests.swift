import Testing
import Trust

@testable import Fleet

@Suite struct SiteTests {
  private static func key(_ number: UInt8) -> VerifyingKey {
    guard let key = VerifyingKey(bytes: [UInt8](repeating: number, count: 32)) else { preconditionFailure() }
    return key
  }
  private static func chunk(_ number: Int) -> Digest { Digest(of: Array("chunk \(number)".utf8)) }

  // MARK: homes

  @Test func allBoxesFindTheSameHomeWhateverTheirOrder() {
    let boxes = (1...10).map { Self.key($0) }
    for number in 0..<200 {
      let order = Rendezvous.order(of: Self.chunk(number), among: boxes)
      #expect(Set(order) == Set(boxes))
      #expect(Rendezvous.order(of: Self.chunk(number), among: boxes.reversed()) == order)
      #expect(Rendezvous.home(of: Self.chunk(number), among: boxes.shuffled()) == order.first)
    }
    #expect(Rendezvous.home(of: Self.chunk(1), among: []) == nil)
  }

  @Test func theWorkIsSharedEvenly() {
    let boxes = (1...10).map { Self.key($0) }
    var shares: [VerifyingKey: Int] = [:]
    for number in 0..<5000 { shares[Rendezvous.order(of: Self.chunk(number), among: boxes)[0], default: 0] += 1 }
    // 500 each, with a standard deviation of 21: six of them either way.
    for box in boxes { #expect((374...626).contains(shares[box] ?? 0)) }
  }

  @Test func aBoxThatGoesMovesItsOwnChunksAlone() {
    let boxes = (1...10).map { Self.key($0) }
    for number in 0..<500 {
      let before = Rendezvous.order(of: Self.chunk(number), among: boxes)
      let after = Rendezvous.order(of: Self.chunk(number), among: boxes.filter { $0 != boxes[3] })
      #expect(after == before.filter { $0 != boxes[3] })
    }
  }

  // MARK: plans

  @Test func aloneTheHubIsAsked() {
    #expect(
      SitePlan.steps(for: Self.chunk(1), number: 1, own: Self.key(1), isServing: true, others: [:]) == [.hub])
  }

  @Test func whoHoldsItWholeSparesTheHub() {
    let others: [VerifyingKey: SitePlan.Share] = [Self.key(2): .whole, Self.key(3): .whole, Self.key(4): .whole]
    for number in 0..<50 {
      let steps = SitePlan.steps(
        for: Self.chunk(number), number: number, own: Self.key(1), isServing: true, others: others)
      #expect(steps.count == 3)
      #expect(steps.last == .hub)
      for step in steps.dropLast() { if case .holder = step {} else { Issue.record("\(step)") } }
    }
  }

  @Test func ofThoseThatFetchExactlyOneGoesToTheHub() {
    let boxes = (1...6).map { Self.key($0) }
    for number in 0..<100 {
      var homes = 0
      for own in boxes {
        let others = Dictionary(
          uniqueKeysWithValues: boxes.filter { $0 != own }.map { ($0, SitePlan.Share.fetching(ChunkSet(count: 100))) })
        let steps = SitePlan.steps(
          for: Self.chunk(number), number: number, own: own, isServing: true, others: others)
        #expect(steps.last == .hub)
        #expect(steps.count <= SitePlan.tries + 1)
        if steps == [.hub] { homes += 1 }
        #expect(
          (steps == [.hub]) == SitePlan.isHome(of: Self.chunk(number), own: own, isServing: true, others: others))
        if steps != [.hub] {
          #expect(steps.first == .home(Rendezvous.order(of: Self.chunk(number), among: boxes)[0]))
        }
      }
      #expect(homes == 1)
    }
  }

  @Test func whoIsKnownToHaveTheChunkIsAskedBeforeItsHome() {
    var held = ChunkSet(count: 10)
    held.insert(7)
    let others: [VerifyingKey: SitePlan.Share] = [
      Self.key(2): .fetching(held), Self.key(3): .fetching(ChunkSet(count: 10)),
    ]
    for number in [7, 6] {
      let steps = SitePlan.steps(
        for: Self.chunk(number), number: number, own: Self.key(1), isServing: true, others: others)
      #expect((steps.first == .holder(Self.key(2))) == (number == 7))
      // Nobody is asked twice.
      #expect(!(steps.contains(.holder(Self.key(2))) && steps.contains(.home(Self.key(2)))))
    }
  }

  @Test func whoCannotBeAskedIsNobodysHome() {
    let others: [VerifyingKey: SitePlan.Share] = [Self.key(2): .fetching(ChunkSet(count: 10))]
    for number in 0..<10 {
      let steps = SitePlan.steps(
        for: Self.chunk(number), number: number, own: Self.key(1), isServing: false, others: others)
      #expect(steps == [.home(Self.key(2)), .hub])
      #expect(!SitePlan.isHome(of: Self.chunk(number), own: Self.key(1), isServing: false, others: others))
    }
  }

  @Test func withoutAHubEverybodyElseIsAskedOnce() {
    let others: [VerifyingKey: SitePlan.Share] = [
      Self.key(2): .whole, Self.key(3): .fetching(ChunkSet(count: 4)), Self.key(4): .whole,
    ]
    let rest = SitePlan.lastResort(number: 1, others: others, asked: [.holder(Self.key(2)), .home(Self.key(3))])
    #expect(rest == [.holder(Self.key(4))])
  }

  // MARK: conduct

  @Test func aLiarRestsForLongAndTwiceAsLongEachTime() {
    var conduct = NeighbourConduct()
    var now = 100.0
    var lengths: [Double] = []
    for lie in 1...10 {
      let rests = conduct.note(.lied, at: now)
      #expect(rests)
      #expect(conduct.lies == lie)
      #expect(!conduct.isAsked(at: now))
      lengths.append(conduct.restsUntil - now)
      now = conduct.restsUntil
      #expect(conduct.isAsked(at: now))
      // A right answer between does not wash it off.
      conduct.note(.answered, at: now)
    }
    #expect(lengths.prefix(3) == [600, 1200, 2400])
    #expect(lengths.last == 86_400)
  }

  @Test func whatWasUnderWayAddsNothingToARest() {
    var conduct = NeighbourConduct()
    conduct.note(.slow, at: 0)
    let until = conduct.restsUntil
    for _ in 0..<20 { conduct.note(.slow, at: 1) }
    #expect(conduct.restsUntil == until)
    #expect(conduct.troubles == 1)
  }

  @Test func whoAnswersAgainIsForgivenAndWhoDoesNotRestsLonger() {
    var conduct = NeighbourConduct()
    conduct.note(.failed, at: 0)
    #expect(conduct.restsUntil == 5)
    conduct.note(.failed, at: 5)
    #expect(conduct.restsUntil == 15)
    conduct.note(.answered, at: 15)
    conduct.note(.failed, at: 20)
    #expect(conduct.restsUntil == 25)
    for _ in 0..<40 { conduct.note(.failed, at: conduct.restsUntil) }
    let before = conduct.restsUntil
    conduct.note(.failed, at: before)
    #expect(conduct.restsUntil == before + 300)
  }

  @Test func aFewFalseClaimsAreForgiven() {
    var conduct = NeighbourConduct()
    for _ in 0..<NeighbourConduct.forgivenMisses { conduct.note(.missed, at: 0) }
    #expect(conduct.isAsked(at: 0))
    conduct.note(.missed, at: 0)
    #expect(!conduct.isAsked(at: 59))
    #expect(conduct.isAsked(at: 60))
  }

  // MARK: replay

  @Test func eachNumberIsTakenOnceAsASetWouldHaveIt() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<50 {
      var window = ReplayWindow()
      var seen: Set<UInt64> = []
      var highest: UInt64 = 0
      for _ in 0..<2000 {
        let near = highest + UInt64.random(in: 0...600, using: &generator)
        let number = near > 300 ? near - 300 : near
        let isNew = number > 0 && !seen.contains(number) && number + UInt64(ReplayWindow.width) > highest
        let isTaken = window.take(number)
        #expect(isTaken == isNew)
        if isNew { seen.insert(number) }
        highest = max(highest, isNew ? number : 0)
      }
      let last = [window.take(.max), window.take(.max), window.take(highest)]
      #expect(last == [true, false, false])
    }
  }

  @Test func aSessionIsOneNeighboursAndNumbersAreItsOwn() {
    var sessions = SiteSessions()
    func admit(_ name: String?, _ box: UInt8, _ number: UInt64) -> SiteSessions.Verdict {
      sessions.admit(name, from: Self.key(box), sequence: number)
    }
    sessions.open("a", for: Self.key(1))
    sessions.open("b", for: Self.key(1))
    let verdicts = [
      admit("a", 1, 5), admit("a", 1, 5), admit("b", 1, 5), admit("a", 2, 6), admit(nil, 1, 7),
    ]
    #expect(verdicts == [.admitted, .replayed, .admitted, .unknown, .unknown])
    for name in ["c", "d", "e"] { sessions.open(name, for: Self.key(1)) }
    let later = [admit("a", 1, 8), admit("e", 1, 8)]
    #expect(later == [.unknown, .admitted])
  }

  // MARK: what travels

  @Test(arguments: [0, 1, 7, 8, 9, 64, 1000])
  func listsOfChunksComeBackAsTheyWere(count: Int) throws {
    var set = ChunkSet(count: count)
    for number in stride(from: 0, to: count, by: 3) { set.insert(number) }
    set.insert(count)
    set.insert(-1)
    #expect(set.size == (count + 2) / 3)
    let share = SiteMessages.Share(index: Self.chunk(1), state: .fetching, chunks: set)
    let back = try JSONValue(parsing: try JSONValue(encoding: share).encoded()).decoded(as: SiteMessages.Share.self)
    #expect(back == share)
    #expect(back.meaning(count: count) == .fetching(set))
    #expect(back.meaning(count: count + 9) == nil)
  }

  @Test func listsOfTheSameFileAddUp() {
    var (one, other) = (ChunkSet(count: 20), ChunkSet(count: 20))
    for number in [0, 7, 19] { one.insert(number) }
    for number in [7, 8] { other.insert(number) }
    let both = one.union(other)
    #expect((0..<20).filter { both.contains($0) } == [0, 7, 8, 19])
    #expect(one.union(ChunkSet(count: 21)) == one)
  }

  @Test func aListThatIsNoneMeansNothing() {
    #expect(ChunkSet(bytes: [0xFF], count: 7) == nil)
    #expect(ChunkSet(bytes: [0x7F], count: 7)?.size == 7)
    #expect(ChunkSet(bytes: [0, 0], count: 7) == nil)
    var share = SiteMessages.Share(index: Self.chunk(1), state: .fetching)
    #expect(share.meaning(count: 5) == .fetching(ChunkSet(count: 5)))
    share.chunks = "not base64!"
    #expect(share.meaning(count: 5) == nil)
    share.state = .whole
    #expect(share.meaning(count: 5) == .whole)
    share.state = .none
    #expect(share.meaning(count: 5) == nil)
  }
}
