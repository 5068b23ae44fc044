import Testing
import Web

@Suite struct RouterTests {
  private let router: Router = {
    var router = Router()
    for (method, pattern) in [
      ("GET", "/"), ("GET", "/v1/models"), ("GET", "/v1/models/{id}"), ("DELETE", "/v1/models/{id}"),
      ("POST", "/v1/models/{id}/{verb}"), ("GET", "/files/{path...}"),
    ] {
      router.on(method, pattern) { _, found in
        .text(200, "\(method) \(pattern) \(["id", "verb", "path"].map { found[$0] }.joined(separator: "|"))")
      }
    }
    return router
  }()

  private func ask(_ method: String, _ target: String) async throws -> String {
    let request = HTTPRequest(
      method: method, target: target, headers: HTTPHeaders(), peer: .tcp(address: "127.0.0.1"), body: HTTPBody())
    guard case .bytes(let bytes) = try await router.handle(request).body else { return "no bytes" }
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test(arguments: [
    ("GET", "/", "GET / ||"), ("GET", "/v1/models", "GET /v1/models ||"), ("HEAD", "/v1/models", "GET /v1/models ||"),
    ("GET", "/v1/models?x=/y", "GET /v1/models ||"), ("GET", "/v1/models/a.b", "GET /v1/models/{id} a.b||"),
    ("DELETE", "/v1/models/a", "DELETE /v1/models/{id} a||"),
    ("POST", "/v1/models/a/load", "POST /v1/models/{id}/{verb} a|load|"),
    // A decoded slash stays inside its segment.
    ("GET", "/v1/models/a%2Fb%20c", "GET /v1/models/{id} a/b c||"),
    ("GET", "/files/a/b/c", "GET /files/{path...} ||a/b/c"),
  ])
  func aPathFindsItsHandler(_ method: String, _ target: String, _ answer: String) async throws {
    #expect(try await ask(method, target) == answer)
  }

  @Test(arguments: [
    "/v1", "/v1/", "/v1/models/", "/v1/models/a/b/c", "/V1/models", "//v1/models", "/v1/models/%", "v1", "",
  ])
  func anUnknownPathIs404(_ target: String) async throws {
    if target == "/v1/models/%" {
      // A broken escape is only itself.
      #expect(try await ask("GET", target) == "GET /v1/models/{id} %||")
      return
    }
    let failure = await #expect(throws: HTTPFailure.self) { try await ask("GET", target) }
    #expect(failure?.status == 404)
  }

  @Test func anUnknownMethodIs405AndSaysWhichAreKnown() async throws {
    let failure = await #expect(throws: HTTPFailure.self) { try await ask("PUT", "/v1/models/a") }
    #expect(failure?.status == 405)
    #expect(failure?.headers["Allow"] == "DELETE, GET")
  }

  @Test func namesCompareWithoutCaseAndKeepTheirOrder() {
    var headers: HTTPHeaders = ["Accept": "a", "X-One": "1"]
    headers.add("ACCEPT", "b")
    #expect(headers["accept"] == "a" && headers.values("aCCept") == ["a", "b"])
    headers["accept"] = "c"
    #expect(headers.all.map(\.name) == ["X-One", "accept"])
    headers["X-ONE"] = nil
    #expect(headers.all.count == 1)
    headers.set("X-Evil", "a\r\nSet-Cookie: b\0")
    #expect(headers["x-evil"] == "a  Set-Cookie: b ")
  }
}
