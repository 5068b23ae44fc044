import Access
import Trust

/// Access decisions a second by one thread, with few and with many rules.
enum AccessBench {
  static func run() throws {
    let few = try decisions(rules: 100)
    let many = try decisions(rules: 10_000)
    emit("access.decisions_100_rules", few.rate, "1/s")
    emit("access.decisions_10000_rules", many.rate, "1/s", against: few.rate)
    emit("access.decision_median_10000_rules", median(many.each), "us", against: median(few.each))
    emit("access.decision_p99_10000_rules", percentile(many.each, 0.99), "us", against: percentile(few.each, 0.99))
  }

  /// Decisions a second, and how many microseconds each took, the clock's own reading among them.
  private static func decisions(rules: Int) throws -> (rate: Double, each: [Double]) {
    let roles = try (0..<(rules / 10)).map { number in
      Role(
        name: "role-\(number)", summary: "bench", inherits: [],
        permissions: try (0..<10).map { part in
          guard let pattern = ResourcePattern("model:family-\(number)-\(part)-*") else {
            throw BenchError(description: "a pattern was refused")
          }
          return Permission(verbs: [.infer], resources: [pattern])
        })
    }
    let bindings = (0..<(rules / 10)).map { Binding(role: "role-\($0)", subject: "token:app-\($0)") }
    let policy = try Policy(roles: roles, bindings: bindings)
    let callers = (0..<64).map { number -> Caller in
      let name = "app-\(number % (rules / 10))"
      return Caller(subjects: [.token(name)], label: "token:\(name)")
    }
    let resources = (0..<64).map { Resource.model("family-\($0 % (rules / 10))-\($0 % 10)-small") }
    var allowed = 0
    let context = RequestContext(transport: .network(nil))
    let count = 20_000
    let took = seconds {
      for at in 0..<count where policy.decide(callers[at & 63], .infer, resources[at & 63], in: context).isAllowed {
        allowed += 1
      }
    }
    guard allowed == count else { throw BenchError(description: "\(count - allowed) decisions came out wrong") }
    let clock = ContinuousClock()
    let each = (0..<count).map { at in
      clock.measure { _ = policy.decide(callers[at & 63], .infer, resources[at & 63], in: context) }.inSeconds * 1e6
    }
    return (Double(count) / took, each)
  }
}
