/// What a pattern's `{names}` stood for, percent-decoded.
public struct PathParameters: Sendable {
  let values: [String: String]
  /// The value; empty for a name that the pattern lacks.
  public subscript(name: String) -> String { values[name] ?? "" }
}

/// Finds the handler of a method and path; an unknown path is 404, an unknown method on a known path 405 with Allow.
public struct Router: Sendable {
  public typealias Handler = @Sendable (HTTPRequest, PathParameters) async throws -> HTTPResponse

  private struct Route: Sendable {
    let method: String
    let pattern: [String]
    let handler: Handler
  }

  private var routes: [Route] = []

  public init() {}

  /// A pattern is a path whose `{name}` parts stand for one segment; a last `{name...}` stands for the rest.
  public mutating func on(_ method: String, _ pattern: String, handler: @escaping Handler) {
    routes.append(Route(method: method, pattern: Self.segments(pattern), handler: handler))
  }

  /// Every route as method and pattern, for checks that each one is governed.
  public var all: [(method: String, pattern: String)] {
    routes.map { ($0.method, "/" + $0.pattern.joined(separator: "/")) }
  }

  public func handle(_ request: HTTPRequest) async throws -> HTTPResponse {
    let raw = request.target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
    let segments = Self.segments(String(raw)).map { percentDecoded(Substring($0), plusIsSpace: false) }
    var allowed: [String] = []
    for route in routes {
      guard let values = Self.match(route.pattern, segments) else { continue }
      if route.method == request.method || (route.method == "GET" && request.method == "HEAD") {
        return try await route.handler(request, PathParameters(values: values))
      }
      allowed.append(route.method)
    }
    if allowed.isEmpty { throw HTTPFailure(404, "not_found", "There is nothing at \(request.path).") }
    var failure = HTTPFailure(405, "method_not_allowed", "\(request.method) is not for \(request.path).")
    failure.headers["Allow"] = Set(allowed).sorted().joined(separator: ", ")
    throw failure
  }

  private static func segments(_ path: String) -> [String] {
    path.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map(String.init)
  }

  private static func match(_ pattern: [String], _ segments: [String]) -> [String: String]? {
    var values: [String: String] = [:]
    for (at, part) in pattern.enumerated() {
      if part.hasPrefix("{"), part.hasSuffix("...}") {
        guard at < segments.count else { return nil }
        values[String(part.dropFirst().dropLast(4))] = segments[at...].joined(separator: "/")
        return values
      }
      guard at < segments.count else { return nil }
      if part.hasPrefix("{"), part.hasSuffix("}") {
        guard !segments[at].isEmpty else { return nil }
        values[String(part.dropFirst().dropLast())] = segments[at]
      } else if part != segments[at] {
        return nil
      }
    }
    return pattern.count == segments.count ? values : nil
  }
}
