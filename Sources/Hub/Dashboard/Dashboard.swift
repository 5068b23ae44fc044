import Access
import Fleet
import Host
import Trust
import Web

/// The pages that operators look at. They only read; what changes something is in the admin API, which takes no
/// browser's credentials.
struct Dashboard: Sendable {
  let state: HubState
  let repository: Repository

  func add(to router: inout AdminRouter) {
    addReport(to: &router)
    router.page("/", .deviceRead) { _, _, one in
      try await answer(one) { now in
        let versions = try await repository.versions()
        var views: [DeviceView] = []
        for device in try await state.store.devices() {
          let report = try await state.store.report(device.id)
          views.append(DeviceView(device, report: report, hub: versions, now: now))
        }
        return (200, DashboardPages.boxes(views, repository: versions, now: now))
      }
    }
    router.page("/devices/{id}", .deviceRead) { _, parameters, one in
      try await answer(one) { now in
        guard let id = DeviceID(parameters["id"]), let device = try await state.store.device(id) else {
          return (404, DashboardPages.message("No such box", "This hub does not know it.", now: now))
        }
        let report = try await state.store.report(id)
        let view = DeviceView(device, report: report, hub: try await repository.versions(), now: now)
        return (200, DashboardPages.box(view, events: try await state.store.events(id, limit: 50), now: now))
      }
    }
  }

  /// The report as the box's own page would show it.
  private func addReport(to router: inout AdminRouter) {
    router.page("/devices/{id}/report", .deviceRead) { _, parameters, one in
      try await answer(one) { now in
        guard let id = DeviceID(parameters["id"]), let report = try await state.store.report(id),
          let readable = try? report.body.decoded(as: ComplianceReport.self)
        else { return (404, DashboardPages.message("No report", "None has come that can be shown.", now: now)) }
        // Its page escapes what it shows (see `ComplianceReport.html`).
        return (200, HTML(stringLiteral: readable.html()))
      }
    }
  }

  private func answer(
    _ one: HubOperator?, _ page: (Int64) async throws -> (status: Int, page: HTML)
  ) async throws -> HTTPResponse {
    let now = Clock.unixTime()
    let known = one != nil
    let (status, html) =
      known
      ? try await page(now)
      : (401, DashboardPages.message("Who are you?", "Any name, and an admin token as the password.", now: now))
    var response = HTTPResponse.text(status, html.text)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    if !known { response.headers["WWW-Authenticate"] = "Basic realm=\"Skerry hub\", charset=\"UTF-8\"" }
    response.headers["Content-Security-Policy"] =
      "default-src 'none'; style-src \(Self.styles); base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
  }

  /// The digests of the dashboard's style sheet and of the report's: no other style applies, whatever a page holds.
  private static let styles = [DashboardStyle.sheet, ComplianceReport.style]
    .map { "'sha256-\(Base64.encode(Digest(of: Array($0.utf8)).bytes))'" }.joined(separator: " ")
}
