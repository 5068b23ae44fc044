import Trust

/// Roles, who holds them, and what is forbidden whoever holds what. Everything that no role allows is denied.
///
/// A value: deciding reads nothing else, and neither the order of roles, permissions and bindings nor that of the
/// caller's subjects changes a decision.
public struct Policy: Sendable {
  /// Sorted by name.
  public var roles: [Role] { compiled.roles }
  /// Sorted, each once.
  public let bindings: [Binding]
  /// What a binding says instead of its role.
  public let bindingLimits: [Binding: Limits]
  /// What is forbidden to everybody by the policy file.
  public let forbids: [Permission]
  /// What the fleet's policy forbids to everybody.
  public let fleetForbids: [Permission]
  /// Sorted by kind and name.
  public var separation: [SeparationSet] { compiled.separation.map(\.set) }

  let compiled: Compiled
  /// Each role's limits with the inherited ones.
  let limits: [String: Limits]
  /// The roles that ask to keep what is asked and answered, each with for how many days.
  let contentDays: [String: Int]
  private let shared: [String: Allowance]

  /// Throws `PolicyError` for an unknown role, a name twice, a bad subject, a circle, a broken separation of duty, or more
  /// than a box should hold.
  public init(
    roles: [Role], bindings: [Binding], bindingLimits: [Binding: Limits] = [:], forbids: [Permission] = [],
    fleetForbids: [Permission] = [], separation: [SeparationSet] = []
  ) throws(PolicyError) {
    let sorted = roles.sorted { $0.name < $1.name }
    self.bindings = Set(bindings).sorted()
    self.bindingLimits = bindingLimits
    self.forbids = forbids
    self.fleetForbids = fleetForbids
    compiled = try Compiled(sorted, forbids, fleetForbids, separation, self.bindings)
    limits = Policy.limits(sorted)
    contentDays = Policy.contentDays(sorted)
    shared = Dictionary(sorted.map { ($0.name, Allowance($0.sharedLimits)) }) { one, _ in one }
  }

  /// The same roles with other bindings. Throws `PolicyError` for an unknown role, a bad subject, a broken separation.
  func with(bindings: [Binding]) throws(PolicyError) -> Policy {
    try Policy(
      roles: roles, bindings: bindings, bindingLimits: bindingLimits, forbids: forbids, fleetForbids: fleetForbids,
      separation: separation)
  }

  /// The same roles with more bindings. Throws `PolicyError` for an unknown role, a bad subject, a broken separation.
  public func adding(_ more: [Binding]) throws(PolicyError) -> Policy { try with(bindings: bindings + more) }

  /// The same roles without one binding.
  public func removing(_ binding: Binding) throws(PolicyError) -> Policy {
    try with(bindings: bindings.filter { $0 != binding })
  }

  public func role(named name: String) -> Role? { compiled.numbers[name].map { compiled.roles[$0] } }

  /// The names of the roles bound to the caller, without inherited ones, sorted.
  public func roles(of caller: Caller) -> [String] {
    var bound: Set<Int> = []
    for subject in caller.subjects { if let roles = compiled.held[subject] { bound.formUnion(roles) } }
    return bound.sorted().map { compiled.roles[$0].name }
  }

  func sharedAllowance(_ role: String) -> Allowance { shared[role] ?? .unlimited }

  func isBound(_ role: String, to subject: Subject) -> Bool {
    compiled.numbers[role].map { compiled.held[subject]?.contains($0) ?? false } ?? false
  }
}
