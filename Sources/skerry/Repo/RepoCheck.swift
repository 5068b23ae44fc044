import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo check`: the client's own workflow over a folder or an address, then every index and chunk.
enum RepoCheck {
  static func run(_ command: ParsedCommand) async throws {
    let source = try RepoSource(command.argument("DIR|URL"), pin: command.option("pin"))
    do {
      try await check(command, source)
      await source.close()
    } catch {
      await source.close()
      throw error
    }
  }

  private static func check(_ command: ParsedCommand, _ source: RepoSource) async throws {
    var trusted: TrustedMetadata
    let tree: TUFTargetsTree
    if let folder = source.folder, command.option("root") == nil, command.option("state") == nil,
      !DurableFile.exists(folder.metadata + "/timestamp.json")
    {
      // A publisher's folder whose snapshot and timestamp are the hub's to sign: what is here can be checked.
      let contents = try folder.load()
      let now = Date()
      for role in contents.roles {
        guard let document = contents.document(role), document.expires <= now else { continue }
        throw TUFError.expired(role: role, since: document.expires)
      }
      guard let found = contents.tree else { throw TUFError.missing(file: "targets.json") }
      trusted = contents.trusted
      tree = found
    } else {
      let state = State(path: command.option("state"))
      let now = Date()
      trusted = try await refresh(command, source, state, now)
      tree = try await TUFWorkflow.enumerate(
        &trusted, now: now, local: { try state.kept($0) },
        fetch: { file, maximum in try await source.read("metadata/\(file)", limit: maximum) },
        persist: { try state.keep($0, $1) })
    }
    if let problem = tree.problems.first {
      throw CommandFailure("the list of \(problem.role) is not good: \(problem.reason)", status: .data)
    }
    let targets = tree.reachable()
    var counts = RepoObjects.Counts()
    if !command.flag("metadata-only") {
      let progress = ProgressBar(hidden: command.flag("json"))
      for (_, target) in targets { try await RepoObjects.verify(target, source, progress, &counts) }
      progress.finish()
    }
    tell(command, trusted, tree, targets, counts)
  }

  /// What earlier checks trusted, if somebody wants it kept.
  private struct State {
    let path: String?
    func kept(_ file: String) throws -> [UInt8]? { try path.flatMap { try DurableFile.read("\($0)/\(file)") } }
    func keep(_ file: String, _ bytes: [UInt8]?) throws {
      guard let path else { return }
      if let bytes {
        try DurableFile.replace("\(path)/\(file)", with: bytes)
      } else {
        try DurableFile.remove("\(path)/\(file)")
      }
    }
  }

  /// The client workflow, beginning with the state folder's root, or `--root`, or the folder's own first root.
  private static func refresh(
    _ command: ParsedCommand, _ source: RepoSource, _ state: State, _ now: Date
  ) async throws -> TrustedMetadata {
    if let path = state.path { try DurableFile.makeDirectory(path) }
    var root = try state.kept("root.json")
    if root == nil {
      root = try await firstRoot(command, source)
      try state.keep("root.json", root)
    }
    guard let root else { throw TUFError.missing(file: "1.root.json") }
    let local = TUFLocalState(
      root: root, timestamp: try state.kept("timestamp.json"), snapshot: try state.kept("snapshot.json"),
      targets: try state.kept("targets.json"))
    return try await TUFWorkflow.refresh(
      local: local, now: now,
      fetch: { file, maximum in try await source.read("metadata/\(file)", limit: maximum) },
      persist: { try state.keep($0, $1) })
  }

  private static func firstRoot(_ command: ParsedCommand, _ source: RepoSource) async throws -> [UInt8]? {
    if let file = command.option("root") {
      guard let bytes = try DurableFile.read(file) else {
        throw CommandFailure("there is no root metadata at \(file)", status: .noInput)
      }
      return bytes
    }
    guard source.folder != nil else {
      throw UsageError(
        path: command.path, "an address is checked against a root that you trust already",
        hint: "give --root FILE with the repository's 1.root.json")
    }
    return try await source.read("metadata/1.root.json", limit: TUFWorkflow.Limits().root)
  }

  private static func tell(
    _ command: ParsedCommand, _ trusted: TrustedMetadata, _ tree: TUFTargetsTree,
    _ targets: [(role: String, target: TUFTarget)], _ counts: RepoObjects.Counts
  ) {
    var versions: [(String, Int64?)] = [
      ("root", trusted.rootVersion), ("timestamp", trusted.timestampVersion), ("snapshot", trusted.snapshotVersion),
      ("targets", tree.top.document.version),
    ]
    if trusted.timestampVersion == nil { versions[3].1 = trusted.targetsVersion }
    let delegated = tree.roleNames.map { ($0, tree.delegated[$0]?.document.version) }
    guard !command.flag("json") else {
      let known = versions.compactMap { name, version in version.map { (name, JSONValue.integer($0)) } }
      Voice.say(
        JSONValue.object([
          "ok": true, "versions": .object(Dictionary(uniqueKeysWithValues: known)),
          "delegated": .object(
            Dictionary(uniqueKeysWithValues: delegated.map { name, version in (name, .integer(version ?? 0)) })),
          "targets": .array(
            targets.map { role, target in
              var fields: [String: JSONValue] = [
                "path": .string(target.path), "length": .integer(Int64(clamping: target.length)),
                "sha256": target.sha256.map { .string($0.hex) } ?? .null,
              ]
              if role != "targets" { fields["role"] = .string(role) }
              return .object(fields)
            }),
          "models": .integer(Int64(counts.models)), "chunks": .integer(Int64(counts.chunks)),
        ]).encodedPretty())
      return
    }
    for case (let name, let version?) in versions {
      Voice.line("\(name) version \(version): signatures, version and expiry are right")
    }
    for (name, version) in delegated { Voice.line("\(name) version \(version ?? 0): as its delegator demands") }
    for skipped in counts.skipped { Voice.note("skipped: \(skipped)") }
    if !command.flag("metadata-only") {
      let models = counts.models == 1 ? "1 model" : "\(counts.models) models"
      Voice.line("\(models): every index, \(counts.chunks) chunks and the whole files have the signed digests")
    }
  }
}
