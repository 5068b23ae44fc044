import FoundationEssentials

extension ComplianceReport {
  /// The report as one page that a person reads or prints: no scripts, nothing from elsewhere, all text escaped.
  public func html() -> String {
    let title = "Compliance report of \(device.name)"
    return """
      <!doctype html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
      <title>\(Self.escape(title))</title>
      <style>\(Self.style)</style>
      </head>
      <body>
      <main>
      <header><h1>\(Self.escape(title))</h1>
      <p>\(verdict), \(time(generatedAt)) by the box's clock</p></header>
      \(findingsSection)
      \(section("The box", facts(boxFacts)))
      \(section("Models", modelsTable))
      \(section("The fleet's policy", policyTable))
      \(section("Roles and who holds them", rolesTable))
      \(section("Tokens", tokensTable))
      \(section("Audit log", facts(auditFacts)))
      \(section("Signed metadata", repositoryTable))
      <footer>The JSON form of this report is signed by the device's key. Written by Skerry \(Self.escape(device.version)).</footer>
      </main>
      </body>
      </html>

      """
  }

  /// Text as it may stand in an element or a quoted attribute.
  public static func escape(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      // Control characters, and those that turn the direction of writing and so could show another text.
      case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{200E}", "\u{200F}", "\u{202A}"..."\u{202E}",
        "\u{2066}"..."\u{2069}":
        escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  private var verdict: String {
    let counts = ComplianceFinding.Severity.allCases.compactMap { severity -> String? in
      let count = findings.filter { $0.severity == severity }.count
      return count == 0 ? nil : "\(count) \(severity.rawValue)"
    }
    return counts.isEmpty ? "Nothing found wrong" : "Findings: " + counts.joined(separator: ", ")
  }

  private var findingsSection: String {
    if findings.isEmpty { return "" }
    let items = findings.map { finding in
      """
      <li class="\(finding.severity.rawValue)"><p><strong>\(finding.severity.rawValue)</strong> \
      <code>\(Self.escape(finding.subject))</code> \(Self.escape(finding.message))</p>\
      <p class="remedy">\(Self.escape(finding.remedy))</p></li>
      """
    }
    return section("Findings", "<ul class=\"findings\">\n\(items.joined(separator: "\n"))\n</ul>")
  }

  private var boxFacts: [(String, String)] {
    var rows = [
      ("Name", Self.escape(device.name)), ("Device", code(device.id)), ("Key", code(device.key)),
      ("Agent", Self.escape(device.version)), ("Up for", Self.escape(duration(device.uptimeSeconds))),
      ("Hub", device.isEnrolled ? Self.escape(device.hub ?? "") : "not enrolled"),
      ("Last sync", sync.lastSuccess.map(time) ?? "never"),
      ("Waiting for the hub", "\(sync.outbox) messages"),
      ("Engine sandbox", Self.escape(sandbox.isActive ? "on" : "off" + (sandbox.reason.map { ": \($0)" } ?? ""))),
    ]
    if let room = device.diskFree { rows.append(("Room on disk", bytes(room))) }
    if let clock {
      rows.append(
        (
          "Clock",
          clock.doubt.map {
            "<strong class=\"warning\">not believed: \(Self.escape($0))</strong>, it shows \(time(clock.wall))"
          }
            ?? "believed"
        ))
      rows.append(("Time floor", time(clock.floor)))
    }
    if let at = repository.refusesAt { rows.append(("Models answer until", time(at))) }
    if let error = sync.lastError { rows.append(("Last sync error", Self.escape(error))) }
    return rows
  }

  private var auditFacts: [(String, String)] {
    [
      ("Entries", "\(audit.size)"), ("Root", code(audit.root.hex)),
      (
        "Cosigned",
        "\(audit.cosignedSize) entries" + (audit.cosignedAt.map { ", \(time($0)) by the witness's clock" } ?? "")
      ),
      ("Not cosigned yet", "\(audit.uncosignedTail) entries"), ("Witness", audit.witness.map(code) ?? "none"),
      (
        "Signed head",
        "<pre>\(audit.head.split(separator: "\n").map { Self.escape(String($0)) }.joined(separator: "\n"))</pre>"
      ),
    ]
  }

  private var modelsTable: String {
    table(
      ["Model", "State", "SHA-256", "Size", "Signed by", "Installed"],
      models.map { model in
        let origin = [model.publisher, model.license, model.architecture].compactMap { $0 }.joined(separator: ", ")
        return [
          "\(Self.escape(model.name)) \(Self.escape(model.version))<br><small>\(Self.escape(origin))</small>",
          model.state == "corrupt" ? "<strong class=\"critical\">corrupt</strong>" : Self.escape(model.state),
          code(model.sha256.hex), bytes(model.length),
          signers(of: model),
          model.installedAt.map(time) ?? "",
        ]
      }, none: "No model is installed.")
  }

  private func signers(of model: Model) -> String {
    let maker = model.publisherSignature.map { "<br>its publisher: \(Self.escape($0.signer))" } ?? ""
    return (model.signers.isEmpty ? "nobody" : model.signers.map(code).joined(separator: "<br>")) + maker
  }

  private var policyTable: String {
    table(
      ["Policy", "Serial", "State", "Expires", "Of the box's own, without effect"],
      policy.map { policy in
        [
          [
            Self.escape(policy.name ?? "unknown"), policy.serial.map { "\($0)" } ?? "", Self.escape(policy.state),
            policy.expires.map(time) ?? "", "\(policy.ignored)",
          ]
        ]
      } ?? [], none: "The fleet has signed none: the box's own roles count.")
  }

  private var rolesTable: String {
    table(
      ["Role", "Held by", "Allows"],
      roles.map { role in
        [
          "\(Self.escape(role.name))<br><small>\(Self.escape(role.summary))</small>",
          role.holders.isEmpty ? "nobody" : role.holders.map(code).joined(separator: "<br>"),
          role.allows.map(Self.escape).joined(separator: "<br>"),
        ]
      }, none: "There are no roles: nobody may do anything.")
  }

  private var tokensTable: String {
    table(
      ["Token", "Created", "By", "Expires"],
      tokens.map { token in
        [
          Self.escape(token.name), time(token.createdAt), Self.escape(token.createdBy),
          token.expiresAt.map(time) ?? "never",
        ]
      }, none: "There are no tokens.")
  }

  private var repositoryTable: String {
    let roles = Set(repository.versions.keys).union(repository.expires.keys).sorted()
    return table(
      ["Role", "Version", "Expires"],
      roles.map { role in
        [
          Self.escape(role), repository.versions[role].map { "\($0)" } ?? "",
          repository.expires[role].map { time($0) + ($0 <= generatedAt ? " (expired)" : "") } ?? "",
        ]
      }, none: "The box has no metadata yet.")
  }

  private func section(_ title: String, _ body: String) -> String {
    "<section><h2>\(Self.escape(title))</h2>\n\(body)\n</section>"
  }

  /// Cells are HTML already.
  private func table(_ heads: [String], _ rows: [[String]], none: String) -> String {
    if rows.isEmpty { return "<p>\(Self.escape(none))</p>" }
    let head = heads.map { "<th scope=\"col\">\(Self.escape($0))</th>" }.joined()
    let body = rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined(separator: "\n")
    return "<div class=\"wide\"><table><thead><tr>\(head)</tr></thead>\n<tbody>\n\(body)\n</tbody></table></div>"
  }

  private func facts(_ rows: [(String, String)]) -> String {
    "<dl>\n" + rows.map { "<dt>\(Self.escape($0.0))</dt><dd>\($0.1)</dd>" }.joined(separator: "\n") + "\n</dl>"
  }

  private func code(_ text: String) -> String { "<code>\(Self.escape(text))</code>" }

  /// UTC, as in 2026-11-23T21:40:00Z.
  private func time(_ seconds: Int64) -> String {
    Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601)
  }

  private func bytes(_ count: UInt64) -> String {
    switch count {
    case (1 << 30)...: "\(tenths(count, 30)) GiB"
    case (1 << 20)...: "\(tenths(count, 20)) MiB"
    case (1 << 10)...: "\(tenths(count, 10)) KiB"
    default: "\(count) bytes"
    }
  }

  private func tenths(_ count: UInt64, _ shift: UInt64) -> String {
    let part = ((count & ((1 << shift) - 1)) * 10) >> shift
    return "\(count >> shift).\(part)"
  }

  private func duration(_ seconds: Int64) -> String {
    switch seconds {
    case 172_800...: "\(seconds / 86_400) days"
    case 7200...: "\(seconds / 3600) hours"
    case 120...: "\(seconds / 60) minutes"
    default: "\(seconds) seconds"
    }
  }

  /// The page's one style sheet, for a server that allows it by its digest.
  public static let style = """
    :root{color-scheme:light dark;--line:#8884;--critical:#b3261e;--warning:#8a5a00;--notice:#33608a}
    @media(prefers-color-scheme:dark){:root{--critical:#ff8a80;--warning:#ffca6a;--notice:#9ccaff}}
    body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:62rem;margin:0 auto;padding:1.5rem}
    h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
    header p,footer,small,.remedy{opacity:.8}footer{margin-top:2rem;border-top:1px solid var(--line);padding-top:.5rem}
    dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:0}dt{font-weight:600}dd{margin:0}
    .wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
    th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
    code,pre{font:.85em ui-monospace,monospace;overflow-wrap:anywhere}pre{margin:0;white-space:pre-wrap}
    .findings{list-style:none;padding:0;margin:0}.findings li{border-left:.3rem solid;padding:.1rem .8rem;margin:.6rem 0}
    .findings p{margin:.15rem 0}li.critical{border-color:var(--critical)}li.warning{border-color:var(--warning)}
    li.notice{border-color:var(--notice)}.critical strong,strong.critical{color:var(--critical)}
    .warning strong{color:var(--warning)}.notice strong{color:var(--notice)}
    @media print{main{max-width:none;padding:0}section{break-inside:avoid}}
    """
}
