import Access
import CommandLine
import Trust

let roleWhoCanSpec = CommandSpec(
  "who-can", "list who may do something, by which role and under which conditions",
  arguments: [
    ArgumentSpec("VERB", "what is to be done", completion: .choices(Verb.allCases.map(\.rawValue))),
    ArgumentSpec("RESOURCE", "to what: KIND:NAME, such as model:smollm2"),
  ], examples: [Example("skerry role who-can role.manage 'role:*'", "the administrators")])

let roleConflictsSpec = CommandSpec(
  "conflicts", "list the roles that nobody may hold, or have active, together")

let roleWhoCan: Runner = { invocation in
  let query = [("verb", invocation.argument("VERB")), ("resource", invocation.argument("RESOURCE"))]
  let answer = try await invocation.agent.json("GET", "/skerry/v1/review/who-can", query: query)
  invocation.answer(answer) {
    var table = Table("subject", "role", "rule", "unless forbidden")
    for one in answer.list("subjects") {
      table.add(
        one.text("subject"), one.text("role"), one.text("rule"), one.strings("forbids").joined(separator: "; "))
    }
    return table.render()
  }
}

let roleWhatMay: Runner = { invocation in
  let answer = try await invocation.agent.json(
    "GET", "/skerry/v1/review/what-may", query: [("subject", try subject(invocation))])
  invocation.answer(answer) {
    func lines(_ name: String) -> String? {
      let listed = answer.strings(name)
      return listed.isEmpty ? nil : listed.joined(separator: "\n")
    }
    return facts([
      ("holds", lines("held") ?? "no role"), ("active", lines("active") ?? "none"), ("note", answer["note"]?.string),
      ("may", lines("permits") ?? "nothing"), ("may not", lines("forbids")),
    ])
  }
}

let roleConflicts: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/review/conflicts")
  invocation.answer(answer) {
    var table = Table("role", "and role", "not", "by")
    for one in answer.list("conflicts") {
      let roles = one.strings("roles")
      table.add(
        roles.first ?? "", roles.last ?? "", one.text("kind") == "static" ? "held together" : "active together",
        one.text("set"))
    }
    return table.render()
  }
}

/// A tree as `tree` draws it.
func drawn(_ node: JSONValue, _ indent: String = "") -> String {
  let children = node.list("children")
  return children.enumerated().map { at, child in
    let isLast = at == children.count - 1
    let line = indent + (isLast ? "└─ " : "├─ ") + Voice.printable(child.text("text")) + "\n"
    return line + drawn(child, indent + (isLast ? "   " : "│  "))
  }.joined()
}
