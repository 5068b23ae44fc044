import Access
import Fleet
import Host
import Storage
import Trust
import Web

/// The hub's operators, each with a token and a role of their own: what they do bears their name, on the hub and on the
/// boxes. Nobody gives a role that allows what their own doesn't, and somebody always can manage the operators.
struct OperatorRoutes: Sendable {
  let state: HubState

  func add(to router: inout AdminRouter) {
    router.on("GET", "/operators", .operatorRead) { _, _, one in
      let operators = try await state.store.operators()
      return HTTPResponse.json(
        200,
        [
          "operators": .array(
            operators.map {
              ["name": .string($0.name), "role": .string($0.role), "created": .integer($0.created)]
            }), "you": .string(one.name), "yourRole": .string(one.role),
        ])
    }
    router.on("POST", "/operators", .operatorManage) { request, _, one in
      let asked = try await Decode.message(Order.self, from: request.body.collect(upTo: 4 << 10))
      guard Role.isName(asked.name) else { throw HubError(.malformed, "an operator's name is \(Role.allowedNames)") }
      let made = HubOperator(name: asked.name, role: asked.role ?? "viewer", created: Clock.unixTime())
      try OperatorRoutes.checkGrant(made.role, by: one)
      let token = HubState.newAdminToken()
      guard try await state.store.addOperator(made, token: token) else {
        throw HubError(.conflict, "there is an operator \(made.name) already", hint: "revoke them first")
      }
      Log.shared.notice("operator added", ["name": made.name, "role": made.role, "by": one.name])
      return HTTPResponse.json(
        201, ["name": .string(made.name), "role": .string(made.role), "token": .string(token)])
    }
    router.on("PUT", "/operators/{name}/role", .operatorManage) { request, parameters, one in
      let role = try await Decode.message(NewRole.self, from: request.body.collect(upTo: 4 << 10)).role
      try OperatorRoutes.checkGrant(role, by: one)
      let name = parameters["name"]
      try OperatorRoutes.check(try await state.store.change(name, to: role), name)
      Log.shared.notice("operator's role changed", ["name": name, "role": role, "by": one.name])
      return HTTPResponse.json(200, ["name": .string(name), "role": .string(role)])
    }
    router.on("DELETE", "/operators/{name}", .operatorManage) { _, parameters, one in
      let name = parameters["name"]
      try OperatorRoutes.check(try await state.store.change(name, to: nil), name)
      Log.shared.notice("operator removed", ["name": name, "by": one.name])
      return HTTPResponse.empty(204)
    }
  }

  private struct Order: Decodable {
    let name: String
    /// Nil: viewer.
    let role: String?
  }
  private struct NewRole: Decodable { let role: String }

  private static func check(_ change: HubStore.Change, _ name: String) throws {
    switch change {
    case .made: break
    case .unknown: throw HubError(.notFound, "this hub has no operator \(name)")
    case .last:
      throw HubError(
        .conflict, "\(name) is the last operator who can manage operators", hint: "make another one an admin first")
    }
  }

  private static func checkGrant(_ role: String, by one: HubOperator) throws {
    let names = HubPolicy.roles.map(\.name)
    guard names.contains(role) else {
      throw HubError(.malformed, "there is no role \(role)", hint: "roles are \(names.joined(separator: ", "))")
    }
    guard try HubPolicy.policy([one]).mayGrant(.operator(one.name), role) else {
      throw HubError(
        .denied, "operator:\(one.name) may not hand out the role \(role): it allows what \(one.role) doesn't",
        hint: "ask somebody who holds \(role)")
    }
  }
}

extension HubState {
  /// `ska_` and 256 random bits.
  static func newAdminToken() -> String { "ska_" + Base64.encodeURL(SecureRandom.bytes(32)) }
}

extension HubStore {
  enum Change: Sendable { case made, unknown, last }

  /// Who was an operator before there were roles may do what they could.
  static let operatorSchema = "ALTER TABLE admin_tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'admin';"

  /// By name.
  func operators() async throws -> [HubOperator] { try await database.read { try HubStore.operators($0) } }

  private static func operators(_ connection: Connection) throws -> [HubOperator] {
    try connection.query("SELECT name, role, created_at FROM admin_tokens ORDER BY name").map(HubStore.operator)
  }

  private static func `operator`(_ row: Row) throws -> HubOperator {
    HubOperator(name: try row.text("name"), role: try row.text("role"), created: try row.integer("created_at"))
  }

  /// Whose token it is, or nil for one the hub doesn't know. Looking up a digest tells nothing by its time.
  func `operator`(ofToken token: String) async throws -> HubOperator? {
    let digest = Digest(of: Array(token.utf8)).bytes
    return try await database.read { connection in
      try connection.query("SELECT name, role, created_at FROM admin_tokens WHERE digest = ?", .blob(digest)).first
        .map(HubStore.operator)
    }
  }

  /// False when the name is taken.
  func addOperator(_ made: HubOperator, token: String) async throws -> Bool {
    let digest = Digest(of: Array(token.utf8)).bytes
    return try await database.write { connection in
      guard try !HubStore.operators(connection).contains(where: { $0.name == made.name }) else { return false }
      try connection.execute(
        "INSERT INTO admin_tokens (digest, name, created_at, role) VALUES (?, ?, ?, ?)", .blob(digest),
        .text(made.name), .integer(made.created), .text(made.role))
      return true
    }
  }

  /// Gives an operator another role, or with none removes them; nothing where nobody could manage operators any more.
  func change(_ name: String, to role: String?) async throws -> Change {
    try await database.write { connection in
      let now = try HubStore.operators(connection)
      guard now.contains(where: { $0.name == name }) else { return .unknown }
      let next = now.compactMap { one -> HubOperator? in
        guard one.name == name else { return one }
        return role.map { HubOperator(name: name, role: $0, created: one.created) }
      }
      guard try HubPolicy.isManaged(next) else { return .last }
      if let role {
        try connection.execute("UPDATE admin_tokens SET role = ? WHERE name = ?", .text(role), .text(name))
      } else {
        try connection.execute("DELETE FROM admin_tokens WHERE name = ?", .text(name))
      }
      return .made
    }
  }
}
