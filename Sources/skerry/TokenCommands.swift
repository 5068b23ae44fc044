import Access
import CommandLine
import Host
import Trust

let tokenNoun = Noun(
  CommandSpec(
    "token", "handle tokens for applications that call over TCP",
    subcommands: [
      CommandSpec(
        "create", "create a token and show it, once",
        discussion: """
          The token goes to standard output and nothing else does. The agent keeps only its digest; nobody can show it \
          again.
          """,
        arguments: [ArgumentSpec("NAME", "what the application is called")],
        options: [
          OptionSpec(
            "role", short: "r", value: "ROLE", "a role that the token's holder gets", repeats: true,
            completion: .names("roles")),
          OptionSpec(
            "scope", short: "s", value: "SCOPE",
            "narrow the token below its roles: VERB, or VERB:KIND:NAME with stars in the name", repeats: true),
          OptionSpec(
            "expires", value: "TIME", "how long it is good for, such as 12h or 90d; without it, until revoked"),
        ],
        examples: [
          Example("skerry token create app1 --role chat", "a token that may ask any model"),
          Example(
            "skerry token create kiosk --role chat --scope infer:model:qwen3-* --expires 90d",
            "one that may ask those models and do nothing else, for 90 days"),
        ]),
      CommandSpec("list", "list the tokens, without their secrets"),
      CommandSpec(
        "revoke", "make a token worthless at once",
        arguments: [ArgumentSpec("NAME", "the token's name", completion: .names("tokens"))]),
    ]),
  ["create": tokenCreate, "list": tokenList, "revoke": tokenRevoke])

private let tokenCreate: Runner = { invocation in
  var body: [String: JSONValue] = [
    "name": .string(invocation.argument("NAME")),
    "roles": .array(invocation.command.options("role").map { .string($0) }),
  ]
  let scope = invocation.command.options("scope")
  if let bad = scope.first(where: { Scope.Grant($0) == nil }) {
    throw CommandFailure(Scope.BadWord(word: bad).description, status: .data)
  }
  if !scope.isEmpty { body["scope"] = .array(scope.map { .string($0) }) }
  if let seconds = try invocation.command.seconds("expires") { body["expiresInSeconds"] = .integer(seconds) }
  let answer = try await invocation.agent.json("POST", "/skerry/v1/tokens", body: .object(body))
  invocation.answer(answer) { answer.text("token") + "\n" }
  guard !invocation.json else { return }
  invocation.console.note("this is the only time that the token is shown; keep it where only the application reads it")
  if invocation.command.options("role").isEmpty {
    invocation.console.note("it may do nothing yet: skerry role bind ROLE token:\(invocation.argument("NAME"))")
  }
}

private let tokenList: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/tokens")
  let now = Clock.unixTime()
  invocation.answer(answer) {
    let tokens = answer.list("tokens")
    guard !tokens.isEmpty else { return "no tokens\n" }
    var table = Table("name", "roles", "narrowed to", "created", "expires", "last use")
    for token in tokens {
      let expires = token["expires"]?.integer ?? token["expiresAt"]?.integer
      let created = token["created"]?.integer ?? token["createdAt"]?.integer
      table.add(
        token.text("name"), token.strings("roles").joined(separator: ", "),
        token.strings("scope").joined(separator: ", "), created.map(timestamp) ?? "",
        expires.map { token["ended"]?.bool ?? ($0 < now) ? "expired \(timestamp($0))" : timestamp($0) } ?? "never",
        token["lastUse"]?.integer.map(timestamp) ?? "never")
    }
    return table.render()
  }
}

private let tokenRevoke: Runner = { invocation in
  let name = invocation.argument("NAME")
  let answer = try await invocation.agent.json("DELETE", path("/skerry/v1/tokens", name))
  invocation.answer(answer) { "\(name) is revoked\n" }
}
