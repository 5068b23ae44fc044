import CommandLine
import FoundationEssentials
import Glibc
import Models
import Storage
import Trust

/// `skerry repo publish`: objects that never change first, metadata last.
enum RepoPublish {
  static func run(_ invocation: Invocation) async throws {
    let command = invocation.command
    let folder = RepoFolder(path: command.argument("DIR"))
    let path = command.option("to")
    guard path == nil || command.option("hub") == nil else {
      throw UsageError(path: command.path, "--to and --hub are two places; publish to one after the other")
    }
    guard path != nil || command.option("hub") != nil || invocation.environment("SKERRY_HUB_URL") != nil else {
      throw UsageError(
        path: command.path, "publishing needs a place to go", hint: "give --to PATH, or --hub URL with --pin PIN")
    }
    let hub = path == nil ? HubAdmin(api: try invocation.hub()) : nil
    let contents = try folder.load()
    let missing = try RepoStatus.missingParts(folder, contents)
    guard missing.isEmpty else {
      throw CommandFailure(
        "the repository is not complete: \(missing.joined(separator: "; "))", hint: "add the model again",
        status: .data)
    }
    let now = Date()
    for case let document? in TUFRole.allCases.map(contents.document) where document.expires <= now {
      throw CommandFailure(
        TUFError.expired(role: document.role.rawValue, since: document.expires).description,
        hint: "sign it again: skerry repo renew \(folder.path) --keys KEYDIR", status: .data)
    }
    if hub != nil { try RepoDirector.demand(folder, contents) }
    let objects = try RepoUpload(folder, contents)
    let progress = ProgressBar(hidden: command.flag("json"))
    if let hub {
      do {
        let sent = try await hub.publish(folder, contents, objects, progress)
        await hub.api.close()
        tell(command, "published to \(hub.api.base)", sent, objects)
      } catch {
        await hub.api.close()
        throw error
      }
    } else if let path {
      let copied = try copy(folder, contents, objects, to: RepoFolder(path: path), progress)
      tell(command, "published to \(path)", copied, objects)
    }
  }

  /// Copies what the other folder lacks. Returns how many chunks that were.
  private static func copy(
    _ folder: RepoFolder, _ contents: RepoContents, _ objects: RepoUpload, to other: RepoFolder, _ progress: ProgressBar
  ) throws -> Int {
    guard !contents.isSignedOnline else {
      throw CommandFailure(
        "a hub signs this repository's snapshot and timestamp, so that no box could read a plain copy",
        hint: "publish to that hub: --hub URL --pin PIN --admin-token-file FILE", status: .data)
    }
    try refuseStepBack(folder, contents, other)
    for path in [other.metadata, other.chunks, other.indexes] { try DurableFile.makeDirectory(path, mode: 0o755) }
    let target = try ChunkStoreWriter(root: other.chunks)
    let source = try ChunkStoreWriter(root: folder.chunks)
    var copied = 0
    for (done, id) in objects.chunks.enumerated() {
      if try target.chunk(id) == nil {
        guard let bytes = try source.compressed(id) else { throw TUFError.missing(file: RepoFolder.chunkName(id)) }
        try target.put(id, compressed: bytes)
        copied += 1
      }
      progress.update("copying chunks", done: UInt64(done + 1), total: UInt64(objects.chunks.count), unit: .items)
    }
    for digest in objects.indexes { try copyFile(folder.index(digest), other.index(digest)) }
    // The timestamp is last in this list: with it the new repository becomes the current one.
    for file in contents.files {
      try copyFile("\(folder.metadata)/\(file)", "\(other.metadata)/\(file)")
    }
    progress.finish()
    return copied
  }

  private static func copyFile(_ from: String, _ path: String) throws {
    guard let bytes = try DurableFile.read(from, limit: 1 << 30) else { throw StorageError.notFound(path: from) }
    if try DurableFile.read(path, limit: 1 << 30) != bytes { try DurableFile.replace(path, with: bytes, mode: 0o644) }
  }

  /// Another repository, or a newer state of this one, is not written over.
  private static func refuseStepBack(_ folder: RepoFolder, _ contents: RepoContents, _ other: RepoFolder) throws {
    guard let root = try other.read("1.root.json") else { return }
    guard try folder.read("1.root.json") == root else {
      throw CommandFailure("\(other.path) holds another repository", hint: "choose an empty folder", status: .data)
    }
    let there = try other.load()
    for role in TUFRole.allCases {
      if let have = there.document(role)?.version, let got = contents.document(role)?.version, got < have {
        throw TUFError.rollback(file: "\(other.path): \(role.rawValue)", have: have, got: got)
      }
    }
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

/// What the models of a repository consist of: chunk names and index names, each once, in the files' order.
struct RepoUpload {
  private(set) var chunks: [ChunkID] = []
  private(set) var indexes: [Digest] = []

  init(_ folder: RepoFolder, _ contents: RepoContents) throws {
    var seen: Set<ChunkID> = []
    for target in contents.models {
      let digest = try RepoModels.manifest(target).index.sha256
      guard let bytes = try DurableFile.read(folder.index(digest), limit: 1 << 30) else {
        throw TUFError.missing(file: "\(digest.hex).caibx")
      }
      guard Digest(of: bytes) == digest else { throw TUFError.wrongHash(file: "\(digest.hex).caibx") }
      indexes.append(digest)
      for chunk in try ChunkIndex(caibx: bytes).chunks where seen.insert(chunk.id).inserted { chunks.append(chunk.id) }
    }
  }
}
