import CommandLine
import Trust

let roleSimulateSpec = CommandSpec(
  "simulate", "try a policy file on the decisions of the last days; nothing changes",
  discussion: """
    Reads the recorded decisions again with FILE in the place of roles.json5 and lists each that would come out otherwise. \
    Callers have the groups and scopes that they have today; addresses and the length of requests are not recorded, so that \
    conditions on them let nobody in. A decision that the policy in force does not make as it was recorded is marked.
    """,
  arguments: [ArgumentSpec("FILE", "the policy: a roles.json5, or a fleet's (see repo access)", completion: .files)],
  options: [OptionSpec("days", value: "N", "how far back", default: "7")],
  examples: [Example("skerry role simulate new-roles.json5 --days 30", "what would have been different")])

let roleSimulate: Runner = { invocation in
  let days = try invocation.command.integer("days", in: 1...4000) ?? 7
  let file = invocation.argument("FILE")
  guard let text = String(validating: try readFile(file, limit: 1 << 20), as: UTF8.self) else {
    throw CommandFailure("\(file) is no text in UTF-8", status: .data)
  }
  let answer = try await invocation.agent.json(
    "POST", "/skerry/v1/roles/simulate", body: ["policy": .string(text), "days": .integer(days)],
    timeout: .seconds(600))
  invocation.answer(answer) {
    let changes = answer.list("changes")
    let replayed = answer["replayed"]?.integer ?? 0
    guard !changes.isEmpty else { return "none of \(replayed) decisions would come out otherwise\n" }
    var table = Table("who", "what", "was", "would be", "times", "because", right: ["times"])
    for change in changes {
      let was = change["wasAllowed"]?.bool == true
      let isSure = change["isAllowedNow"]?.bool == was
      table.add(
        change.text("caller"), "\(change.text("verb")) on \(change.text("resource"))", was ? "allowed" : "denied",
        (was ? "denied" : "allowed") + (isSure ? "" : " (in force too)"), change.text("times"), change.text("reason"))
    }
    let unlisted = answer["unlisted"]?.integer ?? 0
    return table.render() + "of \(replayed) decisions" + (unlisted > 0 ? "; \(unlisted) more are not listed\n" : "\n")
  }
}
