import CommandLine

/// The publisher's side.
let repoNoun = Noun(RepoCommands.spec) { invocation in try await RepoCommands.run(invocation) }
