import Fleet
import FoundationEssentials
import Trust

/// The dashboard's pages as values in, HTML out.
enum DashboardPages {
  static func boxes(_ views: [DeviceView], repository: RepositoryVersions, now: Int64) -> HTML {
    let present = views.filter { $0.device.revokedAt == nil }
    let bad = present.count { $0.findings.contains { $0.severity == .critical } }
    let summary: HTML = """
      <p class="dim">\(present.count) \(present.count == 1 ? "box" : "boxes")\
      \(bad == 0 ? ", none with a critical finding" : ", \(bad) with a critical finding"). \
      \(repository.timestamp == 0
      ? "No repository is published yet."
      : "Repository: targets version \(repository.targets), timestamp \(repository.timestamp).")</p>
      """
    let table: HTML =
      views.isEmpty
      ? """
      <p>No box has enrolled yet. Make a token with <code>skerry-hub token create</code> and give it to
      <code>skerry enroll</code> on a box.</p>
      """
      : """
      <div class="scroll"><table><thead><tr><th>Box</th><th>Last seen</th><th>Models</th><th>Audit head</th>\
      <th>Findings</th></tr></thead><tbody>\(views.map { row($0, now) })</tbody></table></div>
      """
    return page(title: "Boxes", "<h1>Boxes</h1>\(summary)\(table)", now: now)
  }

  private static func row(_ view: DeviceView, _ now: Int64) -> HTML {
    let device = view.device
    return """
      <tr><td><a href="/devices/\(device.id.hex)">\(device.name)</a><br>\
      <span class="dim mono">\(String(device.id.hex.prefix(12)))</span></td>\
      <td>\(time(device.lastSeen, now))</td><td>\(models(view))</td><td>\(audit(device, now))</td>\
      <td>\(findings(view.findings.prefix(3), more: view.findings.count - 3))</td></tr>

      """
  }

  static func box(_ view: DeviceView, events: [StoredEvent], now: Int64) -> HTML {
    let device = view.device
    let assigned = device.assigned.map { $0.isEmpty ? "none" : $0.joined(separator: ", ") } ?? "all of the repository"
    let versions = device.state?.repository
    let facts: HTML = """
      <dl><dt>Last seen</dt><dd>\(time(device.lastSeen, now))</dd>
      <dt>Enrolled</dt><dd>\(time(device.enrolledAt, now))</dd>
      <dt>Agent</dt><dd>\(device.agentVersion)</dd>
      <dt>Models</dt><dd>\(models(view))</dd>
      <dt>Assigned</dt><dd>\(assigned)</dd>
      <dt>Audit head</dt><dd>\(audit(device, now))</dd>
      <dt>Repository</dt><dd>\(versions.map { "targets version \($0.targets), timestamp \($0.timestamp)" } ?? "-")</dd>
      <dt>Sandbox</dt><dd>\(device.state?.sandbox ?? "-")</dd>
      <dt>Outbox</dt><dd>\(device.state.map { "\($0.outbox) waiting" } ?? "-")</dd>
      <dt>Identity</dt><dd class="mono wrap">\(device.id.hex)</dd>
      <dt>Public key</dt><dd class="mono wrap">\(device.key.hex)</dd></dl>
      """
    let note: HTML =
      device.checkpoint.map { "<h2>Cosigned audit head</h2><pre>\($0.note)</pre>" } ?? ""
    let report: HTML =
      view.report.map { report in
        """
        <h2>Report</h2><p class="\(report.isSigned ? "good" : "critical")">\
        \(report.isSigned ? "Signed with the box's key" : "Not signed with the box's key"), \
        received \(time(report.receivedAt, now)). <a href="/devices/\(device.id.hex)/report">Read it</a>.</p>\
        <pre>\(String(decoding: report.body.encodedPretty(), as: UTF8.self))</pre>
        """
      } ?? "<h2>Report</h2><p class=\"dim\">None has come yet.</p>"
    let told: HTML =
      events.isEmpty
      ? ""
      : """
      <h2>Events</h2><div class="scroll"><table><thead><tr><th>Received</th><th>Kind</th><th>What</th></tr></thead><tbody>\
      \(events.map { event -> HTML in
        "<tr><td>\(time(event.receivedAt, now))</td><td>\(event.kind)</td><td class=\"mono wrap\">\(event.body.text)</td></tr>"
      })</tbody></table></div>
      """
    return page(
      title: device.name,
      """
      <p><a href="/">All boxes</a></p><h1>\(device.name)</h1>\(findings(view.findings[...], more: 0))\
      <h2>State</h2>\(facts)\(report)\(note)\(told)
      """, now: now)
  }

  static func message(_ title: String, _ text: String, now: Int64) -> HTML {
    page(title: title, "<h1>\(title)</h1><p>\(text)</p><p><a href=\"/\">All boxes</a></p>", now: now)
  }

  // MARK: - Parts

  private static func page(title: String, _ content: HTML, now: Int64) -> HTML {
    """
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
    <title>\(title) · Skerry</title><style>\(HTML(stringLiteral: DashboardStyle.sheet))</style></head>
    <body><header><span class="mark">Skerry hub</span></header><main>\(content)</main>
    <footer class="dim">As of \(stamp(now)). Skerry \(skerryVersion).</footer></body></html>

    """
  }

  private static func models(_ view: DeviceView) -> HTML {
    guard let models = view.device.state?.models, !models.isEmpty else { return "<span class=\"dim\">none</span>" }
    let publishers = view.publishers
    let items = models.map { model -> HTML in
      let style = model.state == "active" ? "good" : model.state == "corrupt" ? "critical" : "note"
      let signer = publishers[model.sha256].map { signer -> HTML in
        "<br><span class=\"dim\">signed by \(signer)</span>"
      }
      return """
        <li>\(model.name) \(model.version) <span class="\(style)">\(model.state)</span>\(signer ?? "")</li>
        """
    }
    return "<ul class=\"plain\">\(items)</ul>"
  }

  private static func audit(_ device: DeviceRecord, _ now: Int64) -> HTML {
    guard let head = device.checkpoint else {
      return "\(device.state?.audit.size ?? 0) records, <span class=\"warning\">not cosigned</span>"
    }
    let size = device.state?.audit.size ?? head.size
    let state: HTML =
      size == head.size
      ? "<span class=\"good\">cosigned</span>" : "<span class=\"note\">cosigned up to \(head.size)</span>"
    return """
      \(size) records, \(state) \(time(head.cosignedAt, now))<br>\
      <span class="dim mono">\(String(head.root.hex.prefix(16)))…</span>
      """
  }

  private static func findings(_ findings: ArraySlice<Finding>, more: Int) -> HTML {
    guard !findings.isEmpty else { return "<span class=\"good\">nothing to report</span>" }
    let items = findings.map { finding -> HTML in
      let word = finding.severity == .note ? "" : finding.severity.rawValue + ": "
      return "<li class=\"\(finding.severity.rawValue)\">\(word)\(finding.text)</li>"
    }
    let rest: HTML = more > 0 ? "<li class=\"dim\">and \(more) more</li>" : ""
    return "<ul class=\"plain\">\(items)\(rest)</ul>"
  }

  private static func time(_ seconds: Int64, _ now: Int64) -> HTML {
    "<time datetime=\"\(stamp(seconds))\" title=\"\(stamp(seconds))\">\(ago(now - seconds))</time>"
  }

  private static func stamp(_ seconds: Int64) -> String {
    TUFTime.format(Date(timeIntervalSince1970: Double(seconds)))
  }

  static func ago(_ seconds: Int64) -> String {
    func count(_ number: Int64, _ unit: String) -> String { "\(number) \(unit)\(number == 1 ? "" : "s") ago" }
    switch seconds {
    case ..<(-60): return "in the future"
    case ..<5: return "just now"
    case ..<60: return count(seconds, "second")
    case ..<3600: return count(seconds / 60, "minute")
    case ..<86400: return count(seconds / 3600, "hour")
    default: return count(seconds / 86400, "day")
    }
  }
}
