public import Access

/// A role that is lent for a short time: break-glass. It is in memory alone, so that it never outlives the agent, and its
/// end is by the monotonic clock.
struct Loan: Sendable, Hashable {
  /// The grant's id.
  let id: String
  let binding: Binding
  /// The borrower's label in the audit log.
  let label: String
  let until: Duration
}

extension AccessControl.State {
  /// The policy with what is lent now.
  mutating func policy(at time: Duration) -> Policy {
    if loans.isEmpty { return policy }
    if loans.contains(where: { $0.until <= time }) {
      loans.removeAll { $0.until <= time }
      lent = nil
    }
    if loans.isEmpty { return policy }
    if let lent { return lent }
    // What conflicts with the policy that came meanwhile is not lent any more.
    var made = policy
    for loan in loans { made = (try? made.adding([loan.binding])) ?? made }
    lent = made
    return made
  }
}

extension AccessControl {
  /// The policy in force, with what is lent. Decisions are made by it.
  public var policy: Policy {
    let time = monotonic()
    settle()
    return state.withLock { $0.policy(at: time) }
  }

  /// The policy without what is lent: roles are given by it, so that nobody hands out what was only lent to them.
  public var standing: Policy {
    settle()
    return state.withLock(\.policy)
  }

  /// The roles that are lent now.
  var loans: [Loan] {
    let time = monotonic()
    return state.withLock { state in
      _ = state.policy(at: time)
      return state.loans
    }
  }

  /// Whether the role could be lent: it exists, and separation of duty has nothing against it. Throws `AccessFailure`
  /// or `PolicyError`.
  func checkLoan(_ binding: Binding) throws {
    guard standing.role(named: binding.role) != nil else {
      throw AccessFailure.unknownRole(binding.role, known: standing.roles.map(\.name))
    }
    let next = try policy.adding([binding])
    if let subject = Subject.parse(binding.subject), let set = next.staticConflict(of: AccessControl.account(subject)) {
      throw AccessFailure.separated("separation.static.\(set.name) keeps \(binding.role) from \(binding.subject)")
    }
  }

  func lend(_ loan: Loan) {
    state.withLock { state in
      state.loans.append(loan)
      state.lent = nil
    }
  }

  /// Takes back what is lent under this id. False when nothing is.
  @discardableResult
  func takeBack(_ id: String) -> Bool {
    state.withLock { state in
      let before = state.loans.count
      state.loans.removeAll { $0.id == id }
      state.lent = nil
      return state.loans.count < before
    }
  }

  /// The id of the loan without which this would be denied; nil: none is needed.
  func loan(behind decision: Decision, _ caller: Caller, _ verb: Verb, _ resource: Resource) -> String? {
    guard decision.isAllowed else { return nil }
    let (standing, loans) = (standing, state.withLock(\.loans))
    guard !loans.isEmpty else { return nil }
    let mine = loans.filter { loan in caller.subjects.contains { $0.description == loan.binding.subject } }
    guard let first = mine.first, !standing.decide(caller, verb, resource, in: context(caller)).isAllowed else {
      return nil
    }
    return first.id
  }
}
