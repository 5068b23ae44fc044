import CommandLine
import Storage
import Trust

/// `skerry repo remove` and `renew`.
enum RepoChanges {
  static func remove(_ command: ParsedCommand) throws {
    let name = command.argument("NAME")
    let prefix = "models/\(name)/" + (command.option("version").map { "\($0)/" } ?? "")
    var removed: [String] = []
    let draft = try RepoChange.perform(command, RepoFolder(path: command.argument("DIR"))) { draft, _, expiry in
      let found = try draft.tree().reachable().filter { $0.target.path.hasPrefix(prefix) }
      guard !found.isEmpty else {
        throw CommandFailure(
          "the repository does not list \(name)\(command.option("version").map { ":\($0)" } ?? "")",
          hint: "see: skerry repo status \(draft.folder.path)", status: .noInput)
      }
      for (role, target) in found { try draft.edit(role, expires: expiry.targets) { $0.removeTarget(target.path) } }
      removed = found.map(\.target.path)
    }
    try RepoChange.tell(command, draft, "removed " + removed.joined(separator: ", "))
  }

  /// Signs the same again: the roles that are named, or else targets and with it snapshot and timestamp.
  static func renew(_ command: ParsedCommand) throws {
    var roles = command.options("role")
    if command.flag("root") { roles.append("root") }
    if command.options("role").isEmpty { roles.append("targets") }
    let newHub = try RepoDirector.onlineKey(command)
    guard newHub == nil || roles.contains("root") else {
      throw UsageError(path: command.path, "--online-key is written into roots", hint: "give --root as well")
    }
    let online = Set(roles).intersection(["snapshot", "timestamp"])
    let draft = try RepoChange.perform(
      command, RepoFolder(path: command.argument("DIR")), renewing: online
    ) { draft, _, expiry in
      if !online.isEmpty, draft.isHubSigned {
        throw CommandFailure(
          "a hub signs this repository's snapshot and timestamp, and renews them itself", status: .data)
      }
      for role in Set(roles).subtracting(online).sorted() { try draft.edit(role, expires: expiry.of(role)) { _ in } }
      guard roles.contains("root") else { return }
      if draft.isHubSigned, let newHub {
        // A hub's new key takes over all that its old one signed.
        for role in [TUFRole.snapshot, .timestamp] {
          try draft.edit("root", expires: expiry.root) { $0.set(role, keys: [newHub], threshold: 1) }
        }
      }
      try draft.stageDirector(online: newHub, expires: expiry.root)
    }
    try RepoChange.tell(command, draft, "signed again: \(roles.joined(separator: ", "))")
  }
}
