import CommandLine
import Fleet

if Program.arguments.first == "__complete" {
  await Program.run { await completeWords(Array(Program.arguments.dropFirst())) }
} else {
  let command = Program.parse(program.spec, version: skerryVersion)
  await Program.run { try await program.run(Invocation(command)) }
}
