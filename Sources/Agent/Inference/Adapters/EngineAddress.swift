import Web

/// Where a running engine is spoken to.
enum EngineAddress: Sendable, Hashable {
  /// A Unix socket in a folder that only this account may enter.
  case unix(path: String)
  /// A port on 127.0.0.1, which every account of the host can reach: the engine answers only who knows the secret.
  case loopback(port: UInt16, secret: String)

  /// The path of the socket; nil on loopback.
  var socketPath: String? {
    if case .unix(let path) = self { path } else { nil }
  }

  /// A request to the engine behind this address.
  func request(
    _ method: String, _ path: String, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8]? = nil
  ) -> ClientRequest {
    switch self {
    case .unix(let socket):
      var made = ClientRequest(method: method, url: "http://engine" + path, headers: headers, body: body)
      made.unixSocket = socket
      return made
    case .loopback(let port, let secret):
      var headers = headers
      headers["Authorization"] = "Bearer " + secret
      return ClientRequest(method: method, url: "http://127.0.0.1:\(port)" + path, headers: headers, body: body)
    }
  }
}
