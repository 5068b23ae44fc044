import CommandLine
import Host
import Trust

private let deviceArgument = ArgumentSpec("DEVICE", "the device's id", completion: .names("devices"))

let hubBreakGlassSpec = CommandSpec(
  "break-glass", "issue sealed codes that open a box in an emergency",
  subcommands: [
    CommandSpec(
      "issue", "make codes for a device and show them, once",
      discussion: """
        The codes go to standard output; print them, seal each in an envelope, and keep them where the box is. The hub \
        keeps only their digests. A code is good once the box has synced, and until it was used, revoked or has expired.
        """,
      arguments: [deviceArgument],
      options: [
        OptionSpec("role", value: "ROLE", "the role of the box's policy that is lent", default: "admin"),
        OptionSpec("persons", value: "N", "1, or 2 for two codes that two persons must give", default: "1"),
        OptionSpec("lasts", value: "TIME", "how long the role is lent", default: "30m"),
        OptionSpec("expires", value: "TIME", "how long the codes are good", default: "90d"),
        OptionSpec("count", value: "N", "how many grants", default: "1"),
      ],
      examples: [Example("skerry hub break-glass issue 5f0c… --persons 2 --lasts 1h", "two codes for two persons")]),
    CommandSpec("list", "show a device's grants and what became of them", arguments: [deviceArgument]),
    CommandSpec(
      "revoke", "take a grant back; it counts when the box has synced",
      arguments: [deviceArgument, ArgumentSpec("ID", "the grant's id")]),
  ])

/// The hub's roles, from the least to the most.
private let hubRoles = ["viewer", "operator", "admin"]

let hubOperatorSpec = CommandSpec(
  "operator", "handle the hub's operators, each with a token of their own",
  subcommands: [
    CommandSpec(
      "create", "add an operator and show their token, once", arguments: [ArgumentSpec("NAME", "the operator's name")],
      options: [
        OptionSpec(
          "role", value: "ROLE", "what they may do", default: "viewer", completion: .choices(hubRoles))
      ],
      examples: [Example("skerry hub operator create kim --role operator", "runs the fleet, and makes no operators")]),
    CommandSpec("list", "list the operators and their roles"),
    CommandSpec(
      "role", "give an operator another role",
      arguments: [
        ArgumentSpec("NAME", "the operator's name"),
        ArgumentSpec("ROLE", "what they may do", completion: .choices(hubRoles)),
      ]),
    CommandSpec(
      "pass", "print a pass by which a box knows you as operator:NAME, offline too",
      discussion: """
        What you may do on the box is what its policy gives to operator:NAME. The pass is a bearer token for the box's \
        TCP address alone; nothing takes it back before its end.
        """,
      arguments: [deviceArgument],
      options: [OptionSpec("lasts", value: "TIME", "how long it is good, at most 24h", default: "8h")],
      examples: [Example("skerry hub operator pass 5f0c… --lasts 8h", "for a day's work at the box")]),
    CommandSpec(
      "revoke", "make an operator's token worthless at once", arguments: [ArgumentSpec("NAME", "the operator's name")]),
  ])

let hubEmergencyRunners: [String: Runner] = [
  "break-glass issue": { invocation in
    var body: [String: JSONValue] = ["role": .string(invocation.command.option("role") ?? "admin")]
    for name in ["persons", "count"] {
      guard let text = invocation.command.option(name) else { continue }
      guard let number = Int64(text) else {
        throw UsageError(path: invocation.command.path, "--\(name) is a number, not “\(text)”")
      }
      body[name] = .integer(number)
    }
    if let seconds = try invocation.command.seconds("lasts") { body["seconds"] = .integer(seconds) }
    if let seconds = try invocation.command.seconds("expires") { body["expiresInSeconds"] = .integer(seconds) }
    let device = invocation.argument("DEVICE")
    let answer = try await invocation.hub().json(
      "POST", path("/admin/v1/devices", device, "break-glass"), body: .object(body))
    invocation.answer(answer) {
      answer.list("grants").map { grant in
        grant.strings("codes").map { "\(grant.text("id")) \($0)\n" }.joined()
      }.joined()
    }
    guard !invocation.json else { return }
    invocation.console.note("this is the only time that the codes are shown; seal each in an envelope of its own")
  },
  "break-glass list": { invocation in
    let answer = try await invocation.hub().json(
      "GET", path("/admin/v1/devices", invocation.argument("DEVICE"), "break-glass"))
    invocation.answer(answer) {
      let grants = answer.list("grants")
      guard !grants.isEmpty else { return "no grants\n" }
      var table = Table("id", "state", "role", "persons", "good until", "issued by", "used", "by", "why")
      for grant in grants {
        table.add(
          grant.text("id"), grant.text("state"), grant.text("role"), grant.text("persons"),
          grant["expires"]?.integer.map(timestamp) ?? "", grant.text("issuedBy"),
          grant["used"]?["at"]?.integer.map(timestamp) ?? "",
          grant["used"]?.strings("persons").joined(separator: ", ") ?? "", grant["used"]?["reason"]?.string ?? "")
      }
      return table.render()
    }
  },
  "break-glass revoke": { invocation in
    let id = invocation.argument("ID")
    _ = try await invocation.hub().json(
      "DELETE", path("/admin/v1/devices", invocation.argument("DEVICE"), "break-glass", id))
    invocation.answer(["id": .string(id), "revoked": true]) { "\(id) is revoked\n" }
  },
  "operator create": { invocation in
    let answer = try await invocation.hub().json(
      "POST", "/admin/v1/operators",
      body: [
        "name": .string(invocation.argument("NAME")), "role": .string(invocation.command.option("role") ?? "viewer"),
      ])
    invocation.answer(answer) { answer.text("token") + "\n" }
    guard !invocation.json else { return }
    invocation.console.note("\(answer.text("role")); this is the only time that the token is shown")
  },
  "operator role": { invocation in
    let (name, role) = (invocation.argument("NAME"), invocation.argument("ROLE"))
    let answer = try await invocation.hub().json(
      "PUT", path("/admin/v1/operators", name, "role"), body: ["role": .string(role)])
    invocation.answer(answer) { "\(name) is \(role) now\n" }
  },
  "operator pass": { invocation in
    let seconds = try invocation.command.seconds("lasts") ?? 8 * 3600
    let answer = try await invocation.hub().json(
      "POST", path("/admin/v1/devices", invocation.argument("DEVICE"), "passes"), body: ["seconds": .integer(seconds)])
    invocation.answer(answer) { answer.text("pass") + "\n" }
    guard !invocation.json else { return }
    invocation.console.note(
      "good for \(Readable.seconds(seconds)) at this box, as operator:\(answer.text("operator")): "
        + "Authorization: Bearer …")
  },
  "operator list": { invocation in
    let answer = try await invocation.hub().json("GET", "/admin/v1/operators")
    invocation.answer(answer) {
      var table = Table("name", "role", "created")
      for one in answer.list("operators") {
        table.add(one.text("name"), one.text("role"), one["created"]?.integer.map(timestamp) ?? "")
      }
      return table.render()
    }
  },
  "operator revoke": { invocation in
    let name = invocation.argument("NAME")
    _ = try await invocation.hub().json("DELETE", path("/admin/v1/operators", name))
    invocation.answer(["name": .string(name), "revoked": true]) { "\(name) is revoked\n" }
  },
]
