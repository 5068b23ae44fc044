import CommandLine

private let state = OptionSpec(
  "state", value: "DIR", "the hub's directory", default: "/var/lib/skerry-hub", completion: .directories)
private let json = OptionSpec("json", "print JSON for programs")
private let box = ArgumentSpec("BOX", "a box's name, its id, or the beginning of its id")

/// Everything that `skerry-hub` understands.
let hubCommand = CommandSpec(
  "skerry-hub", "the hub of a fleet: enrolment, repository, audit witness, dashboard",
  discussion: "A hub is a directory that init makes and serve works on. skerry-hub --man prints the manual page.",
  options: [state, json],
  subcommands: [
    CommandSpec(
      "init", "make a new hub: keys, database, administrator's token",
      discussion: """
        Prints the key that boxes pin, the online key that a repository delegates snapshot and timestamp to, and the \
        administrator's token, which is also written to DIR/admin.token (mode 0600).
        """,
      options: [
        OptionSpec("url", value: "URL", "where boxes find the hub, such as https://hub.example:8443"),
        OptionSpec("listen", value: "HOST:PORT", "where it listens; without it, as the address says"),
      ],
      examples: [
        Example("skerry-hub init --state /var/lib/skerry-hub --url https://hub.example:8443", "a hub for a fleet")
      ]),
    CommandSpec("serve", "run the hub until SIGTERM"),
    CommandSpec(
      "gc", "remove chunks and indexes that no metadata names any more",
      discussion: "For a hub that is stopped; one that runs does it by itself once a day.",
      options: [
        OptionSpec("grace", value: "TIME", "how long removed models stay for readers", default: "7d"),
        OptionSpec("dry-run", "only say what would go"),
      ]),
    CommandSpec(
      "token", "enrolment tokens",
      subcommands: [
        CommandSpec(
          "create", "make a token that enrols one box",
          options: [OptionSpec("expires", value: "TIME", "how long it is good: 90s, 15m, 1h, 7d", default: "1h")])
      ]),
    CommandSpec(
      "device", "the boxes of the fleet",
      subcommands: [
        CommandSpec("list", "all boxes with their state"),
        CommandSpec("show", "one box with its models, findings and audit head", arguments: [box]),
        CommandSpec("revoke", "refuse a box's requests from now on", arguments: [box]),
        CommandSpec(
          "assign", "say which models a box is to have",
          discussion: """
            NAME is the newest version, NAME:VERSION that version. NAME=VERSION is a signed rollback: that version, even \
            where the box has had a newer one. "*" is the newest of all other names.
            """,
          arguments: [
            box, ArgumentSpec("MODEL", "models, see above; none with --all", .optionalRepeating),
          ],
          options: [
            OptionSpec("all", "all models of the repository, as for a new box"),
            OptionSpec("none", "no model at all"),
          ]),
      ]),
  ])
