import CommandLine
import Fleet
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo publish`: objects that never change first, metadata last, and the timestamp at the very end.
enum RepoPublish {
  static func run(_ invocation: Invocation) async throws {
    let command = invocation.command
    let folder = RepoFolder(path: command.argument("DIR"))
    let places = ["to", "s3", "hub"].filter { command.option($0) != nil }
    guard places.count < 2 else {
      throw UsageError(
        path: command.path, "--\(places[0]) and --\(places[1]) are two places; publish to one after the other")
    }
    guard !places.isEmpty || invocation.environment("SKERRY_HUB_URL") != nil else {
      throw UsageError(
        path: command.path, "publishing needs a place to go",
        hint: "give --to PATH, --s3 URL, or --hub URL with --pin PIN")
    }
    let hub = ["to", "s3"].contains(places.first) ? nil : HubAdmin(api: try invocation.hub())
    let place: (any RepoPlace)? =
      if let url = command.option("s3") { try S3Place(url, invocation) } else {
        command.option("to").map { FolderPlace(path: $0) }
      }
    do {
      if let staged = command.option("staged") { try RepoStaging.commit(command, folder, from: [staged]) }
      let contents = try ready(folder)
      if hub != nil { try RepoDirector.demand(folder, contents) }
      let objects = try RepoUpload(folder, contents)
      let progress = ProgressBar(hidden: command.flag("json"))
      if let hub {
        let sent = try await hub.publish(folder, contents, objects, progress)
        tell(command, "published to \(hub.api.base)", sent, objects)
      } else if let place {
        let sent = try await RepoCopy(folder: folder, contents: contents, place: place).run(objects, progress)
        tell(command, "published to \(place.name)", sent, objects)
      }
    } catch {
      await hub?.api.close()
      await place?.close()
      throw error
    }
    await hub?.api.close()
    await place?.close()
  }

  /// What is to be published, complete and not expired.
  private static func ready(_ folder: RepoFolder) throws -> RepoContents {
    let contents = try folder.load()
    let missing = try RepoMissing.parts(folder, contents)
    guard missing.isEmpty else {
      throw CommandFailure(
        "the repository is not complete: \(missing.joined(separator: "; "))", hint: "add the model again",
        status: .data)
    }
    let now = Date()
    for role in contents.roles {
      guard let document = contents.document(role), document.expires <= now else { continue }
      throw CommandFailure(
        TUFError.expired(role: role, since: document.expires).description,
        hint: "sign it again: skerry repo renew \(folder.path) --role \(role) --keys KEYDIR", status: .data)
    }
    return contents
  }

  private static func tell(_ command: ParsedCommand, _ text: String, _ sent: Int, _ objects: RepoUpload) {
    if command.flag("json") {
      Voice.say(
        JSONValue.object([
          "message": .string(text), "chunks": .integer(Int64(objects.chunks.count)),
          "chunksSent": .integer(Int64(sent)),
        ]).encodedPretty())
    } else {
      Voice.line("\(text): \(sent) of \(objects.chunks.count) chunks were new there; metadata went last")
    }
  }
}

/// What the models of a repository consist of: names of chunks and indexes and whole files, each once, in their order.
struct RepoUpload {
  private(set) var chunks: [ChunkID] = []
  private(set) var indexes: [Digest] = []
  /// Publishers' own signatures, by their names in the repository.
  private(set) var signatures: [String] = []
  /// Models without an index, whose files travel as a whole.
  private(set) var files: [ModelManifest] = []
  private(set) var policies: [PolicyTarget] = []

  init(_ folder: RepoFolder, _ contents: RepoContents) throws {
    var seen: Set<ChunkID> = []
    for target in contents.models {
      if let policy = PolicyTarget(target) {
        policies.append(policy)
        continue
      }
      let manifest = try RepoModels.manifest(target)
      if let signature = manifest.signature { signatures.append(signature.path) }
      guard let digest = manifest.index?.sha256 else {
        files.append(manifest)
        continue
      }
      guard let bytes = try DurableFile.read(folder.index(digest), limit: 1 << 30) else {
        throw TUFError.missing(file: "\(digest.hex).caibx")
      }
      guard Digest(of: bytes) == digest else { throw TUFError.wrongHash(file: "\(digest.hex).caibx") }
      indexes.append(digest)
      for chunk in try ChunkIndex(caibx: bytes).chunks where seen.insert(chunk.id).inserted { chunks.append(chunk.id) }
    }
  }
}
