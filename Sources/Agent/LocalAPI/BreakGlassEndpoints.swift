import Access
import Fleet
import Host
import Trust
import Web

/// Break-glass. Opening needs no verb: the sealed code is the authority, and whoever holds no role is the one who needs it.
extension LocalAPI {
  func addBreakGlass(to router: inout GovernedRouter) {
    router.on(
      "POST", "/skerry/v1/break-glass",
      .knows("the sealed code is the authority: whoever holds no role is the one who needs it")
    ) { request, _, caller in
      let given = try await members(request, ["code", "reason"])
      let code = try required(given, "code") { field throws(JSONFieldError) in try field.string() }
      let reason = try required(given, "reason") { field throws(JSONFieldError) in try field.string() }
      switch try await breakGlass.open(code, reason: reason, caller: caller, uid: LocalAPI.uid(request)) {
      case .open(let grant, let seconds): return .json(200, LocalAPI.opened("open", grant, seconds))
      case .waiting(let grant, let seconds): return .json(202, LocalAPI.opened("waiting", grant, seconds))
      }
    }
    router.on("DELETE", "/skerry/v1/break-glass", .knows("gives back what was lent to the caller")) {
      request, _, caller in
      let closed = try await breakGlass.close(uid: LocalAPI.uid(request), caller: caller)
      return .json(200, ["closed": .array(closed.map(JSONValue.string))])
    }
    router.on("GET", "/skerry/v1/break-glass", .needs(.roleRead)) { request, _, _ in
      let standings = try await breakGlass.standings()
      let loans = access.loans
      return .json(
        200,
        [
          "grants": .array(
            standings.map { one in
              [
                "id": .string(one.grant.id), "state": .string(one.state.rawValue), "role": .string(one.grant.role),
                "persons": .integer(Int64(one.grant.codes.count)), "seconds": .integer(one.grant.seconds),
                "issued": .integer(one.grant.issued), "issuedBy": .string(one.grant.issuedBy),
                "expires": .integer(one.grant.expires),
                "lentTo": loans.first { $0.id == one.grant.id }.map { .string($0.label) } ?? .null,
              ]
            })
        ])
    }
  }

  private static func opened(_ state: String, _ grant: BreakGlassGrant, _ seconds: Int64) -> JSONValue {
    [
      "state": .string(state), "id": .string(grant.id), "role": .string(grant.role), "seconds": .integer(seconds),
      "persons": .integer(Int64(grant.codes.count)),
    ]
  }

  /// The kernel's word for who calls; nil on TCP.
  private static func uid(_ request: HTTPRequest) -> UInt32? {
    if case .unix(let uid, _, _) = request.peer { uid } else { nil }
  }
}

extension APIFailure {
  init(breakGlass error: BreakGlassFailure) {
    switch error {
    case .off, .notLocal, .unknownCode, .used, .expired, .samePerson:
      self.init(status: 403, code: "denied", message: error.description)
    case .badReason, .noCode, .sameCode: self.init(status: 400, code: "bad_request", message: error.description)
    case .cannotLend: self.init(status: 409, code: "conflict", message: error.description)
    case .notOpen: self.init(status: 404, code: "not_found", message: error.description)
    }
  }
}
