public import Access
import Fleet
import Host
import Storage
import Trust

/// Giving and taking roles, making and revoking tokens. Nobody hands out what they don't hold; the record is durable
/// before the effect.
extension AccessControl {
  /// Binds a role to a subject. True when it was not bound before.
  @discardableResult
  public func bind(_ role: String, to subject: String, by caller: Caller) async throws -> Bool {
    try await changes.run { try await bindAlone(role, to: subject, by: caller) }
  }

  private func bindAlone(_ role: String, to subject: String, by caller: Caller) async throws -> Bool {
    try await authorize(caller, .roleManage, .role(role))
    let binding = try checked(role, subject)
    try await checkGrant([binding], by: caller)
    if standing.bindings.contains(binding) { return false }
    try checkCeiling([binding])
    try checkSeparation([binding])
    try await change("bind", binding, by: caller) { connection in try AccessTable.insert(binding, connection) }
    state.withLock { state in if !state.stored.contains(binding) { state.stored.append(binding) } }
    try refresh()
    return true
  }

  /// Takes a role from a subject.
  public func unbind(_ role: String, from subject: String, by caller: Caller) async throws {
    try await changes.run { try await unbindAlone(role, from: subject, by: caller) }
  }

  private func unbindAlone(_ role: String, from subject: String, by caller: Caller) async throws {
    try await authorize(caller, .roleManage, .role(role))
    let binding = try checked(role, subject)
    let (file, stored) = state.withLock { ($0.file, $0.stored) }
    let time = now()
    guard stored.contains(binding) else {
      if state.withLock({ $0.fleet?.policy?.policy.bindings.contains(binding) == true }) {
        throw AccessFailure.boundByFleet(role: role, subject: binding.subject)
      }
      if file.bindings.contains(binding) {
        throw AccessFailure.boundByFile(role: role, subject: binding.subject, file: policyFile)
      }
      throw AccessFailure.unknownBinding(role: role, subject: binding.subject)
    }
    guard standing.mayRevoke(caller, role) else {
      throw try await refuse("unbind", role, by: caller, "something is forbidden through it that is not theirs to do")
    }
    let remaining = try state.withLock { try $0.composed(stored: stored.filter { $0 != binding }, at: time) }.policy
    if losesAdministrators(remaining) {
      throw AccessFailure.lastAdministrator(role: role, subject: binding.subject)
    }
    try await change("unbind", binding, by: caller) { connection in try AccessTable.delete(binding, connection) }
    state.withLock { state in state.stored.removeAll { $0 == binding } }
    try refresh()
  }

  /// Makes a token that holds these roles, as far as the scope leaves them; the text that is returned exists nowhere
  /// else.
  public func createToken(
    _ name: String, roles: [String], scope: Scope? = nil, expiresInSeconds: Int64?, by caller: Caller
  ) async throws -> String {
    try await changes.run { try await createAlone(name, roles, scope, expiresInSeconds, by: caller) }
  }

  private func createAlone(
    _ name: String, _ roles: [String], _ scope: Scope?, _ expiresInSeconds: Int64?, by caller: Caller
  ) async throws -> String {
    guard Role.isName(name) else { throw AccessFailure.badTokenName(name) }
    try await authorize(caller, .tokenManage, .token(name))
    let bindings = try roles.map { try checked($0, Subject.token(name).description) }
    try checkCeiling(bindings)
    try checkSeparation(bindings)
    // The policy may already give this name roles; whoever makes the token hands those out too.
    try await checkGrant(
      Set(roles + standing.roles(of: .token(name))).sorted().map {
        Binding(role: $0, subject: Subject.token(name).description)
      }, by: caller)
    guard !state.withLock({ $0.tokens.values.contains { $0.name == name } }) else {
      throw AccessFailure.tokenExists(name)
    }
    let token = BearerToken()
    let time = now()
    let record = TokenRecord(
      name: name, digest: token.digest, created: time, createdBy: caller.label,
      expires: expiresInSeconds.map { time.addingReportingOverflow($0).partialValue }, scope: scope)
    let fields: [String: JSONValue] = [
      "action": "create", "token": .string(name), "roles": .array(roles.map(JSONValue.string)),
      "scope": scope.map { .array($0.words.map(JSONValue.string)) } ?? .null,
      "expires": record.expires.map(JSONValue.integer) ?? .null,
    ]
    try await self.record(.token, caller.label, fields)
    try await effect(.token, caller, fields) {
      try await self.database.write { connection in
        try AccessTable.insert(record, connection)
        for binding in bindings { try AccessTable.insert(binding, connection) }
      }
    }
    state.withLock { state in
      state.tokens[record.digest] = record
      state.stored += bindings.filter { !state.stored.contains($0) }
    }
    try refresh()
    return token.text
  }

  /// Revokes a token at once, with the roles bound to it.
  public func revokeToken(_ name: String, by caller: Caller) async throws {
    try await changes.run { try await revokeAlone(name, by: caller) }
  }

  private func revokeAlone(_ name: String, by caller: Caller) async throws {
    try await authorize(caller, .tokenManage, .token(name))
    guard let token = state.withLock({ $0.tokens.values.first { $0.name == name } }) else {
      throw AccessFailure.unknownToken(name)
    }
    let subject = Subject.token(name).description
    let time = now()
    let remaining = try state.withLock { state in
      try state.composed(stored: state.stored.filter { $0.subject != subject }, at: time)
    }.policy
    if losesAdministrators(remaining, without: name) {
      let role = standing.administrators.first { $0.subject == subject }?.role
      throw AccessFailure.lastAdministrator(role: role ?? "role.manage", subject: subject)
    }
    // With the token goes what is forbidden to its holder; nobody gains by that, since the token is gone.
    let fields: [String: JSONValue] = ["action": "revoke", "token": .string(name)]
    try await record(.token, caller.label, fields)
    try await effect(.token, caller, fields) {
      try await self.database.write { try AccessTable.deleteToken(name, $0) }
    }
    state.withLock { state in
      state.tokens[token.digest] = nil
      state.stored.removeAll { $0.subject == subject }
    }
    try refresh()
  }

  /// All tokens, by name.
  public func tokens() -> [TokenRecord] { state.withLock { $0.tokens.values.sorted { $0.name < $1.name } } }

  private func checked(_ role: String, _ subject: String) throws(AccessFailure) -> Binding {
    guard standing.role(named: role) != nil else {
      throw .unknownRole(role, known: standing.roles.map(\.name))
    }
    guard let parsed = Subject.parse(subject) else { throw .badSubject(subject) }
    return Binding(role: role, subject: parsed.description)
  }

  private func checkGrant(_ bindings: [Binding], by caller: Caller) async throws(AccessFailure) {
    let standing = standing
    for binding in bindings {
      guard standing.mayGrant(caller, binding.role) else {
        throw try await refuse("hand out", binding.role, by: caller, "it allows what they don't hold")
      }
      if let key = standing.excess(of: caller, giving: binding) {
        throw try await refuse(
          "hand out", binding.role, by: caller, "\(binding.subject) would have more \(key.rawValue) than they have")
      }
    }
  }

  private func refuse(
    _ action: String, _ role: String, by caller: Caller, _ why: String
  ) async throws(AccessFailure) -> AccessFailure {
    let reason = "\(caller.label) may not \(action) the role \(role): \(why)"
    let remedy = "skerry role bind \(role) \(caller.identity), by somebody who holds it"
    try await record(
      .decision, caller.label,
      ["verb": "role.manage", "resource": .string("role:\(role)"), "allowed": false, "reason": .string(reason)])
    return .denied(reason: reason, remedy: action == "unbind" ? "somebody to whom it is not forbidden" : remedy)
  }

  /// Throws when the subject of the bindings, or the account behind it with all its groups, would hold roles that nobody
  /// may hold together, or when nobody could give roles any more.
  private func checkSeparation(_ bindings: [Binding]) throws(AccessFailure) {
    guard let binding = bindings.first else { return }
    let next: Policy
    do { next = try standing.adding(bindings) } catch { throw .separated("\(error)") }
    if let subject = Subject.parse(binding.subject), let set = next.staticConflict(of: AccessControl.account(subject)) {
      throw .separated(
        "\(binding.subject) would hold more of \(set.roles.joined(separator: ", ")), through groups, than "
          + "separation.static.\(set.name) lets anybody hold; allowed: at most \(set.atMost) of them")
    }
    if losesAdministrators(next) {
      throw .lastAdministrator(role: binding.role, subject: binding.subject)
    }
  }

  /// The caller that the subject would be, with all their groups.
  static func account(_ subject: Subject) -> Caller {
    let uid: UInt32?
    switch subject {
    case .user(let number): uid = number
    case .userNamed(let name): uid = Users.uid(name)
    default: uid = nil
    }
    guard let uid, let name = Users.name(uid) else {
      if let uid { return .local(uid: uid, name: nil, groups: []) }
      return Caller(subjects: [subject], label: "\(subject)", transport: subject.isLocal ? .socket : .network(nil))
    }
    let groups = Users.groups(uid, Users.primaryGroup(of: uid)).map { (gid: $0, name: Users.groupName($0)) }
    return .local(uid: uid, name: name, groups: groups)
  }

  private func change(
    _ action: String, _ binding: Binding, by caller: Caller,
    _ write: @escaping @Sendable (Connection) throws -> Void
  ) async throws {
    let fields: [String: JSONValue] = [
      "action": .string(action), "role": .string(binding.role), "subject": .string(binding.subject),
    ]
    try await record(.role, caller.label, fields)
    try await effect(.role, caller, fields) { try await self.database.write(write) }
  }

  /// Does what is on record. If it can't be done, the log says that too, if it can.
  private func effect(
    _ kind: AuditKind, _ caller: Caller, _ fields: [String: JSONValue], _ body: () async throws -> Void
  ) async throws {
    do { try await body() } catch {
      let failed = fields.merging(["outcome": "failed", "reason": .string("\(error)")]) { _, new in new }
      try? await record(kind, caller.label, failed)
      throw error
    }
  }

  private func refresh() throws {
    let time = now()
    try state.withLock { try $0.recompose(at: time) }
  }

  /// Throws for a binding that would give nothing, since the fleet's policy lets the box give no such role.
  private func checkCeiling(_ bindings: [Binding]) throws(AccessFailure) {
    let (file, stored, fleet) = state.withLock { ($0.file, $0.stored, $0.fleet?.policy) }
    guard let made = fleet?.combined(with: file, bound: stored + bindings) else { return }
    for binding in bindings where !made.policy.bindings.contains(binding) {
      let why = made.ignored.first { $0.path == "bindings" && $0.problem.hasPrefix("\(binding):") }?.problem
      throw .beyondCeiling(why ?? "the fleet's policy does not let the box bind \(binding)")
    }
  }
}
