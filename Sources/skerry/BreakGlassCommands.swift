import CommandLine
import Host
import Trust

let breakGlassNoun = Noun(
  CommandSpec(
    "break-glass", "open this box in an emergency, with a sealed code of the hub's",
    subcommands: [
      CommandSpec(
        "open", "give a sealed code and get its role for a short time",
        discussion: """
          The code is asked for on the terminal, or read from the first line of standard input or of --code-file, so that \
          it is in no list of processes. The reason goes into the audit log before anything opens, and to the hub at the \
          next sync. Where the grant asks for two persons, each gives their own code, as another user of this box; the \
          first gets the role.
          """,
        options: [
          OptionSpec("reason", value: "TEXT", "why, in 8 to 500 characters"),
          OptionSpec("code-file", value: "FILE", "holds the code", completion: .files),
        ],
        examples: [
          Example("skerry break-glass open --reason locked-out-ticket-4711", "asks for the code, then opens")
        ]),
      CommandSpec("status", "show which codes this box would take, and what is open"),
      CommandSpec("close", "give back what was lent to you, before its time"),
    ]),
  ["open": breakGlassOpen, "status": breakGlassStatus, "close": breakGlassClose])

private let breakGlassOpen: Runner = { invocation in
  guard let reason = invocation.command.option("reason") else {
    throw UsageError(path: invocation.command.path, "why? give --reason TEXT")
  }
  let answer = try await invocation.agent.json(
    "POST", "/skerry/v1/break-glass", body: ["code": .string(try code(invocation)), "reason": .string(reason)])
  invocation.answer(answer) {
    let lasts = Readable.seconds(answer["seconds"]?.integer ?? 0)
    if answer["state"]?.string == "waiting" {
      return "\(answer.text("id")) waits for the second person's code, for \(lasts)\n"
    }
    return "\(answer.text("id")) is open: you hold \(answer.text("role")) for \(lasts)\n"
  }
}

private func code(_ invocation: Invocation) throws -> String {
  if let file = invocation.command.option("code-file") {
    return trimmed(String(decoding: try readFile(file, limit: 4096), as: UTF8.self))
  }
  if Terminal.input.isTTY { return try RepoPassphrase.ask("code: ") }
  guard let line = readLine(), !trimmed(line).isEmpty else {
    throw CommandFailure("no code was given", hint: "type it, or give --code-file FILE", status: .noInput)
  }
  return trimmed(line)
}

private let breakGlassStatus: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/break-glass")
  invocation.answer(answer) {
    let grants = answer.list("grants")
    guard !grants.isEmpty else { return "this box knows of no codes\n" }
    var table = Table("id", "state", "role", "persons", "lasts", "good until", "issued by", "lent to")
    for grant in grants {
      table.add(
        grant.text("id"), grant.text("state"), grant.text("role"), grant.text("persons"),
        Readable.seconds(grant["seconds"]?.integer ?? 0), grant["expires"]?.integer.map(timestamp) ?? "",
        grant.text("issuedBy"), grant["lentTo"]?.string ?? "")
    }
    return table.render()
  }
}

private let breakGlassClose: Runner = { invocation in
  let answer = try await invocation.agent.json("DELETE", "/skerry/v1/break-glass")
  invocation.answer(answer) { "\(answer.strings("closed").joined(separator: ", ")) is closed\n" }
}
