import Testing

@testable import Access

@Suite struct SimulationTests {
  /// Random policies and decisions: what is listed is exactly what comes out otherwise, counted.
  @Test func whatIsListedIsWhatComesOutOtherwise() throws {
    var random = SeededRandom(state: 5)
    var (changed, same) = (0, 0)
    let context = RequestContext(time: WeekTime(day: .monday, minute: 600), transport: .socket)
    for _ in 0..<200 {
      let (one, other) = (RandomPolicy(using: &random), RandomPolicy(using: &random))
      let now = try Policy(roles: one.roles, bindings: one.bindings)
      let next = try Policy(roles: other.roles, bindings: other.bindings)
      var simulation = Simulation(of: next, against: now)
      var expected: [String: Int] = [:]
      var total = 0
      for index in 0..<UInt64(60) {
        let caller = try #require(RandomPolicy.callers.randomElement(using: &random))
        let verb = try #require(Verb.allCases.randomElement(using: &random))
        let resource = try #require(RandomPolicy.resources.randomElement(using: &random))
        let was = now.decide(caller, verb, resource, in: context).isAllowed
        let times = Int.random(in: 1...3, using: &random)
        simulation.replay(
          Simulation.Past(
            caller: caller, verb: verb, resource: resource, wasAllowed: was, context: context, index: index,
            times: times))
        total += times
        if next.decide(caller, verb, resource, in: context).isAllowed != was {
          expected["\(caller.label) \(verb) \(resource) \(was)", default: 0] += times
        }
      }
      let listed = simulation.changes.map { ("\($0.caller) \($0.verb) \($0.resource) \($0.wasAllowed)", $0.times) }
      #expect(Dictionary(uniqueKeysWithValues: listed) == expected)
      #expect(simulation.replayed == total && simulation.unlisted == 0)
      #expect(simulation.changes.allSatisfy { $0.isAllowedNow == $0.wasAllowed && $0.first <= $0.last })
      changed += expected.count
      same += total
    }
    #expect(changed > 100 && same > changed)
  }
}
