import CommandLine

/// The tree of `skerry repo`: help, completion and the manual come from it.
enum RepoSpecs {
  static let all = [
    initialize, key, role, delegate, RepoPublisherCommands.spec, add, remove,
    RepoAccess.spec(directory: directory, changing: changing), rotate, renew, policy, stage, sign,
    commit, publish, status, check, RepoGC.spec,
  ]

  // MARK: - What several of them take

  private static let directory = ArgumentSpec("DIR", "the repository's folder", completion: .directories)
  private static let keys = OptionSpec(
    "keys", value: "KEYDIR", "the folder of the keys, or $SKERRY_REPO_KEYS", completion: .directories)
  private static let passphrase = OptionSpec(
    "passphrase-file", value: "FILE", "read the keys' passphrase from the first line of FILE", completion: .files)
  private static let noPassphrase = OptionSpec("no-passphrase", "write keys unencrypted (for demonstrations)")
  private static let scheme = OptionSpec(
    "scheme", value: "SCHEME", "the kind of new keys: ed25519 or ecdsa (P-256)", default: "ed25519",
    completion: .choices(["ed25519", "ecdsa"]))
  private static let hands = [
    keys, passphrase,
    OptionSpec(
      "signer", value: "[KEY=]COMMAND", "ask a command for the signature of KEY, or of keys that are not in KEYDIR",
      repeats: true),
    OptionSpec("signer-timeout", value: "TIME", "how long such a command may take", default: "60s"),
    OptionSpec(
      "with", value: "KEY", "sign with this key alone: a name in KEYDIR or a key id's beginning", repeats: true),
  ]
  private static let rootExpiry = OptionSpec(
    "root-expires", value: "TIME", "how long the root is good", default: "365d")
  private static let expiries = [
    rootExpiry,
    OptionSpec("targets-expires", value: "TIME", "how long a list of models is good", default: "90d"),
    OptionSpec(
      "online-expires", value: "TIME", "how long snapshot and timestamp are good, where they are signed here",
      default: "7d"),
  ]
  private static let staging = OptionSpec("stage", "sign nothing now: add the change to what is staged")
  /// What every command takes that changes something.
  private static let changing = hands + expiries + [staging]
  private static let keyOption = OptionSpec(
    "key", value: "KEY", "a key: a name in KEYDIR, a file with a public key, or 64 hexadecimal digits", repeats: true)
  private static let threshold = OptionSpec("threshold", value: "M", "how many of the keys must sign")
  private static let pin = OptionSpec(
    "pin", value: "PIN", "the server's key, sha256//… (without one, the system's trust)")

  // MARK: - Keys and roles

  private static let initialize = CommandSpec(
    "init", "makes an empty repository and its keys",
    discussion: """
      Makes a key for every role that --role does not give keys to, as PEM files in KEYDIR that only you may read, \
      encrypted with a passphrase, and signs an empty repository. With --online-key the hub signs snapshot and \
      timestamp. With --stage the first root waits for the signatures of keys elsewhere.
      """,
    arguments: [directory],
    options: changing + [
      OptionSpec("online-key", value: "HEX", "the hub's public key, as 'skerry-hub init' prints it"),
      OptionSpec(
        "role", value: "ROLE=M:KEY,KEY…", "these keys of which M must sign, instead of a new one", repeats: true),
      scheme, noPassphrase,
    ],
    examples: [
      Example("skerry repo init models --keys /media/keys --online-key 4d5e…", "a hub signs the online roles"),
      Example(
        "skerry repo init models --stage --keys keys --role root=2:alice.pub,bob.pub,carol.pub",
        "two of three people sign the root"),
    ])

  private static let key = CommandSpec(
    "key", "makes, takes over and lists keys",
    subcommands: [
      CommandSpec(
        "create", "makes a key",
        discussion: "Writes KEYDIR/NAME.pem, encrypted with a passphrase, and KEYDIR/NAME.pub, which you hand on.",
        arguments: [ArgumentSpec("NAME", "the key's name")], options: [keys, passphrase, scheme, noPassphrase],
        examples: [Example("skerry repo key create alice --keys /media/alice", "a key pair on Alice's stick")]),
      CommandSpec(
        "import", "takes a key over from a file",
        discussion: """
          A private key in PEM (PKCS #8), or a public one: PEM, TUF's JSON, or 64 hexadecimal digits. Of a public key \
          others hold the private half, or a command signs with it.
          """,
        arguments: [ArgumentSpec("FILE", "the key", completion: .files)],
        options: [
          keys, passphrase, noPassphrase, OptionSpec("name", value: "NAME", "the key's name, or else the file's"),
        ]),
      CommandSpec(
        "list", "lists keys and, with DIR, the roles that they sign",
        arguments: [ArgumentSpec("DIR", "a repository's folder", .optional, completion: .directories)],
        options: [keys]),
    ])

  private static let role = CommandSpec(
    "role", "says which keys sign a role, and how many of them must",
    discussion: """
      The keys take the place of those before; without --key only the threshold changes. A change of a top-level role \
      is a new root, which the old root keys sign and, when they change, the new ones too.
      """,
    arguments: [directory, ArgumentSpec("ROLE", "root, targets, snapshot, timestamp, or a delegated role")],
    options: changing + [
      keyOption, threshold, OptionSpec("online-key", value: "HEX", "the hub's public key, for snapshot and timestamp"),
    ],
    examples: [
      Example(
        "skerry repo role models root --key alice.pub --key bob.pub --key carol.pub --threshold 2 --stage",
        "from now on two of three")
    ])

  private static let rotate = CommandSpec(
    "rotate", "puts new keys of a role in the place of old ones",
    discussion: """
      Without --old all keys of the role go. A new root is signed by a threshold of the old keys and of the new ones; \
      lists that the new keys must sign are signed again, by both while both are at hand.
      """,
    arguments: [directory, ArgumentSpec("ROLE", "root, targets, snapshot, timestamp, or a delegated role")],
    options: changing + [
      OptionSpec("old", value: "KEY", "a key that goes, or the beginning of its id", repeats: true),
      OptionSpec("new", value: "KEY", "a key that comes", repeats: true), threshold,
    ],
    examples: [Example("skerry repo rotate models root --old bob --new dora.pub --stage", "Dora takes Bob's place")])

  private static let delegate = CommandSpec(
    "delegate", "hands paths to a role with keys of its own",
    discussion: """
      Which paths: --paths with shell patterns, in which a star does not go over a slash; --hash-prefixes with \
      beginnings of the SHA-256 of a path; or --succinct BITS, which spreads all paths over 2^BITS roles that are \
      called NAME-0 and so on. The new role's empty list is signed by its own keys.
      """,
    arguments: [directory, ArgumentSpec("NAME", "the role's name")],
    options: changing + [
      OptionSpec("paths", value: "PATTERN", "paths that the role may list", repeats: true),
      OptionSpec("hash-prefixes", value: "HEX,HEX…", "paths by the beginning of their SHA-256", repeats: true),
      OptionSpec("succinct", value: "BITS", "all paths, in 2^BITS bins"),
      OptionSpec("terminating", "look for these paths nowhere else after this role"), keyOption, threshold,
      OptionSpec("from", value: "ROLE", "the role that delegates", default: "targets"),
      OptionSpec("revoke", "take the delegation away"),
    ],
    examples: [
      Example(
        "skerry repo delegate models acme --paths models/acme-*/*/* --key acme.pub --stage",
        "Acme lists its own models")
    ])

  private static let policy = CommandSpec(
    "policy", "says in the root what holds when metadata has expired",
    arguments: [directory],
    options: changing + [
      OptionSpec("grace", value: "TIME", "for so long after expiry something new may still be installed, or none"),
      OptionSpec("stale", value: "TIME", "for so long after expiry installed models run on, or forever"),
    ],
    examples: [Example("skerry repo policy models --grace 14d --stale forever --keys /media/keys", "two weeks' grace")])

  // MARK: - Models

  private static let add = CommandSpec(
    "add", "adds a model's GGUF file to a list and signs it",
    arguments: [directory, ArgumentSpec("FILE", "the model's weights, a GGUF file", completion: .files)],
    options: changing + [
      OptionSpec("name", value: "NAME", "the name by which applications ask for it"),
      OptionSpec("version", value: "VERSION", "the version of these weights"),
      OptionSpec("publisher", value: "WHO", "who made it"),
      OptionSpec(
        "signature", value: "FILE", "the publisher's own signature (see repo publisher)", completion: .files),
      OptionSpec("license", value: "SPDX", "its licence, for example Apache-2.0"),
      OptionSpec("no-chunks", "publish the file as a whole: boxes fetch all of it for each new version"),
      OptionSpec("role", value: "ROLE", "the role that lists it", default: "targets"),
      OptionSpec("adapter", "it is a LoRA adapter; --base says for which model"),
      OptionSpec("base", value: "MODEL", "the adapter's base: NAME:VERSION of a listed model, or a SHA-256"),
    ],
    examples: [
      Example(
        "skerry repo add models SmolLM2.gguf --keys /media/keys --name smollm2 --version 1.0.0",
        "the file's chunks, and a signed list that names it")
    ])

  private static let remove = CommandSpec(
    "remove", "takes a model off its list and signs the list",
    discussion: "Boxes delete the model at their next sync. Its chunks stay in the folder until skerry repo gc.",
    arguments: [directory, ArgumentSpec("NAME", "the model's name")],
    options: changing + [OptionSpec("version", value: "VERSION", "only this version; otherwise all")])

  private static let renew = CommandSpec(
    "renew", "signs the same lists again, before they expire",
    discussion: """
      With --root the root is signed anew, and with it the director's root, which says which hub key may tell boxes what \
      they get. --online-key puts another hub's key there: a hub's first, or a new one after the old was stolen.
      """,
    arguments: [directory],
    options: changing + [
      OptionSpec("root", "sign a new version of the root and of the director's root as well"),
      OptionSpec("online-key", value: "HEX", "with --root: the hub's public key, as 'skerry-hub init' prints it"),
      OptionSpec(
        "role", value: "ROLE", "only this role: root, targets, snapshot, timestamp, or a delegated one", repeats: true),
    ])

  // MARK: - Ceremonies

  private static let stage = CommandSpec(
    "stage", "writes what is staged to a file for those who sign",
    discussion: """
      The file holds the next metadata without signatures or with those that it has, its digests, what it changes in \
      words, and what is current. It needs no secret to read and none to write. --role first stages a new version of a \
      role that nothing else has changed.
      """,
    arguments: [
      directory, ArgumentSpec("FILE", "where to write it, for example on a stick", .optional, completion: .files),
    ],
    options: expiries + [
      OptionSpec("role", value: "ROLE", "stage a new version of this role", repeats: true),
      OptionSpec("discard", "drop everything that is staged"),
    ],
    examples: [Example("skerry repo stage models /media/usb/next.json", "to the stick")])

  private static let sign = CommandSpec(
    "sign", "adds your signatures to a staged file",
    discussion: """
      Shows what the file changes, refuses it when it was altered after somebody signed it, and adds a signature by \
      every key at hand that is asked for. Needs the file and your key, nothing else. Compare the digests with those \
      who sign too, or give them with --digest.
      """,
    arguments: [ArgumentSpec("FILE|DIR", "the file on the stick, or a repository's folder", completion: .files)],
    options: hands + [
      OptionSpec("root", value: "FILE", "a root that you have: the staged files must belong to it", completion: .files),
      OptionSpec("digest", value: "HEX", "sign only if every file has one of these digests", repeats: true),
      OptionSpec("yes", "don't ask"),
    ],
    examples: [Example("skerry repo sign /media/usb/next.json --keys /media/alice", "Alice signs")])

  private static let commit = CommandSpec(
    "commit", "makes what is staged current, once it has its signatures",
    discussion: """
      Takes the signatures over from files that came back. Snapshot and timestamp are made then and signed with the \
      keys in KEYDIR, unless a hub signs them; where their keys are elsewhere too, they are staged in turn.
      """,
    arguments: [directory, ArgumentSpec("FILE", "files that came back", .optionalRepeating, completion: .files)],
    options: hands + expiries,
    examples: [Example("skerry repo commit models /media/usb/next.json --keys keys", "all have signed")])

  private static let publish = CommandSpec(
    "publish", "copies the repository to a folder, a hub or an S3 store",
    discussion: """
      Chunks and indexes go first and only where they are missing; metadata goes last, the timestamp at the very end, \
      so that a reader at any moment sees the old repository or the new one. A place that holds another repository or \
      a newer state of this one is left alone. S3's credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
      AWS_SESSION_TOKEN and AWS_REGION.
      """,
    arguments: [directory],
    options: [
      OptionSpec("to", value: "PATH", "a folder that a web server serves", completion: .directories),
      OptionSpec("s3", value: "URL", "a bucket: https://ENDPOINT/BUCKET/PREFIX"),
      OptionSpec("staged", value: "FILE", "commit this staged file first", completion: .files),
    ] + hands + expiries + hubOptions)

  private static let status = CommandSpec(
    "status", "shows every role, what is staged, what is missing, and what to do next", arguments: [directory],
    options: [keys])

  private static let check = CommandSpec(
    "check", "verifies a repository as a box would",
    discussion: """
      With --root this is exactly a client: it begins with that root, refuses what a box would refuse, and with \
      --state it also remembers what it trusted, so that a later rollback shows. Without --root a folder is checked \
      beginning with its own first root.
      """,
    arguments: [ArgumentSpec("DIR|URL", "the repository's folder or address", completion: .directories)],
    options: [
      OptionSpec("root", value: "FILE", "the root metadata to trust", completion: .files),
      OptionSpec("state", value: "PATH", "where trusted metadata is kept between checks", completion: .directories),
      OptionSpec("metadata-only", "leave out the chunks"),
      pin,
    ])
}
