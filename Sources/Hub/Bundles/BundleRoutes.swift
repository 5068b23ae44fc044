import Access
import Fleet
import FoundationEssentials
import Host
import Trust
import Web

/// What operators call to write sticks and to read them back.
struct BundleRoutes: Sendable {
  let state: HubState
  let maker: BundleMaker

  func add(to router: inout AdminRouter) {
    router.on("POST", "/bundles", .deviceManage) { request, _, _ in
      try await create(request.body.collect(upTo: 4 << 20))
    }
    router.on("POST", "/bundles/take", .deviceManage) { request, _, _ in
      HTTPResponse.json(200, try await BundleTaker(state: state).take(request.body, now: Clock.unixTime()))
    }
  }

  private struct Order: Decodable {
    /// Ids; nil means every box that was not revoked.
    let devices: [String]?
    let everything: Bool?
    /// A policy file's text.
    let policies: String?
  }

  private func create(_ body: [UInt8]) async throws -> HTTPResponse {
    let message = try Decode.message(Order.self, from: body)
    let devices = try await devices(message.devices)
    let policies = message.policies.map { Array($0.utf8) }
    if let policies {
      // A box would refuse it: said here, before somebody carries it there.
      do { _ = try Policy(parsing: policies) } catch {
        throw HubError(.malformed, "the policy file can't be used: \(error)")
      }
    }
    let made = try await maker.make(
      BundleMaker.Order(devices: devices, everything: message.everything ?? false, policies: policies), now: Date())
    Log.shared.notice(
      "bundle made", ["serial": "\(made.signed.manifest.serial)", "boxes": "\(devices.count)"])
    let length = UInt64(BundleFormat.head(made.signed).count) + made.signed.manifest.length
    return .streaming(
      200, headers: ["Content-Type": "application/vnd.skerry.bundle", "Skerry-Bundle-Length": String(length)]
    ) { writer in
      try await writer.write(BundleFormat.head(made.signed))
      for number in 0..<made.writer.count {
        try await writer.write(try await offPool { try made.writer.start(of: number) })
        var offset: UInt64 = 0
        while true {
          let from = offset
          let piece = try await offPool { try made.writer.rest(of: number, at: from) }
          if piece.isEmpty { break }
          try await writer.write(piece)
          offset += UInt64(piece.count)
        }
      }
    }
  }

  private func devices(_ ids: [String]?) async throws -> [DeviceRecord] {
    let all = try await state.store.devices().filter { $0.revokedAt == nil }
    guard let ids else {
      guard !all.isEmpty else { throw HubError(.notFound, "this hub has no box yet", hint: "take an enrolment first") }
      return all
    }
    guard !ids.isEmpty, ids.count <= 10_000 else { throw HubError(.malformed, "devices has 1 to 10,000 ids") }
    return try Set(ids).sorted().map { text in
      let found = all.filter { $0.id.hex == text || $0.name == text || text.count >= 4 && $0.id.hex.hasPrefix(text) }
      guard let device = found.first else {
        throw HubError(.notFound, "this hub has no box \(text)", hint: "see: skerry hub device list")
      }
      guard found.count == 1 else {
        throw HubError(.conflict, "\(text) is more than one box", hint: "use the id: skerry hub device list")
      }
      return device
    }
  }
}
