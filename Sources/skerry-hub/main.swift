import CommandLine
import Fleet

let command = Program.parse(hubCommand, version: skerryVersion)
await Program.run { try await HubCommands(command).run() }
