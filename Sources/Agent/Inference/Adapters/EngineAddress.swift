import Web

/// Where a running engine is spoken to.
enum EngineAddress: Sendable, Hashable {
  /// A Unix socket in a folder that only this account may enter. The secret is for an engine behind a relay that wants one.
  case unix(path: String, secret: String? = nil)
  /// A port on 127.0.0.1, which every account of the host can reach: the engine answers only who knows the secret.
  case loopback(port: UInt16, secret: String)

  /// The path of the socket; nil on loopback.
  var socketPath: String? {
    if case .unix(let path, _) = self { path } else { nil }
  }

  /// What the engine wants to hear as `Authorization: Bearer`.
  var secret: String? {
    switch self {
    case .unix(_, let secret): secret
    case .loopback(_, let secret): secret
    }
  }

  /// A request to the engine behind this address.
  func request(
    _ method: String, _ path: String, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8]? = nil
  ) -> ClientRequest {
    var headers = headers
    if let secret { headers["Authorization"] = "Bearer " + secret }
    switch self {
    case .unix(let socket, _):
      var made = ClientRequest(method: method, url: "http://engine" + path, headers: headers, body: body)
      made.unixSocket = socket
      return made
    case .loopback(let port, _):
      return ClientRequest(method: method, url: "http://127.0.0.1:\(port)" + path, headers: headers, body: body)
    }
  }
}
