import CommandLine
import Trust

/// `skerry model pin`, `unpin`, `gc` and `scrub`: what the box keeps.
enum StoreCommands {
  private static let model = ArgumentSpec("MODEL", "NAME:VERSION, or a name", completion: .names("models"))

  static let specs = [
    CommandSpec(
      "pin", "keep a model, whatever else needs room",
      discussion: "Neither the quota nor the garbage collector takes it away.", arguments: [model]),
    CommandSpec("unpin", "let a pinned model go when room is needed", arguments: [model]),
    CommandSpec(
      "gc", "remove files that nobody needs any more",
      discussion: """
        Never what is active, pinned, open in an engine, or the last good version of a name, which is kept for a \
        rollback. A sync does the same by itself.
        """,
      options: [OptionSpec("dry-run", "only say what would go")]),
    CommandSpec(
      "scrub", "show how far the background check of stored files is",
      discussion: "With --now all that is left is read at once; it ends with status 65 when something is damaged.",
      options: [OptionSpec("now", "read everything now")]),
  ]

  static let collect: Runner = { invocation in
    let isDryRun = invocation.command.flag("dry-run")
    let answer = try await invocation.agent.json(
      "POST", "/skerry/v1/store/gc", body: ["dryRun": .bool(isDryRun)], timeout: .seconds(600))
    invocation.answer(answer) { text(collection: answer, isDryRun: isDryRun) }
  }

  static func text(collection answer: JSONValue, isDryRun: Bool) -> String {
    var lines: [String] = []
    let removed = answer.strings("removed")
    let bytes = Readable.bytes(UInt64(max(0, answer["bytes"]?.integer ?? 0)))
    let files = answer["files"]?.integer ?? 0
    if files == 0 && removed.isEmpty {
      lines.append("nothing to remove")
    } else {
      let names = removed.isEmpty ? "" : ": " + removed.joined(separator: ", ")
      lines.append("\(isDryRun ? "would remove" : "removed") \(files) files, \(bytes)\(names)")
    }
    for (model, reason) in (answer["kept"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
      lines.append("kept \(model): \(reason.plain)")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  static let pin: Runner = { try await setPin($0, "pin") }
  static let unpin: Runner = { try await setPin($0, "unpin") }

  private static func setPin(_ invocation: Invocation, _ verb: String) async throws {
    let name = invocation.argument("MODEL")
    let answer = try await invocation.agent.json(
      "POST", path("/skerry/v1/models", name) + "/\(verb)", body: .object([:]))
    invocation.answer(answer) {
      let label = "\(answer.text("name")):\(answer.text("version"))"
      return answer["pinned"]?.bool == true
        ? "\(label) is pinned: it stays, whatever else needs room\n" : "\(label) is no longer pinned\n"
    }
  }

  static let scrub: Runner = { invocation in
    let isNow = invocation.command.flag("now")
    let answer: JSONValue
    if isNow {
      answer = try await invocation.agent.json(
        "POST", "/skerry/v1/store/scrub", body: .object([:]), timeout: .seconds(24 * 3600))
    } else {
      answer = try await invocation.agent.json("GET", "/skerry/v1/store")["scrub"] ?? .null
    }
    invocation.answer(answer) { text(scrub: answer) }
    let damaged = answer.strings("damaged")
    if isNow, !damaged.isEmpty {
      throw CommandFailure(
        "damaged and out of use: \(damaged.joined(separator: ", "))",
        hint: "skerry sync fetches the damaged parts again", status: .data)
    }
  }

  static func text(scrub: JSONValue) -> String {
    func bytes(_ key: String) -> String { Readable.bytes(UInt64(max(0, scrub[key]?.integer ?? 0))) }
    var rows: [(String, String?)] = []
    if scrub["running"]?.bool == true { rows.append(("running", "\(bytes("doneBytes")) of \(bytes("totalBytes"))")) }
    rows.append(("last finished", scrub["finishedAt"]?.integer.map(timestamp) ?? "never"))
    let damaged = scrub.strings("damaged")
    rows.append(("damaged", damaged.isEmpty ? "nothing" : damaged.joined(separator: ", ")))
    return facts(rows)
  }

  /// `model`, or what an adapter belongs to: the base's name where it is here, else the start of its digest.
  static func kind(_ model: JSONValue, _ models: [JSONValue]) -> String {
    guard let base = model["base"]?.string else { return model["kind"]?.string ?? "model" }
    let named = models.first { $0["sha256"]?.string == base }.map { "\($0.text("name")):\($0.text("version"))" }
    return "adapter of \(named ?? "\(base.prefix(12))…, which is not here")"
  }
}
