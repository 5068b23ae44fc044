import CommandLine
import Storage
import Trust

/// `skerry repo publisher`: whose own signature `repo add` asks for.
enum RepoPublisherCommands {
  private static let directory = ArgumentSpec("DIR", "the repository's folder", completion: .directories)
  private static let name = ArgumentSpec("NAME", "the publisher, as repo add --publisher spells it")

  static let spec = CommandSpec(
    "publisher", "says whose own signature models must have before they are added",
    discussion: """
      repo add --publisher NAME then takes a model only with --signature FILE, a signature by OpenSSF Model Signing that \
      one of the publisher's keys has made, or a certificate that leads to one of its roots. The requirements lie in \
      DIR/publishers.json5.
      """,
    subcommands: [
      CommandSpec(
        "add", "asks for a publisher's signature from now on", arguments: [directory, name],
        options: [
          OptionSpec(
            "public-key", value: "FILE", "the publisher's public key, PEM; any of several is enough", repeats: true,
            completion: .files),
          ModelSigning.certificateChain, ModelSigning.identity,
        ],
        examples: [Example("skerry repo publisher add models Acme --public-key acme.pub.pem", "Acme's key must sign")]),
      CommandSpec("list", "lists the publishers and their keys", arguments: [directory]),
      CommandSpec("remove", "asks for no signature of a publisher any longer", arguments: [directory, name]),
    ])

  static func run(_ invocation: Invocation) throws {
    let command = invocation.command
    let folder = RepoFolder(path: command.argument("DIR"))
    guard DurableFile.exists(folder.metadata) else {
      throw CommandFailure("\(folder.path) is no repository", hint: "make one: skerry repo init", status: .noInput)
    }
    var publishers = try RepoPublishers(folder)
    switch command.path.last {
    case "add":
      let publisher = try publisher(command)
      try publishers.add(publisher)
      invocation.answer(json(publisher)) { "models of \(publisher.name) need its signature from now on\n" }
    case "remove":
      try publishers.remove(command.argument("NAME"))
      invocation.answer(["removed": .string(command.argument("NAME"))]) {
        "models of \(command.argument("NAME")) need no signature of its own any longer\n"
      }
    default:
      invocation.answer(["publishers": .array(publishers.all.map(json))]) { text(publishers.all) }
    }
  }

  private static func publisher(_ command: ParsedCommand) throws -> RepoPublishers.Publisher {
    let name = command.argument("NAME")
    guard (1...100).contains(name.utf8.count), !name.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
      throw UsageError(path: command.path, "a publisher's name has 1 to 100 bytes, without control characters")
    }
    var publisher = RepoPublishers.Publisher(name: name)
    publisher.keys = try command.options("public-key").map { try ModelSigning.publicKey($0) }
    publisher.roots = try ModelSigning.certificates(command.options("certificate-chain"))
    publisher.identity = command.option("identity")
    guard !publisher.trusts.isEmpty else {
      throw UsageError(
        path: command.path, "whose signature is it?", hint: "give --public-key FILE or --certificate-chain FILE")
    }
    guard publisher.identity == nil || !publisher.roots.isEmpty else {
      throw UsageError(path: command.path, "--identity needs --certificate-chain: a bare key names nobody")
    }
    return publisher
  }

  private static func json(_ publisher: RepoPublishers.Publisher) -> JSONValue {
    [
      "name": .string(publisher.name),
      "keys": .array(publisher.keys.map { ModelSigner.key($0).json }),
      "roots": .array(publisher.roots.map { ModelSigner.certificate($0).json }),
      "identity": publisher.identity.map { .string($0) } ?? .null,
    ]
  }

  private static func text(_ all: [RepoPublishers.Publisher]) -> String {
    guard !all.isEmpty else { return "no publisher's own signature is asked for\n" }
    var table = Table("publisher", "signs with", "as")
    for publisher in all {
      let signers =
        publisher.keys.map { "\(ModelSigner.key($0))" } + publisher.roots.map { "a certificate by \($0.name)" }
      for (at, signer) in signers.enumerated() {
        table.add(at == 0 ? publisher.name : "", signer, at == 0 ? publisher.identity ?? "" : "")
      }
    }
    return table.render()
  }
}
