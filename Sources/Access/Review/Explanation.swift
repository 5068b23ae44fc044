public import Trust

/// How a decision came about, as a tree: what holds and what does not, down to single bindings and rules.
public struct Explanation: Sendable, Hashable {
  public let text: String
  public let children: [Explanation]

  init(_ text: String, _ children: [Explanation] = []) {
    self.text = text
    self.children = children
  }

  /// `{text, children}`, for programs.
  public var json: JSONValue {
    children.isEmpty
      ? ["text": .string(text)] : ["text": .string(text), "children": .array(children.map(\.json))]
  }
}

extension Policy {
  /// Why a caller may or may not, with all that was looked at.
  public func explain(
    _ caller: Caller, _ verb: Verb, _ resource: Resource, in context: RequestContext
  ) -> Explanation {
    let decision = decide(caller, verb, resource, in: context)
    let what = "\(verb.rawValue) on \(resource) by \(caller.label)"
    var parts = [holdings(of: caller)]
    if let scope = caller.scope {
      let covers = scope.covers(verb, resource) ? "has it" : "leaves it out"
      parts.append(Explanation("the token's scope, \(scope), \(covers)"))
    }
    let activation = compiled.activation(of: caller)
    let everybody = compiled.rules.filter { $0.role == nil }
    let bans = (everybody + rules(in: activation.authorized).filter { $0.effect == .forbid })
      .filter { $0.verb == verb && $0.pattern.covers(resource) }
    parts.append(
      Explanation(
        bans.isEmpty ? "nothing forbids it" : "what forbids it",
        bans.map { rule in
          let holds = rule.clause.holds(in: context) != false
          return Explanation("\(rule.sentence), \(rule.path): \(holds ? "counts" : "does not count now")")
        }))
    let permits = rules(in: activation.reach).filter {
      $0.effect == .permit && $0.verb == verb && $0.pattern.covers(resource)
    }
    parts.append(
      Explanation(
        permits.isEmpty ? "no active role permits it" : "what permits it",
        permits.map { rule in
          let state = rule.clause.holds(in: context) == true ? "holds" : rule.clause.obstacle(in: context)
          return Explanation("\(rule.sentence), \(rule.path): \(state)")
        }))
    switch decision {
    case .allowed(let grounds): return Explanation("allowed: \(what)", [Explanation("because \(grounds)")] + parts)
    case .denied(let denial):
      let changes = denial.remedy.changes.map { Explanation($0.description) }
      return Explanation(
        "denied: \(what)",
        [Explanation("because \(denial.reason)")] + parts + [Explanation("what would change it", changes)])
    }
  }

  /// The roles of a caller: by which subject each is held, whether it is active, and what it inherits.
  private func holdings(of caller: Caller) -> Explanation {
    let activation = compiled.activation(of: caller)
    var bound: [Explanation] = []
    for subject in caller.subjects.sorted(by: { $0.description < $1.description }) {
      for role in compiled.held[subject] ?? [] {
        let state = activation.active.contains(role) ? "active" : "not active"
        bound.append(Explanation("\(subject) holds \(compiled.roles[role].name), \(state)", inherited(role)))
      }
    }
    if let activated = caller.activated {
      bound.append(
        Explanation("asked with \(activated.isEmpty ? "no role" : activated.sorted().joined(separator: ", "))"))
    }
    if let problem = activation.problem { bound.append(Explanation(Denial.text(problem, caller))) }
    return Explanation(bound.isEmpty ? "holds no role" : "roles", bound)
  }

  private func inherited(_ role: Int) -> [Explanation] {
    compiled.roles[role].inherits.sorted().compactMap { name in
      compiled.numbers[name].map { Explanation("inherits \(name)", inherited($0)) }
    }
  }
}
