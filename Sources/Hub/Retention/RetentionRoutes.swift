import Access
import Fleet
import Host
import Storage
import Trust
import Web

/// Lets a box keep its audit records for fewer days than the floor, with a reason and an end, and takes that back.
struct RetentionRoutes: Sendable {
  let state: HubState

  func add(to router: inout AdminRouter) {
    let path = "/devices/{id}/retention"
    router.on("GET", path, .deviceRead) { _, parameters, _ in
      let found = try await state.store.retention(try await state.store.known(parameters["id"]).id)
      return HTTPResponse.json(200, try RetentionRoutes.json(found))
    }
    router.on("PUT", path, .breakGlassIssue) { request, parameters, one in
      try await issue(parameters["id"], request.body.collect(upTo: 4 << 10), by: one.name)
    }
    router.on("DELETE", path, .breakGlassIssue) { _, parameters, one in
      let device = try await state.store.known(parameters["id"])
      guard try await state.store.setRetention(nil, of: device.id) else {
        throw HubError(.notFound, "the box has no exception", hint: "see: skerry hub retention show DEVICE")
      }
      Log.shared.notice("retention exception revoked", ["device": device.id.hex, "operator": one.name])
      return HTTPResponse.empty(204)
    }
  }

  private struct Request: Decodable {
    let days: Int
    let reason: String
    let expiresInSeconds: Int64?
  }

  private func issue(_ text: String, _ body: [UInt8], by name: String) async throws -> HTTPResponse {
    let device = try await state.store.known(text)
    let asked = try Decode.message(Request.self, from: body)
    let now = Clock.unixTime()
    let lifetime = asked.expiresInSeconds ?? 90 * 86_400
    func demand(_ isGood: Bool, _ what: String) throws { if !isGood { throw HubError(.malformed, what) } }
    try demand(
      (1..<RetentionException.floor).contains(asked.days),
      "days is 1 to \(RetentionException.floor - 1); \(RetentionException.floor) and more need no exception")
    try demand(
      RetentionException.isReason(asked.reason),
      "reason is \(RetentionException.reasonLength.lowerBound) to \(RetentionException.reasonLength.upperBound) "
        + "characters on one line")
    try demand(RetentionException.lifetime.contains(lifetime), "expiresInSeconds is an hour to 366 days")
    let exception = RetentionException(
      id: BreakGlassGrant.newID(), days: asked.days, reason: asked.reason, issued: now, expires: now + lifetime,
      issuedBy: "operator:\(name)")
    _ = try await state.store.setRetention(exception, of: device.id)
    Log.shared.notice(
      "retention exception issued",
      ["device": device.id.hex, "id": exception.id, "days": "\(asked.days)", "operator": name])
    return HTTPResponse.json(201, try RetentionRoutes.json(exception))
  }

  private static func json(_ exception: RetentionException?) throws -> JSONValue {
    guard let exception else { return ["exception": .null] }
    let isOver = exception.expires <= Clock.unixTime()
    return ["exception": try JSONValue(encoding: exception), "state": isOver ? "expired" : "in force"]
  }
}

extension HubStore {
  static let retentionSchema = """
    CREATE TABLE retention (
      device_id TEXT PRIMARY KEY REFERENCES devices (id),
      body TEXT NOT NULL
    ) STRICT;
    """

  /// The box's exception, over or not.
  func retention(_ device: DeviceID) async throws -> RetentionException? {
    try await database.read { connection in
      try connection.query("SELECT body FROM retention WHERE device_id = ?", .text(device.hex)).first.map {
        try JSONValue(parsing: $0.text("body").utf8).decoded(as: RetentionException.self)
      }
    }
  }

  /// Puts an exception in the place of the one that there is; nil takes it away. False when nothing changed.
  func setRetention(_ exception: RetentionException?, of device: DeviceID) async throws -> Bool {
    try await database.write { connection in
      if let exception {
        try connection.execute(
          "INSERT INTO retention (device_id, body) VALUES (?, ?) ON CONFLICT (device_id) DO UPDATE SET body = excluded.body",
          .text(device.hex), .text(try JSONValue(encoding: exception).text))
      } else {
        try connection.execute("DELETE FROM retention WHERE device_id = ?", .text(device.hex))
      }
      return connection.changes > 0
    }
  }
}
