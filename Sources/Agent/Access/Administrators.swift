import Access
import Host

/// Who could mend the policy from inside. What a binding says is not enough: its subject may be nobody, and to who it is
/// another name or a group of theirs may forbid it.
extension AccessControl {
  /// Whether somebody can give every role away now, and nobody could by the next policy. A box where nobody can may
  /// change as it likes.
  ///
  /// - Parameter token: one that will be gone by then.
  func losesAdministrators(_ next: Policy, without token: String? = nil) -> Bool {
    if isAdministered(by: next, without: token) { return false }
    let now = standing
    return isAdministered(by: now, without: nil) || (next.administrators.isEmpty && !now.administrators.isEmpty)
  }

  private func isAdministered(by policy: Policy, without token: String?) -> Bool {
    // Who is forbidden nothing by all their names is forbidden nothing by one: nobody is left out here.
    var subjects = Set(policy.administrators.compactMap { Subject.parse($0.subject) })
    if let token { subjects.remove(.token(token)) }
    return subjects.contains { accounts($0).contains { policy.isAdministrator($0) } }
  }

  /// Those that the subject names today; none for a name that is nobody's, a group without members, a token that does
  /// not work, nor for people of an identity provider and operators: the box knows them only while they call. A number is
  /// somebody without an account too: the kernel asks for none.
  private func accounts(_ subject: Subject) -> [Caller] {
    switch subject {
    case .user: return [AccessControl.account(subject)]
    case .userNamed(let name): return Users.uid(name) == nil ? [] : [AccessControl.account(subject)]
    case .group(let gid): return Users.members(of: gid).map { AccessControl.account(.userNamed($0)) }
    case .groupNamed(let name): return Users.gid(name).map { accounts(.group($0)) } ?? []
    case .token(let name):
      let time = now()
      let record = state.withLock { state in
        state.tokens.values.first { $0.name == name && $0.ended == nil && ($0.expires ?? .max) > time }
      }
      return record.map { [.token(name, scope: $0.scope)] } ?? []
    case .oidc, .oidcGroup, .operator: return []
    case .anyLocal: return [AccessControl.account(.user(0))]
    }
  }
}
