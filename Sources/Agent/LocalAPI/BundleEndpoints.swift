import Fleet
import Trust
import Web

extension LocalAPI {
  func addBundles(to router: inout GovernedRouter) {
    // Asked before an upload of gigabytes begins: may they, and is it for this box?
    router.on("GET", "/skerry/v1/bundle", .needs(.syncRun)) { request, _, _ in
      return .json(200, try await bundles.status())
    }
    router.on("POST", "/skerry/v1/bundle/import", .needs(.syncRun)) { request, _, caller in
      let staged = try await bundles.receive(request.body, actor: caller.label)
      return .streaming(200, headers: ["Content-Type": "application/x-ndjson"]) { writer in
        try await apply(staged, caller.label, writer)
      }
    }
    router.on("POST", "/skerry/v1/bundle/export", .needs(.syncRun)) { request, _, caller in
      let export = try await bundles.export(actor: caller.label)
      return .streaming(200, headers: ["Content-Type": LocalAPI.bundleType]) { writer in
        try await export.write { try await writer.write($0) }
      }
    }
    router.on("POST", "/skerry/v1/bundle/enroll", .needs(.enroll)) { request, _, caller in
      let given = try await members(request, ["token"])
      let token = try required(given, "token") { field throws(JSONFieldError) in try field.string() }
      let bytes = try await bundles.enrollmentRequest(token: token, actor: caller.label)
      return HTTPResponse(status: 200, headers: ["Content-Type": LocalAPI.bundleType], body: .bytes(bytes))
    }
  }

  private static let bundleType = "application/vnd.skerry.bundle"

  /// Bundles are longer than any other body, and copying one from a stick takes its time.
  static func allowance(_ method: String, _ target: String) -> HTTPServer.Configuration.Allowance? {
    guard method == "POST", target == "/skerry/v1/bundle/import" else { return nil }
    return .init(
      maxBody: BundleFormat.longestContent + UInt64(BundleFormat.manifestLimit), requestDeadline: .seconds(86_400))
  }

  /// Lines of progress, then one with the outcome or the error. It goes on when the caller goes.
  private func apply(_ staged: BundleService.Staged, _ actor: String, _ writer: ResponseWriter) async throws {
    let (lines, feed) = AsyncStream.makeStream(of: JSONValue.self, bufferingPolicy: .bufferingNewest(256))
    let bundles = bundles
    Task {
      do {
        let outcome = try await bundles.apply(staged, actor: actor) { feed.yield(LocalAPI.progress($0)) }
        feed.yield(["event": "done", "outcome": try JSONValue(encoding: outcome)])
      } catch {
        feed.yield(["event": "error", "error": Dialect.skerry.body(APIFailure(error))["error"] ?? .null])
      }
      feed.finish()
    }
    for await line in lines { try await writer.write(line.encoded() + [0x0A]) }
  }
}

extension APIFailure {
  init(bundle error: BundleError) {
    let code = if case .older = error { "bundle_older" } else { "bundle_refused" }
    self.init(status: 422, code: code, message: error.description, hint: "nothing of it was applied")
  }

  init(bundle failure: BundleFailure) {
    switch failure {
    case .busy: self.init(status: 409, code: "busy", message: failure.description, retryAfter: 5)
    case .notEnrolled, .notAnswered:
      self.init(status: 409, code: "not_enrolled", message: failure.description)
    case .noSpace: self.init(status: 507, code: "no_space", message: failure.description)
    case .noHubKey: self.init(status: 409, code: "no_hub_key", message: failure.description)
    case .untrustedRoot: self.init(status: 422, code: "bundle_refused", message: failure.description)
    }
  }
}
