public import Trust

/// Who is at the other end of a connection.
public enum Peer: Sendable, Hashable {
  /// The kernel's word (SO_PEERCRED) on a Unix socket.
  case unix(uid: UInt32, gid: UInt32, pid: Int32)
  case tcp(address: String)
}

/// A request whose head has arrived; its body streams. What of the body the handler has not read when it returns its
/// response is thrown away: a response begins when the request has ended.
public struct HTTPRequest: Sendable {
  public let method: String
  /// Path and query exactly as sent.
  public let target: String
  /// The path, percent-decoded.
  public let path: String
  public let query: [(name: String, value: String)]
  public let headers: HTTPHeaders
  public let peer: Peer
  public let body: HTTPBody

  public init(method: String, target: String, headers: HTTPHeaders, peer: Peer, body: HTTPBody) {
    self.method = method
    self.target = target
    self.headers = headers
    self.peer = peer
    self.body = body
    let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    path = percentDecoded(parts.first ?? "", plusIsSpace: false)
    query =
      parts.count < 2
      ? []
      : parts[1].split(separator: "&").map { pair in
        let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return (
          percentDecoded(sides.first ?? "", plusIsSpace: true),
          sides.count > 1 ? percentDecoded(sides[1], plusIsSpace: true) : ""
        )
      }
  }

  /// The first value of this name in the query.
  public func query(_ name: String) -> String? { query.first { $0.name == name }?.value }
}

/// Percent-decoding (RFC 3986 §2.1); a broken escape stays as it is.
func percentDecoded(_ text: Substring, plusIsSpace: Bool) -> String {
  var bytes: [UInt8] = []
  let source = Array(text.utf8)
  var at = 0
  while at < source.count {
    if source[at] == UInt8(ascii: "%"), at + 2 < source.count,
      let decoded = Hex.decode(String(decoding: source[at + 1...at + 2], as: UTF8.self))
    {
      bytes += decoded
      at += 3
    } else {
      bytes.append(plusIsSpace && source[at] == UInt8(ascii: "+") ? 0x20 : source[at])
      at += 1
    }
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// An error that becomes a response: a handler throws it.
public struct HTTPFailure: Error, Sendable, CustomStringConvertible {
  public let status: Int
  /// A short word for programs, like `model_unknown`.
  public let code: String
  /// One sentence for people.
  public let message: String
  /// What would help.
  public let hint: String?
  public var headers = HTTPHeaders()

  public init(_ status: Int, _ code: String, _ message: String, hint: String? = nil) {
    self.status = status
    self.code = code
    self.message = message
    self.hint = hint
  }

  public init(status: Int, code: String, message: String, hint: String? = nil) {
    self.init(status, code, message, hint: hint)
  }

  public var description: String { hint.map { "\(message) \($0)" } ?? message }

  /// `{"error":{"code","message","hint"}}`
  public var response: HTTPResponse {
    var error: [String: JSONValue] = ["code": .string(code), "message": .string(message)]
    if let hint { error["hint"] = .string(hint) }
    var made = HTTPResponse.json(status, ["error": .object(error)])
    for field in headers.all { made.headers.add(field.name, field.value) }
    return made
  }
}

public enum ResponseBody: Sendable {
  case bytes([UInt8])
  case stream(@Sendable (ResponseWriter) async throws -> Void)
  /// Part of a file, sent by the kernel.
  case file(path: String, offset: UInt64, length: UInt64)
}

public struct HTTPResponse: Sendable {
  public var status: Int
  public var headers: HTTPHeaders
  public var body: ResponseBody

  public init(status: Int, headers: HTTPHeaders = HTTPHeaders(), body: ResponseBody = .bytes([])) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  public static func json(_ status: Int, _ value: JSONValue) -> HTTPResponse {
    HTTPResponse(status: status, headers: ["Content-Type": "application/json"], body: .bytes(value.encoded()))
  }

  public static func text(_ status: Int, _ text: String, type: String = "text/plain; charset=utf-8") -> HTTPResponse {
    HTTPResponse(status: status, headers: ["Content-Type": type], body: .bytes(Array(text.utf8)))
  }

  public static func empty(_ status: Int) -> HTTPResponse { HTTPResponse(status: status) }

  /// A body that is written while it is made. An error after the first byte cuts the connection, so that the client
  /// sees that the answer is not whole.
  public static func streaming(
    _ status: Int, headers: HTTPHeaders, _ body: @escaping @Sendable (ResponseWriter) async throws -> Void
  ) -> HTTPResponse {
    HTTPResponse(status: status, headers: headers, body: .stream(body))
  }
}
