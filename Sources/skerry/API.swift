import CommandLine
import Trust
import Web

/// Calls to one HTTP API that speaks JSON, with failures in the words of whoever is on the other side.
struct API: Sendable {
  /// `http://localhost` for the agent, the hub's URL for a hub.
  let base: String
  var unixSocket: String?
  var pin: String?
  var bearer: String?
  /// The roles that requests are made with; empty: all that the caller has.
  var roles: [String] = []
  /// What to say when nobody answers.
  let unreachable: @Sendable (HTTPClientError) -> CommandFailure
  let client = HTTPClient()

  init(
    base: String, unixSocket: String? = nil, pin: String? = nil, bearer: String? = nil,
    unreachable: @escaping @Sendable (HTTPClientError) -> CommandFailure
  ) {
    self.base = base
    self.unixSocket = unixSocket
    self.pin = pin
    self.bearer = bearer
    self.unreachable = unreachable
  }

  /// Largest answer that is taken in one piece.
  static let answerLimit = 64 << 20

  /// The answer's JSON. Throws `CommandFailure` for anything but a 2xx with JSON in it.
  func json(
    _ method: String, _ path: String, query: [(String, String)] = [], body: JSONValue? = nil,
    timeout: Duration = .seconds(60)
  ) async throws -> JSONValue {
    let bytes = try await bytes(method, path, query: query, body: body, timeout: timeout)
    if bytes.isEmpty { return .object([:]) }
    guard let value = try? JSONValue(parsing: bytes) else { throw unreadable(path) }
    return value
  }

  func bytes(
    _ method: String, _ path: String, query: [(String, String)] = [], body: JSONValue? = nil,
    timeout: Duration = .seconds(60)
  ) async throws -> [UInt8] {
    try await answer(request(method, path, query, body, timeout: timeout))
  }

  /// Sends bytes as they are. Throws as `json` does.
  func put(_ path: String, _ bytes: [UInt8], timeout: Duration = .seconds(600)) async throws {
    var request = request("PUT", path, [], nil, timeout: timeout)
    request.headers.set("content-type", "application/octet-stream")
    request.body = .bytes(bytes)
    _ = try await answer(request)
  }

  /// Sends a piece of something larger, or with no bytes asks how much is there: `Content-Range` says which.
  func putPiece(_ path: String, _ bytes: [UInt8], range: String) async throws -> JSONValue {
    var request = request("PUT", path, [], nil, timeout: .seconds(3600))
    request.headers.set("content-type", "application/octet-stream")
    request.headers.set("content-range", range)
    request.body = .bytes(bytes)
    let answer = try await answer(request)
    guard let value = try? JSONValue(parsing: answer) else { throw unreadable(path) }
    return value
  }

  private func answer(_ request: ClientRequest) async throws -> [UInt8] {
    let response: ClientResponse
    do {
      response = try await client.send(request)
    } catch let error as HTTPClientError {
      throw unreachable(error)
    }
    guard (200..<300).contains(response.status) else {
      throw Self.failure(status: response.status, body: response.body)
    }
    return response.body
  }

  /// Hands on the answer's pieces as they come.
  func stream(
    _ method: String, _ path: String, query: [(String, String)] = [], body: JSONValue? = nil,
    each: ([UInt8]) async throws -> Void
  ) async throws {
    do {
      let response = try await client.stream(request(method, path, query, body, timeout: nil))
      guard (200..<300).contains(response.status) else {
        var said: [UInt8] = []
        for try await piece in response.body where said.count < 1 << 20 { said += piece }
        throw Self.failure(status: response.status, body: said)
      }
      for try await piece in response.body { try await each(piece) }
    } catch let error as HTTPClientError {
      throw unreachable(error)
    }
  }

  /// Hands on the answer's lines, each one JSON value.
  func events(
    _ method: String, _ path: String, query: [(String, String)] = [], body: JSONValue? = nil,
    each: (JSONValue) async throws -> Void
  ) async throws {
    var splitter = LineSplitter()
    func take(_ lines: [[UInt8]]) async throws {
      for line in lines where !line.isEmpty {
        guard let value = try? JSONValue(parsing: line) else { throw unreadable(path) }
        try await each(value)
      }
    }
    try await stream(method, path, query: query, body: body) { piece in try await take(splitter.push(piece)) }
    if let last = splitter.finish() { try await take([last]) }
  }

  func close() async { await client.close() }

  func unreadable(_ path: String) -> CommandFailure {
    CommandFailure("the answer to \(path) is not JSON", hint: "is that address really Skerry's?", status: .data)
  }

  func request(
    _ method: String, _ path: String, _ query: [(String, String)], _ body: JSONValue?, timeout: Duration?
  ) -> ClientRequest {
    var url = base + path
    if !query.isEmpty {
      url += "?" + query.map { "\(percentEncoded($0.0))=\(percentEncoded($0.1))" }.joined(separator: "&")
    }
    var request = ClientRequest(method: method, url: url)
    if let bearer { request.headers.set("authorization", "Bearer \(bearer)") }
    if !roles.isEmpty { request.headers.set("skerry-roles", roles.joined(separator: ",")) }
    if let body {
      request.headers.set("content-type", "application/json")
      request.body = .bytes(body.encoded())
    }
    request.unixSocket = unixSocket
    request.pin = pin
    request.totalTimeout = timeout
    // The agent may think for long before its first word, and so may a hub that is given more than a minute: it reads and
    // syncs every chunk of a new model before it answers a commit.
    if unixSocket != nil || timeout.map({ $0 > .seconds(60) }) == true { request.lowSpeed = nil }
    // What streams is never held as a whole.
    request.maxResponseBytes = timeout == nil ? Int.max / 2 : Self.answerLimit
    return request
  }

  /// The failure that an error answer means: its own words, and the exit status that belongs to its status code.
  static func failure(status: Int, body: [UInt8]) -> CommandFailure {
    let error = (try? JSONValue(parsing: body))?["error"]
    let message = error?["message"]?.string ?? error?.string ?? "the answer was HTTP status \(status)"
    // The agent could be asked, and the hub behind it could not.
    let isHubGone = error?["code"]?.string == "hub_unavailable"
    return CommandFailure(
      message, hint: error?["hint"]?.string, status: isHubGone ? .hubUnavailable : exitStatus(for: status))
  }

  static func exitStatus(for status: Int) -> ExitStatus {
    switch status {
    case 401, 403: .denied
    case 404: .noInput
    case 400, 409, 410, 413, 415, 422: .data
    case 408, 429, 502, 503, 504: .tryLater
    case 507: .io
    case 500...: .software
    default: .failure
    }
  }
}

/// A path made of names, each percent-encoded (RFC 3986 §2.3).
func path(_ prefix: String, _ names: String...) -> String {
  ([prefix] + names.map(percentEncoded)).joined(separator: "/")
}

func percentEncoded(_ text: String) -> String {
  var encoded = ""
  for byte in text.utf8 {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
      encoded.unicodeScalars.append(Unicode.Scalar(byte))
    default: encoded += "%" + Hex.encode([byte]).uppercased()
    }
  }
  return encoded
}
