import CommandLine
import Host
import Storage
import Trust

/// `skerry repo gc`: takes away what no list of models names any more.
enum RepoGC {
  static let spec = CommandSpec(
    "gc", "removes chunks, indexes and signatures that no list names any more",
    discussion: """
      What the newest or staged metadata names stays. What older metadata names stays until the newer is older than the \
      grace period, for readers who are still at it; and no file goes that is younger than that itself.
      """,
    arguments: [ArgumentSpec("DIR", "the repository's folder", completion: .directories)],
    options: [
      OptionSpec("grace", value: "TIME", "how long removed models stay for readers", default: "7d"),
      OptionSpec("dry-run", "only say what would go"),
    ])

  static func run(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    // Whatever a killed command left is finished first, and a folder that is no repository is refused.
    _ = try folder.load()
    let isDryRun = command.flag("dry-run")
    let garbage = RepositoryGarbage(root: folder.path, grace: try command.seconds("grace") ?? 7 * 86_400)
    let found = try garbage.collect(now: Clock.unixTime(), isDryRun: isDryRun)
    if command.flag("json") { return Voice.say(found.json(isDryRun: isDryRun).encodedPretty()) }
    Voice.line(found.text(isDryRun: isDryRun))
  }
}

extension RepositoryGarbage.Found {
  func json(isDryRun: Bool) -> JSONValue {
    [
      "dryRun": .bool(isDryRun), "chunks": .integer(Int64(chunks)), "indexes": .integer(Int64(indexes)),
      "signatures": .integer(Int64(signatures)), "temporaries": .integer(Int64(temporaries)),
      "bytes": .integer(Int64(clamping: bytes)), "chunksKept": .integer(Int64(kept)),
    ]
  }

  func text(isDryRun: Bool) -> String {
    if isEmpty { return "nothing to remove; \(kept) chunks are needed" }
    return
      "\(isDryRun ? "would remove" : "removed") \(chunks) chunks, \(indexes) indexes and \(signatures) signatures, "
      + "\(Readable.bytes(bytes)); \(kept) chunks are needed"
  }
}
