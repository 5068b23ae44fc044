import CommandLine
import Storage
import Trust

/// `skerry repo role`, `rotate` and `policy`: who may sign what.
enum RepoRoles {
  /// Gives a role these keys and this threshold.
  static func role(_ command: ParsedCommand) throws {
    let role = command.argument("ROLE")
    var wanted: (keys: [TUFKey], threshold: Int) = ([], 1)
    let draft = try RepoChange.perform(command, RepoFolder(path: command.argument("DIR"))) { draft, ring, expiry in
      var keys = try command.options("key").map { try ring.publicKey($0) }
      let online = try RepoDirector.onlineKey(command)
      if let online {
        guard role == "snapshot" || role == "timestamp" else {
          throw UsageError(path: command.path, "a hub signs snapshot and timestamp, and no other role")
        }
        keys.append(online)
        draft.isHubSigned = true
      }
      let now = try current(role, draft)
      if keys.isEmpty { keys = now.keys }
      let threshold = try command.integer("threshold", in: 1...1000).map { Int($0) } ?? min(now.threshold, keys.count)
      wanted = (keys, try RoleKeys.checked(command, threshold, keys))
      try set(role, wanted.keys, wanted.threshold, &draft, expiry)
      if let online { try draft.stageDirector(online: online, expires: expiry.root) }
    }
    try tell(command, draft, role, wanted)
  }

  /// Puts new keys in the place of old ones.
  static func rotate(_ command: ParsedCommand) throws {
    let role = command.argument("ROLE")
    var wanted: (keys: [TUFKey], threshold: Int) = ([], 1)
    let draft = try RepoChange.perform(command, RepoFolder(path: command.argument("DIR"))) { draft, ring, expiry in
      let now = try current(role, draft)
      let old = try command.options("old").map { text -> TUFKey in
        if text.count >= 8, let key = now.keys.first(where: { $0.keyID.hasPrefix(text) }) { return key }
        return try ring.publicKey(text)
      }
      let new = try command.options("new").map { try ring.publicKey($0) }
      guard !new.isEmpty else { throw UsageError(path: command.path, "which key comes in? give --new KEY") }
      let going = Set(old.isEmpty ? now.keys.compactMap(\.verifyingKey) : old.compactMap(\.verifyingKey))
      for key in old where !now.keys.contains(where: { $0.verifyingKey == key.verifyingKey }) {
        throw CommandFailure("\(key.keyID.prefix(16)) is no key of \(role)", status: .data)
      }
      let kept = now.keys.filter { $0.verifyingKey.map { !going.contains($0) } ?? false }
      let keys = kept + new.filter { key in !kept.contains { $0.verifyingKey == key.verifyingKey } }
      let threshold = try command.integer("threshold", in: 1...1000).map { Int($0) } ?? now.threshold
      wanted = (keys, try RoleKeys.checked(command, threshold, keys))
      try set(role, wanted.keys, wanted.threshold, &draft, expiry)
    }
    try tell(command, draft, role, wanted)
  }

  /// Writes the root's word on what holds when metadata has expired.
  static func policy(_ command: ParsedCommand) throws {
    let grace = try seconds(command, "grace")
    let stale = try seconds(command, "stale")
    guard command.option("grace") != nil || command.option("stale") != nil else {
      throw UsageError(path: command.path, "what shall hold? give --grace TIME, --stale TIME, or both")
    }
    let draft = try RepoChange.perform(command, RepoFolder(path: command.argument("DIR"))) { draft, _, expiry in
      try draft.edit("root", expires: expiry.root) { signed in
        var members = signed.json["skerry"]?.object ?? [:]
        if command.option("grace") != nil { members["graceSeconds"] = grace.map { .integer($0) } }
        if command.option("stale") != nil { members["staleSeconds"] = stale.map { .integer($0) } }
        signed.setSkerry(members.isEmpty ? nil : .object(members))
      }
    }
    try RepoChange.tell(
      command, draft,
      "policy: grace \(command.option("grace") ?? "as before"), stale \(command.option("stale") ?? "as before")")
  }

  /// Nil for `none` (no grace) and `forever` (never too stale).
  private static func seconds(_ command: ParsedCommand, _ option: String) throws -> Int64? {
    let none = option == "grace" ? "none" : "forever"
    return command.option(option) == none ? nil : try command.seconds(option)
  }

  private static func current(_ role: String, _ draft: RepoDraft) throws -> (keys: [TUFKey], threshold: Int) {
    guard let need = try draft.staging.needs(role).last else {
      throw CommandFailure(
        "the repository has no role \(role)", hint: "see: skerry repo status \(draft.folder.path)", status: .noInput)
    }
    return (need.roleKeys.keyIDs.compactMap { need.keys[$0] }, need.roleKeys.threshold)
  }

  private static func set(
    _ role: String, _ keys: [TUFKey], _ threshold: Int, _ draft: inout RepoDraft, _ expiry: RepoExpiry
  ) throws {
    if let top = TUFRole(rawValue: role) {
      try draft.edit("root", expires: expiry.root) { $0.set(top, keys: keys, threshold: threshold) }
      return
    }
    for (name, delegated, from) in try draft.staging.delegators(of: role) {
      let delegation: TUFDelegation
      if let bins = from.delegations?.bins {
        delegation = TUFDelegation(
          name: bins.namePrefix, keys: keys, threshold: threshold, paths: .succinct(bits: bins.bitLength))
      } else {
        delegation = TUFDelegation(
          name: role, keys: keys, threshold: threshold,
          paths: delegated.patterns.map { .patterns($0) } ?? .hashPrefixes(delegated.hashPrefixes ?? []),
          isTerminating: delegated.isTerminating)
      }
      try draft.edit(name, expires: expiry.targets) { try $0.set(delegation) }
    }
  }

  private static func tell(
    _ command: ParsedCommand, _ draft: RepoDraft, _ role: String, _ wanted: (keys: [TUFKey], threshold: Int)
  ) throws {
    try RepoChange.tell(
      command, draft, "\(role): \(wanted.threshold) of \(wanted.keys.count) keys must sign",
      [
        "role": .string(role), "keys": .array(wanted.keys.map { .string($0.keyID) }),
        "threshold": .integer(Int64(wanted.threshold)),
      ])
  }
}
