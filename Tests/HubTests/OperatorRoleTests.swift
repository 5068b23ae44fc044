import Access
import Fleet
import Foundation
import Testing
import Trust
import Web

@testable import Hub

/// Operators hold roles: every route of the admin API is tried with each, and nobody gets more than they have.
@Suite struct OperatorRoleTests {
  private func token(_ hub: TestHub, _ name: String, _ role: String) async throws -> String {
    let body = JSONValue.object(["name": .string(name), "role": .string(role)]).encoded()
    return try #require(try await hub.admin("POST", "/operators", body: body).json["token"]?.string)
  }

  private func ask(
    _ hub: TestHub, _ token: String, _ method: String, _ path: String, _ body: JSONValue? = nil
  ) async throws -> ClientResponse {
    try await hub.send(
      method, path, headers: ["Authorization": "Bearer \(token)"],
      body: body?.encoded() ?? (method == "GET" || method == "DELETE" ? nil : []))
  }

  /// Made for each operator anew: some routes take something away.
  private func path(_ route: AdminRouter.Route, _ device: DeviceID) -> String {
    var path = route.pattern
    for (name, value) in [
      ("{id}", device.hex), ("{grant}", "0"), ("{name}", "nobody"), ("{file}", "9.targets.json"),
      ("{digest}", "x"), ("{path...}", "x"),
    ] { path = path.replacing(name, with: value) }
    return path
  }

  @Test func everyRouteAsksEveryRoleForItsVerb() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      var tokens = [("nobody", "", [Verb]()), ("admin", hub.created.adminToken, Verb.hubCases)]
      tokens.append(("viewer", try await token(hub, "vera", "viewer"), [.deviceRead, .operatorRead]))
      tokens.append(
        (
          "operator", try await token(hub, "otto", "operator"),
          [.deviceRead, .operatorRead, .deviceManage, .deviceEnter, .repositoryPublish]
        ))
      #expect(Set(tokens.map(\.0)) == Set(HubPolicy.roles.map(\.name) + ["nobody"]))
      #expect(Set(hub.hub.adminRoutes.map(\.verb)) == Set(Verb.hubCases), "a verb that nothing asks for")
      for route in hub.hub.adminRoutes {
        // Shutting the box out comes last.
        guard route.pattern != "/admin/v1/devices/{id}" || route.method == "GET" else { continue }
        for (role, token, verbs) in tokens {
          let line = "\(route.method) \(path(route, device.id)) as \(role)"
          let isPage = !route.pattern.hasPrefix("/admin/")
          let answer =
            isPage
            ? try await hub.send(
              "GET", path(route, device.id),
              headers: ["Authorization": "Basic \(Base64.encode(Array("me:\(token)".utf8)))"])
            : try await ask(hub, token, route.method, path(route, device.id))
          if role == "nobody" {
            // After so many wrong tokens from one address even saying so is too much.
            let isTired = answer.status == 503 && answer.text.contains("too many wrong tokens")
            #expect(answer.status == 401 || isTired, "\(line): \(answer.status)")
          } else if verbs.contains(route.verb) {
            #expect(answer.status != 401 && answer.status != 403 && answer.status < 500, "\(line): \(answer.text)")
          } else {
            #expect(answer.status == 403 && answer.code == "denied", "\(line): \(answer.status)")
          }
        }
      }
      let shut = "/admin/v1/devices/\(device.id)"
      #expect(try await ask(hub, tokens[2].1, "DELETE", shut).status == 403)
      #expect(try await ask(hub, tokens[3].1, "DELETE", shut).status == 204)
    }
  }

  /// The table in docs/api.md, word for word.
  @Test func theDocumentedTableIsTheCodes() async throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "docs/api.md")
    let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map(String.init)
    let start = try #require(lines.firstIndex(of: "| operators' endpoint | verb |"))
    let documented = lines[(start + 2)...].prefix { $0.hasPrefix("| ") }
    try await TestHub.with(published: false) { hub in
      let expected = hub.hub.adminRoutes.map { "| `\($0.method) \($0.pattern)` | `\($0.verb.rawValue)` |" }.sorted()
      #expect(documented.sorted() == expected, "docs/api.md should have:\n\(expected.joined(separator: "\n"))")
    }
  }

  @Test func aDenialSaysTheRoleAndWhatWouldChangeIt() async throws {
    try await TestHub.with { hub in
      let token = try await token(hub, "vera", "viewer")
      let error = try await ask(hub, token, "POST", "/admin/v1/enrollment-tokens").json["error"]
      #expect(
        error?["message"] == "none of the roles of operator:vera (viewer) allows device.manage on device:*")
      #expect(error?["hint"] == "what would change it: skerry hub operator role vera operator, by an admin")
      // It is true.
      let change = JSONValue.object(["role": "operator"]).encoded()
      #expect(try await hub.admin("PUT", "/operators/vera/role", body: change).status == 200)
      #expect(try await ask(hub, token, "POST", "/admin/v1/enrollment-tokens").status == 200)
    }
  }

  @Test func somebodyAlwaysManagesTheOperators() async throws {
    try await TestHub.with { hub in
      let demoted = JSONValue.object(["role": "operator"]).encoded()
      #expect(try await hub.admin("PUT", "/operators/first/role", body: demoted).code == "conflict")
      #expect(try await hub.admin("DELETE", "/operators/first").code == "conflict")
      _ = try await token(hub, "vera", "viewer")
      #expect(try await hub.admin("DELETE", "/operators/first").code == "conflict", "a viewer is no help")
      let second = try await token(hub, "anna", "admin")
      #expect(try await hub.admin("PUT", "/operators/first/role", body: demoted).status == 200)
      // From now on.
      #expect(try await hub.admin("GET", "/operators").status == 200)
      #expect(try await hub.admin("DELETE", "/operators/anna").status == 403)
      #expect(try await ask(hub, second, "DELETE", "/admin/v1/operators/anna").code == "conflict")
      #expect(try await hub.admin("PUT", "/operators/nobody/role", body: demoted).status == 403)
      #expect(try await ask(hub, second, "PUT", "/admin/v1/operators/nobody/role", ["role": "viewer"]).status == 404)
      #expect(try await ask(hub, second, "PUT", "/admin/v1/operators/vera/role", ["role": "king"]).status == 400)
    }
  }

  @Test func whoIsNotSaidToBeMoreIsAViewer() async throws {
    try await TestHub.with { hub in
      #expect(try await hub.admin("POST", "/operators", body: Array(#"{"name":"vera"}"#.utf8)).json["role"] == "viewer")
      let listed = try await hub.admin("GET", "/operators").json
      #expect(listed["yourRole"] == "admin" && listed["you"] == "first")
      #expect(listed["operators"]?.array?.map { $0["role"] } == ["admin", "viewer"])
    }
  }

  /// Whoever was an operator of a hub before there were roles is an admin.
  @Test func rolesThatAreNotKnownGiveNothing() throws {
    let stranger = HubOperator(name: "x", role: "from-the-future", created: 1)
    #expect(throws: HubError.self) { try HubPolicy.demand(.deviceRead, stranger) }
    #expect(try !HubPolicy.isManaged([stranger]))
    #expect(try HubPolicy.isManaged([stranger, HubOperator(name: "y", role: "admin", created: 1)]))
    let operatorPolicy = try HubPolicy.policy([HubOperator(name: "o", role: "operator", created: 1)])
    #expect(operatorPolicy.mayGrant(.operator("o"), "viewer") && !operatorPolicy.mayGrant(.operator("o"), "admin"))
  }

  @Test func aPassIsForOneBoxAndItsBearer() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let other = try await ScriptedDevice.enrolled(hub, name: "harbour-08")
      let token = try await token(hub, "otto", "operator")
      let made = try await ask(hub, token, "POST", "/admin/v1/devices/\(device.id)/passes", ["seconds": 600])
      #expect(made.status == 201)
      let pass = try JSONWebToken(parsing: try #require(try made.json["pass"]?.string))
      let root = try TUFRoot(parsing: hub.directorRoot())
      let keys = try #require(OperatorPass.keys(of: root))
      let now = Int64(Date().timeIntervalSince1970)
      #expect(try OperatorPass.check(pass, for: device.id, keys: keys, at: now) == "otto")
      #expect(throws: JWTError.wrongAudience) { try OperatorPass.check(pass, for: other.id, keys: keys, at: now) }
      #expect(throws: JWTError.expired) { try OperatorPass.check(pass, for: device.id, keys: keys, at: now + 800) }
      let foreign = try TUFRoot(parsing: hub.directorRoot(online: .generate()))
      #expect(throws: JWTError.unknownKey) {
        try OperatorPass.check(pass, for: device.id, keys: try #require(OperatorPass.keys(of: foreign)), at: now)
      }
      for seconds: JSONValue in [59, 86_401, -1, "x"] {
        #expect(
          try await ask(hub, token, "POST", "/admin/v1/devices/\(device.id)/passes", ["seconds": seconds]).status == 400
        )
      }
      #expect(try await ask(hub, token, "POST", "/admin/v1/devices/0123/passes", ["seconds": 600]).status == 404)
    }
  }
}
