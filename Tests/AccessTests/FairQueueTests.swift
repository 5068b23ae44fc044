import Testing

@testable import Access

@Suite struct FairQueueTests {
  /// An engine that answers at one token a tick and slot.
  struct Simulation {
    var queue: FairQueue
    var now = 0.0
    var running: [(request: FairQueue.Request, ends: Double)] = []
    var served: [String: Int] = [:]
    var startedAt: [UInt64: Double] = [:]

    init(slots: Int) { queue = FairQueue(slots: slots) }

    mutating func fill() {
      while let request = queue.next(at: now) {
        running.append((request, now + Double(request.cost)))
        startedAt[request.id] = now
      }
    }

    /// Until the next answer ends; the one that did.
    mutating func step() -> FairQueue.Request? {
      fill()
      guard let at = running.indices.min(by: { running[$0].ends < running[$1].ends }) else { return nil }
      let (request, ends) = running.remove(at: at)
      now = max(now, ends)
      queue.end(request.id, tokens: request.cost, at: now)
      served[request.caller, default: 0] += request.cost
      return request
    }
  }

  @Test func aFreeEngineTakesAtOnce() {
    var queue = FairQueue(slots: 2)
    queue.add(FairQueue.Request(id: 1, caller: "a", cost: 10), at: 0)
    #expect(queue.next(at: 0)?.id == 1)
    #expect(queue.next(at: 0) == nil)
    queue.add(FairQueue.Request(id: 2, caller: "a", cost: 10), at: 0)
    #expect(queue.next(at: 0)?.id == 2)
    queue.end(1, tokens: 10, at: 1)
    queue.end(2, tokens: 10, at: 1)
    #expect(queue.isEmpty)
  }

  @Test func oneWhoComesBesideAGreedyOneIsNext() {
    var queue = FairQueue(slots: 1)
    for id in 0..<32 { queue.add(FairQueue.Request(id: UInt64(id), caller: "greedy", cost: 100), at: 0) }
    #expect(queue.next(at: 0)?.caller == "greedy")
    queue.add(FairQueue.Request(id: 99, caller: "light", cost: 10), at: 1)
    #expect(queue.position(of: 99, caller: "light") == 0)
    #expect(queue.position(of: 31, caller: "greedy") == 31)
    queue.end(0, tokens: 100, at: 2)
    #expect(queue.next(at: 2)?.id == 99)
  }

  @Test func theLastSlotIsKeptForOneWhoIsExpected() {
    var queue = FairQueue(slots: 2, memory: 60)
    queue.add(FairQueue.Request(id: 1, caller: "light", cost: 10), at: 0)
    #expect(queue.next(at: 0)?.id == 1)
    queue.end(1, tokens: 10, at: 1)
    for id in 10..<20 { queue.add(FairQueue.Request(id: UInt64(id), caller: "greedy", cost: 100), at: 2) }
    #expect(queue.next(at: 2)?.id == 10)
    #expect(queue.next(at: 2) == nil)
    queue.add(FairQueue.Request(id: 2, caller: "light", cost: 10), at: 3)
    #expect(queue.next(at: 3)?.id == 2)
    queue.end(2, tokens: 10, at: 4)
    // Who does not come again for a while is not waited for.
    #expect(queue.next(at: 63) == nil)
    #expect(queue.next(at: 65)?.id == 11)
  }

  /// Also one who was served more: what is light is that they have nothing at the engine.
  @Test func whoHasNothingAtTheEngineGetsTheLastSlotWhateverTheyHadBefore() {
    var queue = FairQueue(slots: 2)
    for id in 10..<20 { queue.add(FairQueue.Request(id: UInt64(id), caller: "greedy", cost: 30), at: 0) }
    queue.add(FairQueue.Request(id: 1, caller: "light", cost: 20), at: 0)
    #expect(queue.next(at: 0)?.id == 1)
    #expect(queue.next(at: 0)?.id == 10)
    for id in 2..<9 {
      queue.end(UInt64(id - 1), tokens: 20, at: Double(id))
      #expect(queue.next(at: Double(id)) == nil)
      queue.add(FairQueue.Request(id: UInt64(id), caller: "light", cost: 20), at: Double(id))
      #expect(queue.next(at: Double(id))?.id == UInt64(id))
    }
    // One whose limits keep them from the engine holds nobody up.
    queue.end(8, tokens: 20, at: 9)
    queue.add(FairQueue.Request(id: 9, caller: "light", cost: 20), at: 9)
    #expect(queue.next(at: 9, mayRun: { $0.caller != "light" })?.id == 11)
  }

  @Test func aWideRequestIsNotOvertaken() {
    var queue = FairQueue(slots: 2)
    queue.add(FairQueue.Request(id: 1, caller: "a", cost: 10), at: 0)
    #expect(queue.next(at: 0)?.id == 1)
    queue.add(FairQueue.Request(id: 2, caller: "b", cost: 10, width: 5), at: 0)
    queue.add(FairQueue.Request(id: 3, caller: "c", cost: 10), at: 0)
    #expect(queue.next(at: 0) == nil)
    queue.end(1, tokens: 10, at: 1)
    #expect(queue.next(at: 1)?.id == 2)
    #expect(queue.next(at: 1) == nil)
    queue.end(2, tokens: 10, at: 2)
    #expect(queue.next(at: 2)?.id == 3)
  }

  @Test func oneWhoMayNotRunHoldsUpNobodyElse() {
    var queue = FairQueue(slots: 2)
    queue.add(FairQueue.Request(id: 1, caller: "a", cost: 10), at: 0)
    queue.add(FairQueue.Request(id: 2, caller: "b", cost: 10), at: 0)
    #expect(queue.next(at: 0, mayRun: { $0.caller != "a" })?.id == 2)
    #expect(queue.waiting(of: "a") == 1)
  }

  @Test func oneWhoHangsUpIsGone() {
    var queue = FairQueue(slots: 1)
    for id in 1...3 { queue.add(FairQueue.Request(id: UInt64(id), caller: "a", cost: 10), at: 0) }
    #expect(queue.next(at: 0)?.id == 1)
    let removed = queue.remove(2, of: "a")
    let again = queue.remove(2, of: "a")
    #expect(removed && !again)
    queue.end(1, tokens: 10, at: 1)
    #expect(queue.next(at: 1)?.id == 3)
  }

  /// Callers who always have something waiting are served alike, weighed by tokens, however long their requests are.
  @Test(arguments: 0..<20) func whoAlwaysWaitsIsServedAlike(seed: Int) {
    var generator = SeededRandom(state: UInt64(seed))
    let slots = Int(generator.next() % 4) + 1
    let callers = (0..<Int(generator.next() % 4 + 2)).map { "c\($0)" }
    let longest = callers.map { _ in Int(generator.next() % 300) + 20 }
    var simulation = Simulation(slots: slots)
    var next: UInt64 = 0
    func add(_ caller: Int, _ simulation: inout Simulation, _ generator: inout SeededRandom) {
      next += 1
      simulation.queue.add(
        FairQueue.Request(id: next, caller: callers[caller], cost: Int(generator.next() % UInt64(longest[caller])) + 1),
        at: simulation.now)
    }
    for caller in callers.indices { for _ in 0..<(slots + 3) { add(caller, &simulation, &generator) } }
    for _ in 0..<3000 {
      guard let ended = simulation.step(), let caller = callers.firstIndex(of: ended.caller) else { break }
      add(caller, &simulation, &generator)
    }
    let served = callers.map { simulation.served[$0] ?? 0 }
    let bound = (slots + 1) * 2 * (longest.max() ?? 0)
    #expect((served.max() ?? 0) - (served.min() ?? 0) <= bound, "\(served), \(bound)")
  }

  /// Whatever comes, leaves and turns out longer than foreseen: everybody who waits is served in the end, never more than
  /// the slots are taken, and what is remembered stays small.
  @Test(arguments: 0..<20) func nobodyStarves(seed: Int) {
    var generator = SeededRandom(state: UInt64(seed) &+ 1000)
    let slots = Int(generator.next() % 4) + 1
    var queue = FairQueue(slots: slots)
    var running: [(id: UInt64, ends: Double, width: Int)] = []
    var waitingSince: [UInt64: (at: Double, caller: String)] = [:]
    var now = 0.0
    var next: UInt64 = 0
    var longest = 0.0
    func start(_ queue: inout FairQueue) {
      while let request = queue.next(at: now) {
        let width = min(request.width, slots)
        running.append((request.id, now + Double(Int(generator.next() % 100) + 1), width))
        if let since = waitingSince.removeValue(forKey: request.id) { longest = max(longest, now - since.at) }
      }
      #expect(running.reduce(0) { $0 + $1.width } <= slots)
    }
    for round in 0..<4000 {
      now += 1
      // One caller sends all the time, the others now and then.
      let greedy = queue.waiting(of: "greedy") < 32
      if greedy || generator.next() % 40 == 0 {
        next += 1
        let caller = greedy ? "greedy" : "c\(generator.next() % 200)"
        let width = generator.next() % 10 == 0 ? 3 : 1
        queue.add(
          FairQueue.Request(id: next, caller: caller, cost: Int(generator.next() % 200) + 1, width: width), at: now)
        waitingSince[next] = (now, caller)
      }
      if round % 7 == 0, let (id, since) = waitingSince.first, generator.next() % 3 == 0 {
        _ = queue.remove(id, of: since.caller)
        waitingSince[id] = nil
      }
      for ended in running where ended.ends <= now { queue.end(ended.id, tokens: Int(generator.next() % 300), at: now) }
      running.removeAll { $0.ends <= now }
      start(&queue)
      #expect(queue.waiting == waitingSince.count)
      #expect(queue.callers <= 200)
    }
    // A dried-up queue is served to its end.
    for _ in 0..<20_000 where !queue.isEmpty {
      now += 1
      for ended in running where ended.ends <= now { queue.end(ended.id, tokens: 10, at: now) }
      running.removeAll { $0.ends <= now }
      start(&queue)
    }
    #expect(queue.isEmpty && waitingSince.isEmpty)
  }
}
