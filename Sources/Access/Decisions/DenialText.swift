extension Denial {
  /// Names the rule that forbids it, or what is absent.
  public var reason: String {
    let what = "\(verb.rawValue) on \(resource)"
    if case .forbidden(let rule) = cause {
      return "\(rule.sentence), which is \(rule.path); that is not to be had by \(caller.label)"
    }
    if case .narrowed(let scope) = cause { return "\(caller.label) is narrowed to \(scope), which leaves out \(what)" }
    let compiled = policy.compiled
    let activation = compiled.activation(of: caller)
    if activation.held.isEmpty { return "\(caller.label) holds no role, so nothing allows \(what)" }
    let unmet = unmetRules(activation)
    if let first = unmet.first {
      let more = unmet.count > 1 ? ", and \(unmet.count - 1) more do not hold either" : ""
      return "\(first.sentence), which is \(first.path), but \(first.clause.obstacle(in: context))\(more)"
    }
    if let problem = activation.problem { return Denial.text(problem, caller) + ", so nothing allows \(what)" }
    let names = activation.active.map { compiled.roles[$0].name }.joined(separator: ", ")
    let which = caller.activated == nil ? "the roles of \(caller.label)" : "the roles that \(caller.label) asked with"
    return "none of \(which) (\(names)) allows \(what)"
  }

  /// The permits of active roles that would allow it if their conditions held.
  func unmetRules(_ activation: Activation) -> [Rule] {
    let compiled = policy.compiled
    return activation.reach.numbers.flatMap { compiled.ownRules[$0] }.map { compiled.rules[Int($0)] }.filter {
      $0.effect == .permit && $0.verb == verb && $0.pattern.covers(resource) && $0.clause.holds(in: context) != true
    }
  }

  static func text(_ problem: Activation.Problem, _ caller: Caller) -> String {
    switch problem {
    case .notHeld(let role): "\(caller.label) asked with the role \(role), which they don't hold"
    case .tooMany(let set):
      "\(caller.label) asked with more of \(set.roles.joined(separator: ", ")) than may be active together: at most "
        + "\(set.atMost), by separation.dynamic.\(set.name)"
    case .held(let set):
      "\(caller.label) holds more of \(set.roles.joined(separator: ", ")) than anybody may: at most \(set.atMost), by "
        + "separation.static.\(set.name), so that none of them counts"
    case .unchosen(let set):
      "\(caller.label) holds more of \(set.roles.joined(separator: ", ")) than may be active together: at most "
        + "\(set.atMost), by separation.dynamic.\(set.name), so that none of them is active until the request names it"
    }
  }
}

extension Clause {
  /// What of it does not hold, as people read it.
  func obstacle(in context: RequestContext) -> String {
    if let part = when.parts(failing: context).first {
      return "\(part.key) \(part.text) does not hold: \(context.text(of: part.key))"
    }
    return "its exception holds: \(unless?.description ?? "")"
  }
}

extension Condition {
  /// The keys that do not hold, or of which that is not known.
  func parts(failing context: RequestContext) -> [(key: String, text: String)] {
    parts.filter { part in
      var only = Condition()
      switch part.key {
      case "days": only.days = days
      case "hours": only.hours = hours
      case "via": only.via = via
      case "networks": only.networks = networks
      case "labels": only.labels = labels.filter { part.text.hasPrefix("\($0.key)=") }
      case "maxContextTokens": only.maxContextTokens = maxContextTokens
      default: only.minContextTokens = minContextTokens
      }
      return only.holds(in: context) != true
    }
  }
}

extension RequestContext {
  /// What is known of what a condition's key is about.
  func text(of key: String) -> String {
    switch key {
    case "days", "hours": time.map { "it is \($0)" } ?? "the time is not known"
    case "via", "networks": transport.map { "it came over \($0)" } ?? "how it came is not known"
    case "labels":
      labels.isEmpty
        ? "the box has no labels"
        : "the box is \(labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", "))"
    default: contextTokens.map { "it takes about \($0) tokens" } ?? "it is no inference"
    }
  }
}
