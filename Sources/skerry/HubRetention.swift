import CommandLine
import Host
import Trust

private let deviceArgument = ArgumentSpec("DEVICE", "the device's id", completion: .names("devices"))

let hubRetentionSpec = CommandSpec(
  "retention", "let a device keep its audit records for fewer days than 180",
  subcommands: [
    CommandSpec(
      "set", "make a signed exception for a device; it counts when the device has synced",
      discussion: """
        The device keeps records for as long as its audit.retentionDays says, and never for less than 180 days; with the \
        exception, while it has not ended, never for less than it says. It is on record there, with the reason.
        """,
      arguments: [deviceArgument],
      options: [
        OptionSpec("days", value: "N", "at least so many days, 1 to 179"),
        OptionSpec("reason", value: "TEXT", "why, in 8 to 500 characters"),
        OptionSpec("expires", value: "TIME", "how long the exception holds", default: "90d"),
      ],
      examples: [
        Example(
          "skerry hub retention set 5f0c… --days 30 --reason works-council-2026-11", "30 days are enough there")
      ]),
    CommandSpec("show", "show a device's exception", arguments: [deviceArgument]),
    CommandSpec("revoke", "take a device's exception back", arguments: [deviceArgument]),
  ])

let hubRetentionRunners: [String: Runner] = [
  "retention set": { invocation in
    guard let days = try invocation.command.integer("days", in: 1...179) else {
      throw UsageError(path: invocation.command.path, "for how long? give --days N")
    }
    guard let reason = invocation.command.option("reason") else {
      throw UsageError(path: invocation.command.path, "why? give --reason TEXT")
    }
    var body: [String: JSONValue] = ["days": .integer(days), "reason": .string(reason)]
    if let seconds = try invocation.command.seconds("expires") { body["expiresInSeconds"] = .integer(seconds) }
    let answer = try await invocation.hub().json(
      "PUT", path("/admin/v1/devices", invocation.argument("DEVICE"), "retention"), body: .object(body))
    invocation.answer(answer) { shown(answer) }
  },
  "retention show": { invocation in
    let answer = try await invocation.hub().json(
      "GET", path("/admin/v1/devices", invocation.argument("DEVICE"), "retention"))
    invocation.answer(answer) { shown(answer) }
  },
  "retention revoke": { invocation in
    let device = invocation.argument("DEVICE")
    _ = try await invocation.hub().json("DELETE", path("/admin/v1/devices", device, "retention"))
    invocation.answer(["device": .string(device), "revoked": true]) { "the exception of \(device) is revoked\n" }
  },
]

private func shown(_ answer: JSONValue) -> String {
  guard let exception = answer["exception"], exception != .null else { return "no exception: at least 180 days\n" }
  return facts([
    ("at least", "\(exception.text("days")) days"), ("state", answer.text("state")),
    ("reason", exception.text("reason")),
    ("until", exception["expires"]?.integer.map(timestamp) ?? ""), ("issued by", exception.text("issuedBy")),
    ("id", exception.text("id")),
  ])
}
