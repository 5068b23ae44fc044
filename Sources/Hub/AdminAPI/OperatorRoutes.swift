import Access
import Fleet
import Host
import Storage
import Trust
import Web

/// The hub's operators, each with a token of their own: what they do bears their name, on the hub and on the boxes.
struct OperatorRoutes: Sendable {
  let state: HubState
  let authentication: AdminAuthentication

  func add(to router: inout Router) {
    func on(_ method: String, _ pattern: String, _ action: @escaping AdminAuthentication.Action) {
      authentication.on(method, "/operators" + pattern, in: &router, action)
    }
    on("GET", "") { _, _, name in
      let operators = try await state.store.operators()
      return HTTPResponse.json(
        200,
        [
          "operators": .array(operators.map { ["name": .string($0.name), "created": .integer($0.created)] }),
          "you": .string(name),
        ])
    }
    on("POST", "") { request, _, name in
      let made = try await Decode.message(Request.self, from: request.body.collect(upTo: 4 << 10)).name
      guard Role.isName(made) else { throw HubError(.malformed, "an operator's name is \(Role.allowedNames)") }
      let token = HubState.newAdminToken()
      guard try await state.store.addOperator(made, token: token, now: Clock.unixTime()) else {
        throw HubError(.conflict, "there is an operator \(made) already", hint: "revoke them first")
      }
      Log.shared.notice("operator added", ["name": made, "by": name])
      return HTTPResponse.json(201, ["name": .string(made), "token": .string(token)])
    }
    on("DELETE", "/{name}") { _, parameters, name in
      let gone = parameters["name"]
      switch try await state.store.removeOperator(gone) {
      case .removed: break
      case .unknown: throw HubError(.notFound, "this hub has no operator \(gone)")
      case .last: throw HubError(.conflict, "\(gone) is the last operator; add another first")
      }
      Log.shared.notice("operator removed", ["name": gone, "by": name])
      return HTTPResponse.empty(204)
    }
  }

  private struct Request: Decodable { let name: String }
}

extension HubState {
  /// `ska_` and 256 random bits.
  static func newAdminToken() -> String { "ska_" + Base64.encodeURL(SecureRandom.bytes(32)) }
}

extension HubStore {
  enum Removal: Sendable { case removed, unknown, last }

  func operators() async throws -> [(name: String, created: Int64)] {
    try await database.read { connection in
      try connection.query("SELECT name, created_at FROM admin_tokens ORDER BY name").map {
        (try $0.text("name"), try $0.integer("created_at"))
      }
    }
  }

  /// False when the name is taken.
  func addOperator(_ name: String, token: String, now: Int64) async throws -> Bool {
    let digest = Digest(of: Array(token.utf8)).bytes
    return try await database.write { connection in
      guard try connection.query("SELECT 1 AS one FROM admin_tokens WHERE name = ?", .text(name)).isEmpty else {
        return false
      }
      try connection.execute(
        "INSERT INTO admin_tokens (digest, name, created_at) VALUES (?, ?, ?)", .blob(digest), .text(name),
        .integer(now))
      return true
    }
  }

  func removeOperator(_ name: String) async throws -> Removal {
    try await database.write { connection in
      let names = try connection.query("SELECT name FROM admin_tokens").map { try $0.text("name") }
      guard names.contains(name) else { return .unknown }
      guard names.contains(where: { $0 != name }) else { return .last }
      try connection.execute("DELETE FROM admin_tokens WHERE name = ?", .text(name))
      return .removed
    }
  }
}
