import Access
import Fleet
import Host
import Storage
import Trust
import Web

/// Issues break-glass codes for boxes, and shows what became of them. The codes are in the answer to the request that made
/// them and nowhere else: whoever asked prints them and seals them in an envelope.
struct BreakGlassRoutes: Sendable {
  let state: HubState

  func add(to router: inout AdminRouter) {
    let path = "/devices/{id}/break-glass"
    router.on("GET", path, .deviceRead) { _, parameters, _ in
      let records = try await state.store.breakGlassRecords(try await state.store.known(parameters["id"]).id)
      return HTTPResponse.json(200, ["grants": .array(records.map(BreakGlassRoutes.json))])
    }
    router.on("POST", path, .breakGlassIssue) { request, parameters, one in
      try await issue(parameters["id"], request.body.collect(upTo: 4 << 10), by: one.name)
    }
    router.on("DELETE", path + "/{grant}", .breakGlassIssue) { _, parameters, one in
      let device = try await state.store.known(parameters["id"])
      let id = parameters["grant"]
      guard try await state.store.revokeBreakGlass(id, of: device.id, now: Clock.unixTime()) else {
        throw HubError(
          .notFound, "the box has no grant \(id) that could still be used",
          hint: "see: skerry hub break-glass list DEVICE")
      }
      Log.shared.notice("break-glass revoked", ["device": device.id.hex, "id": id, "operator": one.name])
      return HTTPResponse.empty(204)
    }
  }

  private struct Request: Decodable {
    let role: String?
    let persons: Int?
    let seconds: Int64?
    let expiresInSeconds: Int64?
    let count: Int?
  }

  private func issue(_ text: String, _ body: [UInt8], by name: String) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    guard device.revokedAt == nil else {
      throw HubError(.conflict, "the box is revoked, so no code would reach it")
    }
    let asked = try Decode.message(Request.self, from: body.isEmpty ? Array("{}".utf8) : body)
    let (role, persons, count) = (asked.role ?? "admin", asked.persons ?? 1, asked.count ?? 1)
    let (seconds, lifetime) = (asked.seconds ?? 1800, asked.expiresInSeconds ?? 90 * 86_400)
    func demand(_ isGood: Bool, _ what: String) throws { if !isGood { throw HubError(.malformed, what) } }
    try demand(Role.isName(role), "role is the name of a role in the box's policy: \(Role.allowedNames)")
    try demand((1...2).contains(persons), "persons is 1 or 2")
    try demand((1...BreakGlassGrant.most).contains(count), "count is 1 to \(BreakGlassGrant.most)")
    try demand(
      BreakGlassGrant.seconds.contains(seconds),
      "seconds is \(BreakGlassGrant.seconds.lowerBound) to \(BreakGlassGrant.seconds.upperBound)")
    try demand(BreakGlassGrant.lifetime.contains(lifetime), "expiresInSeconds is a minute to two years")
    let now = Clock.unixTime()
    let made = (0..<count).map { _ -> (codes: [BreakGlassCode], grant: BreakGlassGrant) in
      let codes = (0..<persons).map { _ in BreakGlassCode() }
      return (
        codes,
        BreakGlassGrant(
          id: BreakGlassGrant.newID(), codes: codes.map(\.digest), role: role, seconds: seconds, issued: now,
          expires: now + lifetime, issuedBy: "operator:\(name)")
      )
    }
    try await state.store.add(made.map(\.grant), for: device.id, now: now)
    Log.shared.notice(
      "break-glass issued",
      ["device": device.id.hex, "ids": made.map(\.grant.id).joined(separator: " "), "operator": name])
    return HTTPResponse.json(
      201,
      [
        "grants": .array(
          made.map { one in
            [
              "id": .string(one.grant.id), "codes": .array(one.codes.map { .string("\($0)") }),
              "role": .string(role), "seconds": .integer(seconds), "expires": .integer(one.grant.expires),
            ]
          })
      ])
  }

  private static func json(_ record: BreakGlassRecord) -> JSONValue {
    let grant = record.grant
    let state =
      record.closed != nil
      ? "closed"
      : record.used != nil
        ? "used" : record.revokedAt != nil ? "revoked" : grant.expires <= Clock.unixTime() ? "expired" : "ready"
    return [
      "id": .string(grant.id), "state": .string(state), "role": .string(grant.role),
      "persons": .integer(Int64(grant.codes.count)), "seconds": .integer(grant.seconds),
      "issued": .integer(grant.issued), "issuedBy": .string(grant.issuedBy), "expires": .integer(grant.expires),
      "revoked": record.revokedAt.map(JSONValue.integer) ?? .null, "used": record.used ?? .null,
      "closed": record.closed ?? .null,
    ]
  }
}
