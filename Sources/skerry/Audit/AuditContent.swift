import CommandLine
import Host
import Trust

let auditContentSpec = CommandSpec(
  "content", "show what was kept of an inference: what was asked and answered",
  discussion: """
    A role's policy can ask to keep prompts and answers for some days (keepContent in roles.json5). They lie encrypted \
    outside the log; no export has them. Who looks is on record.
    """,
  arguments: [ArgumentSpec("N", "the number of the inference's record")])

let auditContent: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", path("/skerry/v1/audit/content", invocation.argument("N")))
  invocation.answer(answer) {
    String(
      decoding: JSONValue.object((answer.object ?? [:]).filter { $0.key != "record" }).encodedPretty(), as: UTF8.self)
  }
}

let auditEraseSpec = CommandSpec(
  "erase", "erase what was kept of prompts and answers; the log's proofs hold without it",
  options: [
    OptionSpec("before", value: "TIME", "kept before then: 2026-11-24, or how long ago, such as 24h"),
    OptionSpec("record", value: "N", "of this inference"),
    OptionSpec("subject", value: "WHO", "of all that they asked: token:app1, uid:1000"),
  ],
  examples: [Example("skerry audit erase --subject token:app1", "and what that program asked can't be read any more")])

let auditErase: Runner = { invocation in
  var body: [String: JSONValue] = [:]
  if let text = invocation.command.option("before") {
    body["before"] = .integer(try invocation.moment(text, "before", now: Clock.unixTime()) / 1000)
  }
  if let index = try invocation.command.integer("record", in: 0...Int64.max) { body["record"] = .integer(index) }
  if let subject = invocation.command.option("subject") { body["subject"] = .string(subject) }
  guard body.count == 1 else {
    throw UsageError(path: invocation.command.path, "whose? give one of --before, --record and --subject")
  }
  let answer = try await invocation.agent.json("POST", "/skerry/v1/audit/erase", body: .object(body))
  invocation.answer(answer) {
    let count = answer["erased"]?.integer ?? 0
    return count == 0
      ? "nothing of that is kept\n" : "erased: the content of \(count) inference\(count == 1 ? "" : "s")\n"
  }
}
