import CommandLine
import FoundationEssentials
import Host
import Trust

let usageNoun = Noun(
  CommandSpec(
    "usage", "show who used how much of which model",
    discussion: """
      Adds up what the audit log says of answers: requests, tokens of prompts (and how many of them were cached), tokens \
      that were generated, and engine time. Days are UTC's.
      """,
    options: [
      OptionSpec(
        "by", value: "WHAT", "what to tell apart: any of day, caller, role, model, sha256, with commas",
        default: "day,model"),
      OptionSpec("since", value: "DAY", "the first day, YYYY-MM-DD, or how long ago, such as 7d", default: "29d"),
      OptionSpec("until", value: "DAY", "the last day, YYYY-MM-DD"),
      OptionSpec("caller", value: "NAME", "of this caller alone, such as token:app1"),
      OptionSpec("mine", "your own alone"),
      OptionSpec("csv", "print comma-separated values (RFC 4180)"),
    ],
    examples: [
      Example("skerry usage --by caller --since 7d", "who used most within a week"),
      Example("skerry usage --by day,caller,model --csv", "for a spreadsheet"),
    ])
) { invocation in
  let command = invocation.command
  var query = [("by", command.option("by") ?? "day,model")]
  if let since = command.option("since") { query.append(("since", try usageDay(since, "since"))) }
  if let until = command.option("until") { query.append(("until", try usageDay(until, "until"))) }
  if let caller = command.option("caller") { query.append(("caller", caller)) }
  if command.flag("mine") { query.append(("mine", "true")) }
  let answer = try await invocation.agent.json("GET", "/skerry/v1/usage", query: query)
  if command.flag("csv"), !invocation.json {
    invocation.console.say(usageCSV(answer))
  } else {
    invocation.answer(answer) { usageText(answer) }
  }
}

/// `2026-11-23` as it is, `7d` as the day so many days ago.
private func usageDay(_ text: String, _ option: String) throws -> String {
  if TUFTime.parse(text + "T00:00:00Z") != nil { return text }
  guard text.hasSuffix("d"), let days = Int64(text.dropLast()), (0...36_500).contains(days) else {
    throw UsageError(
      path: ["usage"], "--\(option) takes a day such as 2026-11-23, or a number of days such as 7d, not “\(text)”")
  }
  return String(timestamp(Clock.unixTime() - days * 86_400).prefix(10))
}

private let usageNumbers = [
  "requests", "failed", "cancelled", "promptTokens", "cachedTokens", "completionTokens", "milliseconds",
]

func usageText(_ answer: JSONValue) -> String {
  let columns = answer.strings("by")
  let rows = answer.list("rows")
  if rows.isEmpty { return "nothing was used from \(answer.text("since")) to \(answer.text("until"))\n" }
  let heads = columns + ["requests", "failed", "cancelled", "prompt", "cached", "generated", "engine s"]
  var table = Table(heads, right: Set(heads.dropFirst(columns.count)))
  func add(_ names: [String], _ row: JSONValue) {
    let numbers = usageNumbers.dropLast().map { row.text($0) }
    table.add(names + numbers + ["\((row["milliseconds"]?.integer ?? 0) / 1000)"])
  }
  for row in rows {
    add(columns.map { $0 == "sha256" ? String(row.text($0).prefix(12)) : row.text($0) }, row)
  }
  if rows.count > 1, let total = answer["total"] {
    add(columns.isEmpty ? [] : ["total"] + columns.dropFirst().map { _ in "" }, total)
  }
  return table.render()
}

/// Comma-separated values with a header (RFC 4180). A cell that a spreadsheet would take for a formula begins with an
/// apostrophe: callers choose some of what stands here.
func usageCSV(_ answer: JSONValue) -> String {
  let columns = answer.strings("by") + ["completed"] + usageNumbers
  func cell(_ value: JSONValue?) -> String {
    if let number = value?.integer { return String(number) }
    var text = value?.plain ?? ""
    if let first = text.first, "=+-@".contains(first) { text = "'" + text }
    guard text.contains(where: { [",", "\"", "\r", "\n", "\r\n"].contains($0) }) else { return text }
    return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }
  let lines =
    [columns.joined(separator: ",")]
    + answer.list("rows").map { row in
      columns.map { cell(row[$0]) }.joined(separator: ",")
    }
  return lines.map { $0 + "\r\n" }.joined()
}
