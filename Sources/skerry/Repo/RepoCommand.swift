import CommandLine
import Models
import Storage
import Trust
import Web

/// The publisher's side.
let repoNoun = Noun(RepoCommands.spec) { invocation in try await RepoCommands.run(invocation) }

/// `skerry repo`: the publisher's side. It works on folders, a hub's admin API and S3, and needs no agent.
enum RepoCommands {
  static let spec = CommandSpec(
    "repo", "builds, signs and publishes a repository of models",
    discussion: """
      A repository is a folder of signed TUF metadata, chunk indexes and chunks that any static web server can serve. \
      Its keys lie in another folder, best on another machine: root says which keys count, targets says which models \
      are good. A hub may hold the two online keys, snapshot and timestamp.

      A command that changes something signs it with the keys at hand, or changes nothing. With --stage it signs \
      nothing: stage, sign and commit then carry the next metadata to the machines where the keys are.
      """,
    subcommands: RepoSpecs.all)

  /// Runs one of the commands above. Throws `CommandFailure` with the exit status that fits.
  static func run(_ invocation: Invocation) async throws {
    let command = invocation.command
    do {
      switch command.path.dropFirst().joined(separator: " ") {
      case "init": try RepoInit.run(command)
      case "key create": try RepoKeyCommands.create(command)
      case "key import": try RepoKeyCommands.take(command)
      case "key list": try RepoKeyCommands.list(command)
      case "role": try RepoRoles.role(command)
      case "rotate": try RepoRoles.rotate(command)
      case "policy": try RepoRoles.policy(command)
      case "delegate": try RepoDelegations.delegate(command)
      case "publisher add", "publisher list", "publisher remove": try RepoPublisherCommands.run(invocation)
      case "add": try await RepoAdd.run(command)
      case "remove": try RepoChanges.remove(command)
      case "access add", "access list", "access remove": try RepoAccess.run(command)
      case "renew": try RepoChanges.renew(command)
      case "gc": try RepoGC.run(command)
      case "stage": try RepoStaging.stage(command)
      case "sign": try RepoStaging.sign(command)
      case "commit": try RepoStaging.commit(command)
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
    case let error as TUFAltered:
      CommandFailure(
        error.description, hint: "sign nothing; ask who staged it, and stage it again from the repository",
        status: .data)
    case let error as KeyError: CommandFailure(error.description, status: .data)
    case let error as ManifestError: CommandFailure(error.description, status: .data)
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
