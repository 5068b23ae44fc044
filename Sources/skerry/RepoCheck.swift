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
    var targets: [TUFTarget]
    if let folder = source.folder, command.option("root") == nil, command.option("state") == nil,
      !DurableFile.exists(folder.metadata + "/timestamp.json")
    {
      // A publisher's folder whose snapshot and timestamp are the hub's to sign: what is here can be checked.
      let contents = try folder.load()
      let now = Date()
      for case let document? in TUFRole.allCases.map(contents.document) where document.expires <= now {
        throw TUFError.expired(role: document.role.rawValue, since: document.expires)
      }
      trusted = contents.trusted
      targets = contents.models
    } else {
      trusted = try await refresh(command, source)
      targets = trusted.targets
    }
    var counts = RepoObjects.Counts()
    if !command.flag("metadata-only") {
      let progress = ProgressBar(hidden: command.flag("json"))
      for target in targets { try await RepoObjects.verify(target, source, progress, &counts) }
      progress.finish()
    }
    tell(command, trusted, targets, counts)
  }

  /// The client workflow, beginning with the state folder's root, or `--root`, or the folder's own first root.
  private static func refresh(_ command: ParsedCommand, _ source: RepoSource) async throws -> TrustedMetadata {
    let state = command.option("state")
    func kept(_ file: String) throws -> [UInt8]? { try state.flatMap { try DurableFile.read("\($0)/\(file)") } }
    if let state { try DurableFile.makeDirectory(state) }
    var root = try kept("root.json")
    if root == nil {
      root = try await firstRoot(command, source)
      if let state, let root { try DurableFile.replace("\(state)/root.json", with: root) }
    }
    guard let root else { throw TUFError.missing(file: "1.root.json") }
    let local = TUFLocalState(
      root: root, timestamp: try kept("timestamp.json"), snapshot: try kept("snapshot.json"),
      targets: try kept("targets.json"))
    return try await TUFWorkflow.refresh(
      local: local, now: Date(),
      fetch: { file, maximum in try await source.read("metadata/\(file)", limit: maximum) },
      persist: { file, bytes in
        guard let state else { return }
        if let bytes {
          try DurableFile.replace("\(state)/\(file)", with: bytes)
        } else {
          try DurableFile.remove("\(state)/\(file)")
        }
      })
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
    _ command: ParsedCommand, _ trusted: TrustedMetadata, _ targets: [TUFTarget], _ counts: RepoObjects.Counts
  ) {
    let versions = [
      ("root", trusted.rootVersion), ("timestamp", trusted.timestampVersion), ("snapshot", trusted.snapshotVersion),
      ("targets", trusted.targetsVersion),
    ]
    guard !command.flag("json") else {
      let known = versions.compactMap { name, version in version.map { (name, JSONValue.integer($0)) } }
      Voice.say(
        JSONValue.object([
          "ok": true, "versions": .object(Dictionary(uniqueKeysWithValues: known)),
          "targets": .array(
            targets.map {
              [
                "path": .string($0.path), "length": .integer(Int64(clamping: $0.length)),
                "sha256": $0.sha256.map { .string($0.hex) } ?? .null,
              ]
            }),
          "models": .integer(Int64(counts.models)), "chunks": .integer(Int64(counts.chunks)),
        ]).encodedPretty())
      return
    }
    for case (let name, let version?) in versions {
      Voice.line("\(name) version \(version): signatures, version and expiry are right")
    }
    for skipped in counts.skipped { Voice.note("skipped: \(skipped)") }
    if !command.flag("metadata-only") {
      let models = counts.models == 1 ? "1 model" : "\(counts.models) models"
      Voice.line("\(models): every index, \(counts.chunks) chunks and the whole files have the signed digests")
    }
  }
}
