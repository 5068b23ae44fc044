import CommandLine
import FoundationEssentials
import Host
import Trust

/// Which records are asked for: the same options for a list, a tail and an export.
let auditSelectionOptions = [
  OptionSpec("since", value: "TIME", "from then on: 2026-11-24, 2026-11-24T10:00:00Z, or how long ago, such as 24h"),
  OptionSpec("until", value: "TIME", "before then"),
  OptionSpec("subject", value: "WHO", "who did it: token:app1, uid:1000"),
  OptionSpec("model", value: "NAME", "which model"),
  OptionSpec("outcome", value: "WORD", "how it ended: allowed, denied, completed, cancelled, failed"),
  OptionSpec("kind", value: "KIND", "what it was: decision, inference, token, sync, start, …"),
]

extension Invocation {
  /// The selection as the agent's API takes it.
  func auditSelection(now: Int64) throws -> [(String, String)] {
    var query: [(String, String)] = []
    for name in ["since", "until"] {
      if let text = command.option(name) { query.append((name, "\(try moment(text, name, now: now))")) }
    }
    for name in ["subject", "model", "outcome", "kind"] {
      if let text = command.option(name) { query.append((name, text)) }
    }
    return query
  }

  /// Unix milliseconds.
  func moment(_ text: String, _ option: String, now: Int64) throws -> Int64 {
    let date = try? Date(text, strategy: .iso8601)
    let day = date == nil ? try? Date(text + "T00:00:00Z", strategy: .iso8601) : nil
    if let date = date ?? day { return max(0, Int64(date.timeIntervalSince1970 * 1000)) }
    guard let ago = try? command.seconds(option) else {
      throw CommandFailure(
        "--\(option): \(text) is no time", hint: "write 2026-11-24, 2026-11-24T10:00:00Z, or how long ago, such as 24h",
        status: .usage)
    }
    return max(0, (now - ago) * 1000)
  }
}

let auditSearchSpec = CommandSpec(
  "search", "find entries by who, which model, how it ended and when, the newest first",
  options: auditSelectionOptions + [OptionSpec("limit", short: "n", value: "N", "how many", default: "100")],
  examples: [Example("skerry audit search --subject token:app1 --outcome denied", "what was that program refused?")])

let auditSearch: Runner = { invocation in
  let limit = try invocation.command.integer("limit", in: 1...10_000) ?? 100
  let query = try invocation.auditSelection(now: Clock.unixTime()) + [("limit", "\(limit)")]
  let answer = try await invocation.agent.json("GET", "/skerry/v1/audit/search", query: query)
  invocation.answer(answer) { recordTable(answer.list("entries")) }
}

let auditTailSpec = CommandSpec(
  "tail", "show entries as they are written, until interrupted",
  options: auditSelectionOptions + [
    OptionSpec("from", value: "N", "begin with this entry; without it, with the next one")
  ],
  examples: [Example("skerry audit tail --outcome denied", "watch refusals; with --json, one object a line")])

let auditTail: Runner = { invocation in
  var query = try invocation.auditSelection(now: Clock.unixTime())
  if let from = try invocation.command.integer("from", in: 0...Int64.max) { query.append(("from", "\(from)")) }
  try await invocation.agent.events("GET", "/skerry/v1/audit/tail", query: query) { record in
    if invocation.json {
      invocation.console.say(record.encoded() + [0x0A])
    } else {
      let time = record["t"]?.integer.map { timestamp($0 / 1000) } ?? ""
      let words = [record.text("n"), time, record.text("kind"), record.text("actor"), recordDetails(record)]
      invocation.console.say(Voice.printable(words.joined(separator: "  ")) + "\n")
    }
  }
}
