import CommandLine
import Fleet

let command = Program.parse(hubCommand, version: skerryVersion, isService: true)
await Program.run { try await HubCommands(command).run() }
