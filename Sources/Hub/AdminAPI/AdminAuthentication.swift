import Fleet
import Host
import Trust
import Web

/// Administrators show a token: as a bearer to the admin API, as the password of HTTP Basic to the dashboard.
struct AdminAuthentication: Sendable {
  let store: HubStore
  private let failures = RateLimiter(rate: 1, burst: 30)

  init(store: HubStore) { self.store = store }

  /// Whose token it is. Throws `HubError` (unauthorized, busy).
  func bearer(_ request: HTTPRequest) async throws -> HubOperator {
    guard let header = request.headers["authorization"], header.lowercased().hasPrefix("bearer ") else {
      throw HubError(
        .unauthorized, "the admin API needs a token", hint: "send Authorization: Bearer and the content of admin.token")
    }
    return try await check(String(header.dropFirst(7)), request)
  }

  /// The same for a browser; nil asks it to ask.
  func basic(_ request: HTTPRequest) async throws -> HubOperator? {
    guard let header = request.headers["authorization"], header.lowercased().hasPrefix("basic "),
      let bytes = Base64.decode(header.dropFirst(6)), let colon = bytes.firstIndex(of: 0x3A)
    else { return nil }
    do {
      return try await check(String(decoding: bytes[(colon + 1)...], as: UTF8.self), request)
    } catch let error as HubError where error.code == .unauthorized {
      return nil
    }
  }

  private func check(_ token: String, _ request: HTTPRequest) async throws -> HubOperator {
    if token.utf8.count <= 128, let found = try await store.operator(ofToken: token) { return found }
    let address = if case .tcp(let address) = request.peer { address } else { "local" }
    guard failures.allows(address, at: Clock.monotonic()) else {
      throw HubError(.busy, "too many wrong tokens from this address")
    }
    Log.shared.warning("wrong admin token", ["address": address])
    throw HubError(.unauthorized, "this is no admin token of this hub", hint: "the first one is in admin.token")
  }
}
