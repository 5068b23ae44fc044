import Access
import Fleet
import Host
import Storage
import Trust
import Web

/// Passes, by which a box knows an operator without asking anybody.
struct PassRoutes: Sendable {
  let state: HubState

  func add(to router: inout AdminRouter) {
    router.on("POST", "/devices/{id}/passes", .deviceEnter) { request, parameters, one in
      let asked = try await Decode.message(Order.self, from: request.body.collect(upTo: 4 << 10))
      let seconds = asked.seconds ?? 8 * 3600
      guard (60...OperatorPass.longest).contains(seconds) else {
        throw HubError(.malformed, "a pass lasts from a minute to \(OperatorPass.longest / 3600) hours")
      }
      let device = try await state.store.known(parameters["id"])
      guard device.revokedAt == nil else { throw HubError(.conflict, "\(device.name) is shut out of the fleet") }
      let now = Clock.unixTime()
      let pass = OperatorPass.issue(
        to: one.name, for: device.id, from: now, seconds: seconds, serial: Hex.encode(SecureRandom.bytes(16)),
        by: state.onlineKey)
      Log.shared.notice("pass issued", ["device": device.id.hex, "operator": one.name, "seconds": "\(seconds)"])
      return HTTPResponse.json(
        201,
        [
          "pass": .string(pass), "operator": .string(one.name), "device": .string(device.id.hex),
          "expires": .integer(now + seconds),
        ])
    }
  }

  private struct Order: Decodable { let seconds: Int64? }
}
