/// The answer to "may this caller do this?".
public enum Decision: Sendable {
  case allowed(Grounds)
  case denied(Denial)

  public var isAllowed: Bool { if case .allowed = self { true } else { false } }
}

/// Why something is allowed.
public struct Grounds: Sendable, Hashable, CustomStringConvertible {
  /// The active role through which the rule is held.
  public let role: String
  public let rule: Rule

  /// `ops allows infer on model:*, inherited from chat`.
  public var description: String {
    "\(role) allows \(rule)" + (rule.role == role ? "" : ", inherited from \(rule.role ?? "")")
  }
}

/// Why something is denied; texts and remedies are made when they are asked for.
public struct Denial: Sendable {
  /// What stands in the way.
  public enum Cause: Sendable, Hashable {
    /// A rule that forbids it.
    case forbidden(Rule)
    /// No active role permits it.
    case absent
    /// The caller's token is narrowed to less.
    case narrowed(Scope)
  }

  public let cause: Cause
  let policy: Policy
  let caller: Caller
  let verb: Verb
  let resource: Resource
  let context: RequestContext
}

extension Policy {
  /// Decides. Whatever no active role permits is denied; what a rule forbids that holds for the caller is denied whatever is
  /// permitted.
  ///
  /// - Parameter context: what conditions are about.
  public func decide(
    _ caller: Caller, _ verb: Verb, _ resource: Resource, in context: RequestContext
  ) -> Decision {
    if let scope = caller.scope, !scope.covers(verb, resource) {
      return .denied(denial(.narrowed(scope), caller, verb, resource, context))
    }
    switch compiled.decide(caller, verb, resource, context) {
    case .permit(let role, let rule):
      return .allowed(Grounds(role: compiled.roles[role].name, rule: compiled.rules[Int(rule)]))
    case .forbid(let rule):
      return .denied(denial(.forbidden(compiled.rules[Int(rule)]), caller, verb, resource, context))
    case .none: return .denied(denial(.absent, caller, verb, resource, context))
    }
  }

  private func denial(
    _ cause: Denial.Cause, _ caller: Caller, _ verb: Verb, _ resource: Resource, _ context: RequestContext
  ) -> Denial {
    Denial(cause: cause, policy: self, caller: caller, verb: verb, resource: resource, context: context)
  }
}

extension Compiled {
  enum Outcome {
    case permit(role: Int, rule: Int32)
    case forbid(rule: Int32)
    case none
  }

  func decide(_ caller: Caller, _ verb: Verb, _ resource: Resource, _ context: RequestContext) -> Outcome {
    let verb = verb.number
    return resource.withBytes { text in
      if let rule = forbidding(everybody[verb], text, context) { return .forbid(rule: rule) }
      var best = UInt64.max
      var isPlain = caller.activated == nil
      var first: Table?
      for subject in caller.subjects {
        guard let table = tables[subject] else { continue }
        if let rule = forbidding(table.forbids[verb], text, context) { return .forbid(rule: rule) }
        if !separation.isEmpty {
          isPlain = isPlain && table.isApart && (first == nil || first === table)
          first = table
        }
        if isPlain { permitting(table.permits[verb], text, context, &best) }
      }
      if !isPlain { best = permittingActive(activation(of: caller), caller, verb, text, context) }
      if best == .max { return .none }
      return .permit(role: Compiled.via(best), rule: Int32(truncatingIfNeeded: best))
    }
  }

  /// The first rule that forbids it.
  @inline(__always)
  private func forbidding(
    _ index: PatternIndex, _ text: UnsafeBufferPointer<UInt8>, _ context: RequestContext
  ) -> Int32? {
    if index.isEmpty { return nil }
    var best = UInt64.max
    find(index, text, &best) { $0.clause.holds(in: context) != false }
    return best == .max ? nil : Int32(truncatingIfNeeded: best)
  }

  @inline(__always)
  private func permitting(
    _ index: PatternIndex, _ text: UnsafeBufferPointer<UInt8>, _ context: RequestContext, _ best: inout UInt64
  ) {
    if index.isEmpty { return }
    find(index, text, &best) { $0.clause.holds(in: context) == true }
  }

  /// The smallest key of the rules that cover the text and hold.
  @inline(__always)
  private func find(
    _ index: PatternIndex, _ text: UnsafeBufferPointer<UInt8>, _ best: inout UInt64, _ holds: (Rule) -> Bool
  ) {
    index.visit(text) { entry in
      if entry.key >= best { return false }
      let rule = rules[Int(entry.rule)]
      if entry.isGlob {
        guard rule.pattern.pattern.withUnsafeBufferPointer({ ResourcePattern.matches($0, text) }) else { return true }
      }
      guard rule.isAlways || holds(rule) else { return true }
      best = entry.key
      return false
    }
  }

  /// The same where not all held roles are active.
  private func permittingActive(
    _ activation: Activation, _ caller: Caller, _ verb: Int, _ text: UnsafeBufferPointer<UInt8>,
    _ context: RequestContext
  ) -> UInt64 {
    var best = UInt64.max
    for subject in caller.subjects {
      guard let table = tables[subject] else { continue }
      table.permits[verb].visit(text) { entry in
        let origin = Int(origins[Int(entry.rule)])
        guard activation.reach.contains(origin) else { return true }
        let rule = rules[Int(entry.rule)]
        guard !entry.isGlob || rule.pattern.pattern.withUnsafeBufferPointer({ ResourcePattern.matches($0, text) }),
          rule.clause.holds(in: context) == true,
          let via = activation.active.first(where: { closures[$0].contains(origin) })
        else { return true }
        best = min(best, Compiled.key(via, entry.rule))
        return true
      }
    }
    return best
  }
}

extension Compiled {
  /// The active roles that permit it, ascending; none where it is forbidden.
  func permitting(_ caller: Caller, _ verb: Verb, _ resource: Resource, _ context: RequestContext) -> [Int] {
    if caller.scope?.covers(verb, resource) == false { return [] }
    guard forbidding(caller, verb, resource, context).isEmpty else { return [] }
    let activation = activation(of: caller)
    var origins = RoleSet(count: roles.count)
    resource.withBytes { text in
      for subject in caller.subjects {
        guard let table = tables[subject] else { continue }
        table.permits[verb.number].visit(text) { entry in
          let rule = rules[Int(entry.rule)]
          let isCovered =
            !entry.isGlob || rule.pattern.pattern.withUnsafeBufferPointer { ResourcePattern.matches($0, text) }
          if isCovered, rule.clause.holds(in: context) == true { origins.insert(Int(self.origins[Int(entry.rule)])) }
          return true
        }
      }
    }
    return activation.active.filter { closures[$0].intersects(origins) }
  }

  /// Every rule that forbids it to the caller, in the policy's order.
  func forbidding(_ caller: Caller, _ verb: Verb, _ resource: Resource, _ context: RequestContext) -> [Int32] {
    var found: Set<Int32> = []
    resource.withBytes { text in
      for index in [everybody[verb.number]] + caller.subjects.compactMap({ tables[$0]?.forbids[verb.number] }) {
        index.visit(text) { entry in
          let rule = rules[Int(entry.rule)]
          let isCovered =
            !entry.isGlob || rule.pattern.pattern.withUnsafeBufferPointer { ResourcePattern.matches($0, text) }
          if isCovered, rule.clause.holds(in: context) != false { found.insert(entry.rule) }
          return true
        }
      }
    }
    return found.sorted()
  }
}
