import Fleet
import FoundationEssentials
import Host
import Trust
import Web

/// The director as a box reads it: the files of a TUF repository under `/repo/director/DEVICE/`.
struct DirectorRoutes: Sendable {
  let store: HubStore
  let director: Director

  func add(to router: inout Router) {
    router.on(
      "GET", "/repo/director/{device}/{file}",
      handler: Answers.wrap { request, parameters in
        let missing = HubError(.notFound, "the director has no \(request.path)")
        guard let id = DeviceID(parameters["device"]), let path = director.path(id, parameters["file"]),
          let device = try await store.device(id), device.revokedAt == nil
        else { throw missing }
        let isTimestamp = parameters["file"] == "timestamp.json"
        if isTimestamp { _ = try await director.statement(for: id, words: device.assigned, now: Date()) }
        return try RepositoryRoutes.file(request, path, "application/json", isFixed: !isTimestamp)
      })
  }
}
