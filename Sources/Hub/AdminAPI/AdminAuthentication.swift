import Fleet
import Host
import Trust
import Web

/// Administrators show a token: as a bearer to the admin API, as the password of HTTP Basic to the dashboard.
struct AdminAuthentication: Sendable {
  let store: HubStore
  private let failures = RateLimiter(rate: 1, burst: 30)

  init(store: HubStore) { self.store = store }

  /// The operator's name. Throws `HubError` (unauthorized, busy).
  private func bearer(_ request: HTTPRequest) async throws -> String {
    guard let header = request.headers["authorization"], header.lowercased().hasPrefix("bearer ") else {
      throw HubError(
        .unauthorized, "the admin API needs a token", hint: "send Authorization: Bearer and the content of admin.token")
    }
    return try await check(String(header.dropFirst(7)), request)
  }

  typealias Action = @Sendable (HTTPRequest, PathParameters, _ operator: String) async throws -> HTTPResponse

  /// Adds a route of the admin API; its action is told whose token it is.
  func on(_ method: String, _ pattern: String, in router: inout Router, _ action: @escaping Action) {
    router.on(
      method, "/admin/v1" + pattern,
      handler: Answers.wrap { request, parameters in
        let name = try await bearer(request)
        return try await action(request, parameters, name)
      })
  }

  /// The same for a browser; nil asks it to ask.
  func basic(_ request: HTTPRequest) async throws -> String? {
    guard let header = request.headers["authorization"], header.lowercased().hasPrefix("basic "),
      let bytes = Base64.decode(header.dropFirst(6)), let colon = bytes.firstIndex(of: 0x3A)
    else { return nil }
    do {
      return try await check(String(decoding: bytes[(colon + 1)...], as: UTF8.self), request)
    } catch let error as HubError where error.code == .unauthorized {
      return nil
    }
  }

  private func check(_ token: String, _ request: HTTPRequest) async throws -> String {
    if token.utf8.count <= 128, let name = try await store.adminName(ofToken: token) { return name }
    let address = if case .tcp(let address) = request.peer { address } else { "local" }
    guard failures.allows(address, at: Clock.monotonic()) else {
      throw HubError(.busy, "too many wrong tokens from this address")
    }
    Log.shared.warning("wrong admin token", ["address": address])
    throw HubError(.unauthorized, "this is no admin token of this hub", hint: "the first one is in admin.token")
  }
}
