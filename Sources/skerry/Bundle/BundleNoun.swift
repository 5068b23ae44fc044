import CommandLine

private let file = ArgumentSpec("FILE", "the bundle", completion: .files)
private let output = OptionSpec("output", short: "o", value: "FILE", "where to write", completion: .files)

let bundleNoun = Noun(
  CommandSpec(
    "bundle", "carry models, metadata and audit heads to boxes without a link, and back",
    discussion: """
      One file on a stick each way. create asks a hub for a bundle for one or several boxes, import gives it to the agent \
      of a box, export has the agent write what it has to tell the hub, sealed so that only the hub can read it, and take \
      hands that to the hub. inspect needs nothing but the file.
      """,
    subcommands: [
      CommandSpec(
        "create", "have the hub write a bundle for boxes",
        discussion: """
          It holds the signed metadata with all roots, each box's director statement, the models that the boxes seem to \
          lack, and the hub's cosignatures and acknowledgements. Without --device it is for every box.
          """,
        options: [
          output,
          OptionSpec("device", value: "BOX", "a box's id, the beginning of it, or its name", repeats: true),
          OptionSpec("all", "all chunks of the boxes' models, also those that they seem to have"),
          OptionSpec(
            "policies", value: "FILE", "carry this roles.json5 too; boxes take it where bundle.policies is true",
            completion: .files),
        ] + hubOptions,
        examples: [
          Example(
            "skerry bundle create --device 5f0c… --output /media/stick/box.skb --hub https://hub:8443", "for one box")
        ]),
      CommandSpec(
        "inspect", "say what is in a bundle, for whom, and by whom it is signed",
        discussion: """
          Reads all of it and checks every byte. A hub's bundle is checked against the roots that it carries itself: \
          compare the first root's digest with the one that you know, or give --root.
          """,
        arguments: [file],
        options: [
          OptionSpec(
            "root", value: "SHA256", "the digest that the first root must have (it is in every enrolment token)")
        ]),
      CommandSpec(
        "import", "give a bundle to this box's agent",
        discussion: "Nothing of a bundle takes effect before all of it was checked; giving it again does no harm.",
        arguments: [file]),
      CommandSpec(
        "export", "have this box's agent write a bundle for its hub",
        discussion: """
          It holds the box's state, a report, what waits in the outbox, the head of the audit log with its proof and the \
          records since the last cosigned one. With --enroll it asks the hub to take the box in.
          """,
        options: [
          output,
          OptionSpec(
            "enroll", value: "TOKEN", "ask to join the fleet of this enrolment token; - reads it from standard input"),
        ],
        examples: [
          Example("skerry bundle export --enroll - --output /media/stick/join.skb", "the box asks to join"),
          Example("skerry bundle export --output /media/stick/box.skb", "the box tells its hub"),
        ]),
      CommandSpec(
        "take", "hand a box's bundle to the hub", arguments: [file], options: hubOptions,
        examples: [Example("skerry bundle take /media/stick/box.skb --hub https://hub:8443", "the hub takes it once")]),
    ]),
  [
    "create": bundleCreate, "inspect": bundleInspect, "import": bundleImport, "export": bundleExport,
    "take": bundleTake,
  ])
