import CommandLine
import Models
import Storage
import Trust
import Web

/// `skerry repo`: the publisher's side. It works on folders and a hub's admin API, and needs no agent.
enum RepoCommands {
  static let spec = CommandSpec(
    "repo", "builds, signs and publishes a repository of models",
    discussion: """
      A repository is a folder of signed TUF metadata, chunk indexes and chunks that any static web server can serve. \
      Its keys lie in another folder, best on another machine: root says which keys count, targets says which models \
      are good. A hub may hold the two online keys, snapshot and timestamp.
      """,
    subcommands: [initialize, add, remove, renew, publish, status, check])

  private static let directory = ArgumentSpec("DIR", "the repository's folder", completion: .directories)
  private static let keys = OptionSpec(
    "keys", value: "KEYDIR", "the folder of the private keys, or $SKERRY_REPO_KEYS", completion: .directories)
  private static let passphrase = OptionSpec(
    "passphrase-file", value: "FILE", "read the keys' passphrase from the first line of FILE", completion: .files)
  private static let targetsExpiry = OptionSpec(
    "targets-expires", value: "TIME", "how long the list of models is good", default: "90d")
  private static let onlineExpiry = OptionSpec(
    "online-expires", value: "TIME", "how long snapshot and timestamp are good, where they are signed here",
    default: "7d")
  private static let rootExpiry = OptionSpec(
    "root-expires", value: "TIME", "how long the root is good", default: "365d")
  private static let signing = [keys, passphrase, targetsExpiry, onlineExpiry]

  private static let pin = OptionSpec(
    "pin", value: "PIN", "the server's key, sha256//… (without one, the system's trust)")

  private static let initialize = CommandSpec(
    "init", "makes an empty repository and its keys",
    discussion: """
      Writes new Ed25519 keys to KEYDIR as PEM files that only you may read, encrypted with a passphrase, and signs an \
      empty repository with them. With --online-key the hub signs snapshot and timestamp; without it their keys are \
      made here too.
      """,
    arguments: [directory],
    options: signing + [
      rootExpiry,
      OptionSpec("online-key", value: "HEX", "the hub's public key, as 'skerry-hub init' prints it"),
      OptionSpec("no-passphrase", "write the keys unencrypted (for demonstrations)"),
    ],
    examples: [Example("skerry repo init models --keys /media/keys --online-key 4d5e…", "a hub signs the online roles")]
  )

  private static let add = CommandSpec(
    "add", "adds a model's GGUF file and signs the new list",
    arguments: [directory, ArgumentSpec("FILE", "the model's weights, a GGUF file", completion: .files)],
    options: signing + [
      OptionSpec("name", value: "NAME", "the name by which applications ask for it"),
      OptionSpec("version", value: "VERSION", "the version of these weights"),
      OptionSpec("publisher", value: "WHO", "who made it"),
      OptionSpec("license", value: "SPDX", "its licence, for example Apache-2.0"),
    ],
    examples: [
      Example(
        "skerry repo add models SmolLM2.gguf --keys /media/keys --name smollm2 --version 1.0.0",
        "the file's chunks, and a signed list that names it")
    ])

  private static let remove = CommandSpec(
    "remove", "takes a model off the list and signs the new list",
    discussion: "Boxes delete the model at their next sync. Its chunks stay in the folder.",
    arguments: [directory, ArgumentSpec("NAME", "the model's name")],
    options: signing + [OptionSpec("version", value: "VERSION", "only this version; otherwise all")])

  private static let renew = CommandSpec(
    "renew", "signs the same list again, before it expires",
    discussion: """
      With --root the root is signed anew, and with it the director's root, which says which hub key may tell boxes what \
      they get. --online-key puts another hub's key there: a hub's first, or a new one after the old was stolen.
      """,
    arguments: [directory],
    options: signing + [
      rootExpiry, OptionSpec("root", "sign a new version of the root and of the director's root as well"),
      OptionSpec("online-key", value: "HEX", "with --root: the hub's public key, as 'skerry-hub init' prints it"),
    ])

  private static let publish = CommandSpec(
    "publish", "copies the repository to a folder or a hub",
    discussion: """
      Chunks and indexes go first and only where they are missing; metadata goes last, so that a reader at any moment \
      sees the old repository or the new one.
      """,
    arguments: [directory],
    options: [
      OptionSpec("to", value: "PATH", "a folder that a web server serves", completion: .directories)
    ] + hubOptions)

  private static let status = CommandSpec(
    "status", "shows roles, versions, expiry dates, models, and what is missing", arguments: [directory])

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

  /// Runs one of the commands above. Throws `CommandFailure` with the exit status that fits.
  static func run(_ invocation: Invocation) async throws {
    let command = invocation.command
    do {
      switch command.path.last {
      case "init": try RepoInit.run(command)
      case "add": try RepoChanges.add(command)
      case "remove": try RepoChanges.remove(command)
      case "renew": try RepoChanges.renew(command)
      case "publish": try await RepoPublish.run(invocation)
      case "status": try RepoStatus.run(command)
      default: try await RepoCheck.run(command)
      }
    } catch {
      throw failure(error)
    }
  }

  /// An error of the parts below as a person reads it, with the exit status that belongs to it.
  private static func failure(_ error: any Error) -> any Error {
    switch error {
    case is CommandFailure, is UsageError, is CancellationError: error
    case let error as TUFError: CommandFailure(error.description, status: .data)
    case let error as KeyError: CommandFailure(error.description, status: .data)
    case let error as ChunkIndexError: CommandFailure(error.description, status: .data)
    case let error as Zstd.Failure: CommandFailure(error.description, status: .data)
    case let error as StorageError:
      switch error {
      case .notFound: CommandFailure(error.description, status: .noInput)
      case .damaged, .wrongDigest, .tooLarge: CommandFailure(error.description, status: .data)
      default: CommandFailure(error.description, status: .io)
      }
    case let error as HTTPClientError: CommandFailure(error.message, status: .hubUnavailable)
    default: error
    }
  }
}
