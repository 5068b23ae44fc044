import Access
import CommandLine
import Trust

private let roleArgument = ArgumentSpec("ROLE", "the role's name", completion: .names("roles"))
private let subjectArgument = ArgumentSpec(
  "SUBJECT", "who: uid:1000, user:alice, gid:27, group:staff, token:app1, or local for anybody on the socket",
  completion: .names("subjects"))

let roleNoun = Noun(
  CommandSpec(
    "role", "show roles and say who holds them",
    subcommands: [
      CommandSpec("list", "list the roles and who holds them"),
      CommandSpec("show", "show what one role allows", arguments: [roleArgument]),
      CommandSpec(
        "bind", "give a role to somebody", arguments: [roleArgument, subjectArgument],
        examples: [Example("skerry role bind chat token:app1", "the holder of that token may ask any model")]),
      CommandSpec("unbind", "take a role from somebody", arguments: [roleArgument, subjectArgument]),
      CommandSpec(
        "explain", "say whether somebody may do something, by which rule, or what would allow it",
        arguments: [
          subjectArgument,
          ArgumentSpec("VERB", "what they want to do", completion: .choices(Verb.allCases.map(\.rawValue))),
          ArgumentSpec("RESOURCE", "to what: KIND:NAME, such as model:smollm2"),
        ],
        options: [
          OptionSpec("time", value: "TIME", "at this time instead of now: \"mon 08:30\""),
          OptionSpec("address", value: "ADDRESS", "from this address on the network"),
          OptionSpec("tokens", value: "N", "with so many tokens of prompt and answer"),
        ],
        examples: [Example("skerry role explain user:alice infer model:smollm2", "may alice ask that model?")]),
      roleSimulateSpec, roleWhoCanSpec,
      CommandSpec("what-may", "list what somebody may do", arguments: [subjectArgument]),
      roleConflictsSpec, roleLintSpec, roleDecideSpec, rolePolicySpec,
    ]),
  [
    "list": roleList, "show": roleShow, "bind": roleBind, "unbind": roleUnbind, "explain": roleExplain,
    "simulate": roleSimulate, "who-can": roleWhoCan, "what-may": roleWhatMay, "conflicts": roleConflicts,
    "lint": roleLint, "decide": roleDecide, "policy": rolePolicy,
  ])

private let roleList: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/roles")
  invocation.answer(answer) {
    var table = Table("role", "held by", "allows")
    for role in answer.list("roles") {
      table.add(role.text("name"), holders(of: role.text("name"), answer).joined(separator: ", "), role.text("summary"))
    }
    return table.render()
  }
}

private let roleShow: Runner = { invocation in
  let name = invocation.argument("ROLE")
  let answer = try await invocation.agent.json("GET", "/skerry/v1/roles")
  guard let role = answer.list("roles").first(where: { $0["name"]?.string == name }) else {
    let known = answer.list("roles").map { $0.text("name") }.joined(separator: ", ")
    throw CommandFailure("there is no role \(name)", hint: "the roles are: \(known)", status: .noInput)
  }
  invocation.answer(role) {
    func rules(_ name: String) -> String? {
      let listed = role.list(name).map { rule in
        "\(rule.strings("verbs").joined(separator: ", ")) on \(rule.strings("resources").joined(separator: ", "))"
          + (rule["when"]?.string.map { " when \($0)" } ?? "") + (rule["unless"]?.string.map { " unless \($0)" } ?? "")
      }
      return listed.isEmpty ? nil : listed.joined(separator: "\n")
    }
    let holders = holders(of: name, answer)
    return facts([
      ("role", name), ("summary", role.text("summary")),
      ("inherits", role.strings("inherits").isEmpty ? nil : role.strings("inherits").joined(separator: ", ")),
      ("allows", rules("allow") ?? ""), ("forbids", rules("forbid")), ("limits", limitsText(role["limits"])),
      ("for all together", limitsText(role["sharedLimits"])),
      ("held by", holders.isEmpty ? "nobody" : holders.joined(separator: "\n")),
    ])
  }
}

/// What a role or a binding states of limits; nil for nothing.
private func limitsText(_ limits: JSONValue?) -> String? {
  let stated = (limits?.object ?? [:]).sorted { $0.key < $1.key }
  if stated.isEmpty { return nil }
  return stated.map { "\($0.key) \($0.value == .null ? "unlimited" : $0.value.plain)" }.joined(separator: ", ")
}

private func holders(of role: String, _ answer: JSONValue) -> [String] {
  (answer["bindings"]?.array ?? []).filter { $0["role"]?.string == role }.flatMap { binding in
    guard let subject = binding["subject"]?.string else { return binding.strings("subjects") }
    return [limitsText(binding["limits"]).map { "\(subject) (\($0))" } ?? subject]
  }
}

private let roleBind: Runner = { invocation in
  let (role, subject) = (invocation.argument("ROLE"), try subject(invocation))
  let answer = try await invocation.agent.json(
    "POST", "/skerry/v1/bindings", body: ["role": .string(role), "subject": .string(subject)])
  invocation.answer(answer) { "\(subject) holds \(role)\n" }
}

private let roleUnbind: Runner = { invocation in
  let (role, subject) = (invocation.argument("ROLE"), try subject(invocation))
  let answer = try await invocation.agent.json(
    "DELETE", "/skerry/v1/bindings", query: [("role", role), ("subject", subject)])
  invocation.answer(answer) { "\(subject) no longer holds \(role)\n" }
}

private let roleExplain: Runner = { invocation in
  var query = [
    ("subject", try subject(invocation)), ("verb", invocation.argument("VERB")),
    ("resource", invocation.argument("RESOURCE")),
  ]
  for (option, name) in [("time", "time"), ("address", "address"), ("tokens", "contextTokens")] {
    if let value = invocation.command.option(option) { query.append((name, value)) }
  }
  let answer = try await invocation.agent.json("GET", "/skerry/v1/explain", query: query)
  let tree = answer["tree"] ?? .null
  invocation.answer(answer) { Voice.printable(tree.text("text")) + "\n" + drawn(tree) }
}

/// The subject in its own spelling, refused here already when it is none.
func subject(_ invocation: Invocation) throws -> String {
  let text = invocation.argument("SUBJECT")
  guard let subject = Subject.parse(text) else {
    throw CommandFailure("“\(text)” names nobody", hint: "write one of: \(Subject.allowed)", status: .data)
  }
  return subject.description
}
