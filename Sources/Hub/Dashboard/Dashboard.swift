import Fleet
import Host
import Trust
import Web

/// The pages that operators look at. They only read; what changes something is in the admin API, which takes no
/// browser's credentials.
struct Dashboard: Sendable {
  let state: HubState
  let repository: Repository
  let authentication: AdminAuthentication

  func add(to router: inout Router) {
    router.on(
      "GET", "/",
      handler: Answers.wrap { request, _ in
        try await answer(request) { now in
          let versions = try await repository.versions()
          var views: [DeviceView] = []
          for device in try await state.store.devices() {
            let report = try await state.store.report(device.id)
            views.append(DeviceView(device, report: report, hub: versions, now: now))
          }
          return (200, DashboardPages.boxes(views, repository: versions, now: now))
        }
      })
    router.on(
      "GET", "/devices/{id}",
      handler: Answers.wrap { request, parameters in
        try await answer(request) { now in
          guard let id = DeviceID(parameters["id"]), let device = try await state.store.device(id) else {
            return (404, DashboardPages.message("No such box", "This hub does not know it.", now: now))
          }
          let report = try await state.store.report(id)
          let view = DeviceView(device, report: report, hub: try await repository.versions(), now: now)
          return (200, DashboardPages.box(view, events: try await state.store.events(id, limit: 50), now: now))
        }
      })
  }

  private func answer(
    _ request: HTTPRequest, _ page: (Int64) async throws -> (status: Int, page: HTML)
  ) async throws -> HTTPResponse {
    let now = Clock.unixTime()
    let known = try await authentication.basic(request) != nil
    let (status, html) =
      known
      ? try await page(now)
      : (401, DashboardPages.message("Who are you?", "Any name, and an admin token as the password.", now: now))
    var response = HTTPResponse.text(status, html.text)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    if !known { response.headers["WWW-Authenticate"] = "Basic realm=\"Skerry hub\", charset=\"UTF-8\"" }
    response.headers["Content-Security-Policy"] =
      "default-src 'none'; style-src 'sha256-\(Self.styleHash)'; base-uri 'none'; form-action 'none'; "
      + "frame-ancestors 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
  }

  private static let styleHash = Base64.encode(Digest(of: Array(DashboardStyle.sheet.utf8)).bytes)
}
