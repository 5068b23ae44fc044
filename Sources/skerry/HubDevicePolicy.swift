import CommandLine
import Trust

let devicePolicySpec = CommandSpec(
  "policy", "say which published policy a device decides by",
  discussion: """
    The policies are those of the repository (skerry repo access). A device with none assigned gets the one called \
    default, where that is published. One that it has had stays in force until it takes over another.
    """,
  arguments: [
    ArgumentSpec("DEVICE", "the device's id", completion: .names("devices")),
    ArgumentSpec("NAME", "the policy's name", .optional),
  ],
  options: [OptionSpec("default", "the one called default, or none where that is not published")],
  examples: [Example("skerry hub device policy 5f0c… ships", "that policy at its next sync")])

let devicePolicy: Runner = { invocation in
  let device = invocation.argument("DEVICE")
  let name = invocation.command.optionalArgument("NAME")
  guard (name != nil) != invocation.command.flag("default") else {
    throw UsageError(path: invocation.command.path, "name the policy, or give --default, and only one of these")
  }
  let answer = try await invocation.hub().json(
    "POST", path("/admin/v1/devices", device) + "/policy", body: ["policy": name.map { .string($0) } ?? .null])
  invocation.answer(answer) { "\(device) decides by the policy \(name ?? "default") from its next sync on\n" }
}
