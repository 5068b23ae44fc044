import CommandLine
import FoundationEssentials
import Models
import Trust

/// Status for people.
struct RepoStatusText {
  let view: RepoView
  let terminal: Terminal

  func render() -> String {
    var text = view.roles.isEmpty ? "the first root waits for signatures\n" : roles()
    text += "\n" + (view.targets.isEmpty ? "no models\n" : models())
    if let policy = view.policy { text += "\npolicy: \(String(decoding: policy.encoded(), as: UTF8.self))\n" }
    if !view.staged.isEmpty { text += "\n" + staged() }
    for line in view.missing { text += terminal.styled("missing: \(Voice.printable(line))", .red) + "\n" }
    for (at, step) in view.next.enumerated() {
      text += (at == 0 ? "\nnext: " : "      ") + terminal.styled(step, .bold) + "\n"
    }
    return text
  }

  /// Bins are many and alike: more than so many roles of one delegator are shown as a number.
  private static let mostRoles = 40

  private func roles() -> String {
    var table = Table("role", "version", "expires", "keys", "signed", "state", right: ["version"])
    for role in view.roles.prefix(Self.mostRoles) {
      let keys = role.needs.last?.roleKeys
      let names = (keys?.keyIDs ?? []).map { view.name($0) }.joined(separator: " ")
      table.add(
        role.name, role.document.map { "\($0.version)" } ?? "", role.document.map { TUFTime.format($0.expires) } ?? "",
        "\(names) (\(keys?.threshold ?? 0) of \(keys?.keyIDs.count ?? 0))", "\(role.signers.count)", state(role))
    }
    var lines = table.render().split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    for (at, role) in view.roles.prefix(Self.mostRoles).enumerated() {
      if let style = style(role) { lines[at + 1] = terminal.styled(lines[at + 1], style) }
    }
    lines[0] = terminal.styled(lines[0], .bold)
    if view.roles.count > Self.mostRoles {
      lines.insert(
        "and \(view.roles.count - Self.mostRoles) delegated roles more; --json lists them", at: lines.count - 1)
    }
    return lines.joined(separator: "\n")
  }

  private func state(_ role: RepoView.Role) -> String {
    guard let document = role.document else {
      return view.isHubSigned && ["snapshot", "timestamp"].contains(role.name) ? "signed by the hub" : "missing"
    }
    return role.isExpired ? "expired" : "good for \(rest(document.expires))"
  }

  private func style(_ role: RepoView.Role) -> Terminal.Style? {
    guard let document = role.document else { return view.isHubSigned ? .dim : .red }
    if role.isExpired { return .red }
    return document.expires.timeIntervalSince(view.now) < 86_400 ? .yellow : .green
  }

  private func models() -> String {
    var table = Table("model", "version", "size", "sha256", "architecture", "publisher", "listed by", right: ["size"])
    for (role, target) in view.targets {
      if let manifest = try? RepoModels.manifest(target) {
        table.add(
          manifest.name.description, manifest.version.description, Readable.bytes(manifest.length),
          String(manifest.sha256.hex.prefix(16)), manifest.architecture, manifest.publisher ?? "", role)
      } else {
        table.add(
          target.path, "", Readable.bytes(target.length), String(target.hashes.fileNamePrefix.prefix(16)), "", "", role)
      }
    }
    return table.render()
  }

  private func staged() -> String {
    var text = terminal.styled("STAGED", .bold) + "\n"
    for line in view.summary { text += Voice.printable(line) + "\n" }
    for item in view.staged {
      let signers = item.signers.isEmpty ? "nobody" : item.signers.map { view.name($0) }.joined(separator: " ")
      text += "\(item.file.fileName) is signed by \(signers)\n"
      for open in item.open {
        let names = open.keys.map { view.name($0.keyID) }.joined(separator: " ")
        text += terminal.styled("  \(open.missing) more as \(open.need.by) demands: \(names)", .yellow) + "\n"
      }
    }
    return text
  }

  private func rest(_ date: Date) -> String { Readable.seconds(Int64(date.timeIntervalSince(view.now))) }
}
