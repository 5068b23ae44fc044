import Access
import Fleet

/// Who may do what at a hub: each operator holds one of the hub's roles, and `Access` decides as it does on a box.
enum HubPolicy {
  private static func role(_ name: String, _ summary: String, _ verbs: [Verb], inherits: [String] = []) -> Role {
    Role(
      name: name, summary: summary, inherits: inherits,
      permissions: [Permission(verbs: verbs, resources: [ResourcePattern("*")].compactMap(\.self))])
  }

  static let roles = [
    role("viewer", "see everything, change nothing", [.deviceRead, .operatorRead]),
    role(
      "operator", "run the fleet: boxes, models, passes", [.deviceManage, .deviceEnter, .repositoryPublish],
      inherits: ["viewer"]),
    role("admin", "everything", Verb.hubCases),
  ]

  /// Throws `PolicyError` for a role that a newer hub has made.
  static func policy(_ operators: [HubOperator]) throws(PolicyError) -> Policy {
    let known = Set(roles.map(\.name))
    return try Policy(
      roles: roles,
      bindings: operators.filter { known.contains($0.role) }
        .map { Binding(role: $0.role, subject: Subject.operator($0.name).description) })
  }

  /// Whether somebody among these may change who the operators are.
  static func isManaged(_ operators: [HubOperator]) throws(PolicyError) -> Bool {
    let policy = try policy(operators)
    return operators.contains {
      policy.decide(.operator($0.name), .operatorManage, .all(for: .operatorManage), in: RequestContext()).isAllowed
    }
  }

  /// Throws `HubError` (denied) with the reason and what would change it.
  static func demand(_ verb: Verb, _ one: HubOperator) throws {
    let decision = try policy([one]).decide(.operator(one.name), verb, .all(for: verb), in: RequestContext())
    guard case .denied(let denial) = decision else { return }
    throw HubError(.denied, denial.reason, hint: HubPolicy.remedy(denial, one.name))
  }

  private static func remedy(_ denial: Denial, _ name: String) -> String {
    let roles = denial.remedy.changes.compactMap { change -> String? in
      if case .bind(let binding) = change { binding.role } else { nil }
    }
    return "what would change it: skerry hub operator role \(name) \(roles.first ?? "admin"), by an admin"
  }
}

/// An operator and the role that they hold.
struct HubOperator: Sendable, Hashable {
  let name: String
  let role: String
  /// Unix seconds.
  let created: Int64
}
