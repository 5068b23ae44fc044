import CommandLine

let metadata = OptionSpec("metadata-dir", value: "DIR", "where trusted metadata is kept", completion: .directories)
let command = Program.parse(
  CommandSpec(
    "skerry-tuf-client", "Skerry's TUF client by itself, as theupdateframework/tuf-conformance drives one",
    options: [
      metadata, OptionSpec("metadata-url", value: "URL", "where the repository's metadata is"),
      OptionSpec("target-name", value: "PATH", "the target's path in the metadata"),
      OptionSpec("target-base-url", value: "URL", "where the repository's targets are"),
      OptionSpec("target-dir", value: "DIR", "where the target is written", completion: .directories),
    ],
    subcommands: [
      CommandSpec("init", "begin with a trusted root", arguments: [ArgumentSpec("ROOT", "the file")]),
      CommandSpec("refresh", "update the metadata"), CommandSpec("download", "update the metadata and fetch a target"),
    ]), version: "0.1.0")
// The protocol knows two exit statuses.
await Program.run {
  do {
    try await ConformanceClient(command).run()
  } catch {
    throw CommandFailure("\(error)", status: .failure)
  }
}
