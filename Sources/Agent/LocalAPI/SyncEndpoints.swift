import Fleet
import Trust
import Web

extension LocalAPI {
  func addSync(to router: inout GovernedRouter) {
    router.on("POST", "/skerry/v1/enroll", .needs(.enroll)) { request, _, caller in
      let given = try await members(request, ["token"])
      let token = try required(given, "token") { field throws(JSONFieldError) in try field.string() }
      let enrolment = try await sync.enroll(token: token, actor: caller.label)
      return .json(
        200,
        [
          "deviceID": .string("\(enrolment.deviceID)"), "hub": .string(enrolment.hub),
          "witness": .string(enrolment.witness),
        ])
    }
    router.on("POST", "/skerry/v1/sync", .needs(.syncRun)) { request, _, _ in
      return .streaming(200, headers: ["Content-Type": "application/x-ndjson"]) { writer in
        try await syncNow(writer, isUrgent: request.query("now") == "1")
      }
    }
  }

  /// Lines of progress, then one with the outcome or the error. The sync goes on when the caller goes.
  private func syncNow(_ writer: ResponseWriter, isUrgent: Bool) async throws {
    let (lines, feed) = AsyncStream.makeStream(of: JSONValue.self, bufferingPolicy: .bufferingNewest(256))
    let sync = sync
    Task {
      do {
        let outcome = try await sync.syncNow(isUrgent: isUrgent) { feed.yield(LocalAPI.progress($0)) }
        feed.yield(["event": "done", "outcome": try JSONValue(encoding: outcome)])
      } catch {
        feed.yield(["event": "error", "error": Dialect.skerry.body(APIFailure(error))["error"] ?? .null])
      }
      feed.finish()
    }
    for await line in lines { try await writer.write(line.encoded() + [0x0A]) }
  }

  static func progress(_ progress: SyncProgress) -> JSONValue {
    [
      "event": "progress", "phase": .string(progress.phase.rawValue),
      "model": progress.model.map(JSONValue.string) ?? .null, "done": .integer(Int64(clamping: progress.done)),
      "total": .integer(Int64(clamping: progress.total)),
    ]
  }
}

extension APIFailure {
  init(sync error: SyncError) {
    switch error {
    case .notEnrolled:
      self.init(status: 409, code: "not_enrolled", message: error.description, hint: "skerry enroll TOKEN")
    case .alreadyEnrolled: self.init(status: 409, code: "already_enrolled", message: error.description)
    case .token: self.init(status: 400, code: "bad_token", message: error.description)
    case .unreachable, .lost: self.init(status: 503, code: "hub_unavailable", message: error.description, retryAfter: 5)
    case .refused(let refusal, let status):
      self.init(
        status: status >= 500 ? 502 : 409, code: refusal.error.code.description,
        message: "the hub refused: \(refusal.error.message)", hint: refusal.error.hint)
    case .wrongKey, .wrongRoot, .wrongIdentity:
      self.init(status: 502, code: "hub_untrusted", message: error.description)
    case .garbage, .tooLarge: self.init(status: 502, code: "hub_garbage", message: error.description)
    case .auditBehind, .auditInconsistent: self.init(status: 409, code: "audit_log", message: error.description)
    case .incomplete: self.init(status: 502, code: "sync_incomplete", message: error.description)
    case .stopped: self.init(status: 503, code: "stopping", message: error.description, retryAfter: 5)
    }
  }
}
