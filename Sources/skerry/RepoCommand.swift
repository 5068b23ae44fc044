import CommandLine

/// The publisher's side.
let repoNoun = Noun(CommandSpec("repo", "make, sign and publish a repository of signed models")) { _ in
  throw CommandFailure("the repository's commands are not part of this build", status: .software)
}
