import CommandLine
import Host
import Trust

private let deviceArgument = ArgumentSpec("DEVICE", "the device's id", completion: .names("devices"))

let hubNoun = Noun(
  CommandSpec(
    "hub", "the operator's side: devices and enrolment tokens of a hub",
    options: hubOptions,
    subcommands: [
      CommandSpec("status", "show the hub: version, devices, repository"),
      CommandSpec(
        "device", "show and handle the hub's devices",
        subcommands: [
          CommandSpec("list", "list the devices, when they were last seen, and how they are"),
          CommandSpec("show", "show one device whole", arguments: [deviceArgument]),
          CommandSpec(
            "assign", "say which models a device gets",
            arguments: [deviceArgument, ArgumentSpec("MODELS", "the models' names", .optionalRepeating)],
            options: [OptionSpec("all", "every model that is published"), OptionSpec("none", "no model at all")],
            examples: [Example("skerry hub device assign 5f0c… smollm2-135m", "that model and no other")]),
          devicePolicySpec,
          CommandSpec(
            "rollback", "take a device back to an older version of a model",
            discussion: """
              A box never installs an older version than it has had, unless its hub signs that this is meant. The version \
              must still be published. It stays pinned until the device is assigned anew.
              """,
            arguments: [
              deviceArgument, ArgumentSpec("NAME", "the model's name"),
              ArgumentSpec("VERSION", "the version to go back to"),
            ],
            examples: [Example("skerry hub device rollback 5f0c… smollm2-135m 1.0.0", "back to 1.0.0")]),
          CommandSpec(
            "revoke", "shut a device out of the fleet, for good", arguments: [deviceArgument]),
        ]),
      CommandSpec(
        "token", "handle enrolment tokens",
        subcommands: [
          CommandSpec(
            "create", "create a one-time token that enrols one box",
            options: [OptionSpec("expires", value: "TIME", "how long it is good for", default: "1h")],
            examples: [Example("skerry hub token create --expires 30m", "then on the box: skerry enroll TOKEN")])
        ]),
      hubBreakGlassSpec, hubRetentionSpec, hubOperatorSpec,
    ]),
  [
    "status": hubStatus, "device list": deviceList, "device show": deviceShow, "device assign": deviceAssign,
    "device policy": devicePolicy,
    "device rollback": deviceRollback, "device revoke": deviceRevoke, "token create": enrolmentTokenCreate,
  ].merging(hubEmergencyRunners) { own, _ in own }.merging(hubRetentionRunners) { own, _ in own })

private let hubStatus: Runner = { invocation in
  let status = try await invocation.hub().json("GET", "/admin/v1/status")
  invocation.answer(status) { hubStatusText(status) }
}

private let deviceList: Runner = { invocation in
  let answer = try await invocation.hub().json("GET", "/admin/v1/devices")
  let now = Clock.unixTime()
  invocation.answer(answer) { deviceTable(answer, now: now) }
}

private let deviceShow: Runner = { invocation in
  let device = try await invocation.hub().json("GET", path("/admin/v1/devices", invocation.argument("DEVICE")))
  let now = Clock.unixTime()
  invocation.answer(device) { deviceText(device, now: now) }
}

private let deviceAssign: Runner = { invocation in
  let models = invocation.command.arguments("MODELS")
  let (all, none) = (invocation.command.flag("all"), invocation.command.flag("none"))
  guard [all, none, !models.isEmpty].count(where: { $0 }) == 1 else {
    throw UsageError(path: invocation.command.path, "name the models, or give --all or --none, and only one of these")
  }
  let device = invocation.argument("DEVICE")
  let answer = try await invocation.hub().json(
    "POST", path("/admin/v1/devices", device) + "/assign",
    body: ["models": all ? .null : .array(models.map { .string($0) })])
  invocation.answer(answer) {
    "\(device) gets \(all ? "every published model" : none ? "no model" : models.joined(separator: ", "))\n"
  }
}

private let deviceRollback: Runner = { invocation in
  let (device, name, version) = (
    invocation.argument("DEVICE"), invocation.argument("NAME"), invocation.argument("VERSION")
  )
  let answer = try await invocation.hub().json(
    "POST", path("/admin/v1/devices", device) + "/rollback",
    body: ["model": .string(name), "version": .string(version)])
  invocation.answer(answer) { "\(device) goes back to \(name) \(version) at its next sync\n" }
}

private let deviceRevoke: Runner = { invocation in
  let device = invocation.argument("DEVICE")
  let answer = try await invocation.hub().json("DELETE", path("/admin/v1/devices", device))
  invocation.answer(answer) { "\(device) is revoked; its requests are refused from now on\n" }
}

private let enrolmentTokenCreate: Runner = { invocation in
  let seconds = try invocation.command.seconds("expires") ?? 3600
  let answer = try await invocation.hub().json(
    "POST", "/admin/v1/enrollment-tokens", body: ["expiresInSeconds": .integer(seconds)])
  invocation.answer(answer) { answer.text("token") + "\n" }
  if !invocation.json {
    invocation.console.note("good for one box and \(Readable.seconds(seconds)); there: skerry enroll TOKEN")
  }
}
