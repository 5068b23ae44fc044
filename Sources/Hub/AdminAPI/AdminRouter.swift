import Access
import Web

/// Takes routes for operators, each with the verb that it asks for; there is no other way to add one.
struct AdminRouter {
  typealias Action = @Sendable (HTTPRequest, PathParameters, _ operator: HubOperator) async throws -> HTTPResponse

  struct Route: Sendable {
    let method: String
    let pattern: String
    let verb: Verb
  }

  private(set) var routes: [Route] = []
  private(set) var router: Router
  private let authentication: AdminAuthentication

  init(_ router: Router, _ authentication: AdminAuthentication) {
    self.router = router
    self.authentication = authentication
  }

  /// A route of the admin API, for who shows a token as a bearer. Its action begins once the verb is decided on, and is
  /// told who asks.
  mutating func on(_ method: String, _ pattern: String, _ verb: Verb, _ action: @escaping Action) {
    let pattern = "/admin/v1" + pattern
    routes.append(Route(method: method, pattern: pattern, verb: verb))
    let authentication = authentication
    router.on(
      method, pattern,
      handler: Answers.wrap { request, parameters in
        let one = try await authentication.bearer(request)
        try HubPolicy.demand(verb, one)
        return try await action(request, parameters, one)
      })
  }

  /// A page, for a browser that shows a token as its password; the action gets nil where it showed none.
  mutating func page(
    _ pattern: String, _ verb: Verb,
    _ action: @escaping @Sendable (HTTPRequest, PathParameters, _ operator: HubOperator?) async throws -> HTTPResponse
  ) {
    routes.append(Route(method: "GET", pattern: pattern, verb: verb))
    let authentication = authentication
    router.on(
      "GET", pattern,
      handler: Answers.wrap { request, parameters in
        let one = try await authentication.basic(request)
        if let one { try HubPolicy.demand(verb, one) }
        return try await action(request, parameters, one)
      })
  }
}
