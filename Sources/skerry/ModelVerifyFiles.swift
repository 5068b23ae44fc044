import CommandLine
import FoundationEssentials
import Storage
import Trust

/// `skerry model verify PATH --signature FILE`: a model's files against its publisher's signature, without an agent.
enum ModelVerifyFiles {
  static let options = [
    OptionSpec(
      "signature", value: "FILE", "verify the files at PATH with this signature, and ask no agent", completion: .files),
    ModelSigning.publicKey, ModelSigning.certificateChain, ModelSigning.identity, ModelSigning.ignorePaths,
    ModelSigning.ignoreGit, ModelSigning.keepGit,
    OptionSpec("ignore-unsigned-files", "don't mind files that the signature does not name"),
  ]

  static func run(_ invocation: Invocation, signature: String) async throws {
    do { try await verify(invocation, signature) } catch { throw ModelSigning.failure(error, signature) }
  }

  private static func verify(_ invocation: Invocation, _ signature: String) async throws {
    let command = invocation.command
    let model = command.argument("MODEL|PATH")
    let trust = try ModelSigning.trust(command)
    let bundle = try ModelSigning.file(signature, limit: SigstoreBundle.limit)
    let verified = try VerifiedModelManifest.verify(bundle, trust: trust, now: Date())
    let manifest = verified.manifest
    let ignored = Set(try ModelSigning.ignored(command, in: model, signature: signature))
    let unsignedAllowed = command.flag("ignore-unsigned-files")

    let covered = ignored.union(manifest.serialization.ignoredPaths)
    let tree = try ModelTree(
      model, followingLinks: manifest.serialization.allowsSymlinks,
      // What was signed is looked at even where it would be left out.
      isIgnored: { path in ModelPath.isCovered(path, by: covered) && !manifest.isSignedOrAbove(path) })
    let comparison = ModelComparison(
      verified, sizes: tree.sizes, fileName: tree.isSingleFile ? tree.name : nil, ignoring: ignored,
      unsignedAllowed: unsignedAllowed)
    var mismatches = comparison.mismatches
    if mismatches.isEmpty {
      let progress = ProgressBar(hidden: command.flag("json"))
      let digests = try await tree.digests(of: comparison.ranges) {
        progress.update("hashing \(tree.name)", done: $0, total: $1)
      }
      progress.finish()
      mismatches = comparison.altered(digests)
    }
    try tell(invocation, model, verified, mismatches)
  }

  private static func tell(
    _ invocation: Invocation, _ model: String, _ verified: VerifiedModelManifest, _ mismatches: [ModelMismatch]
  ) throws {
    let manifest = verified.manifest
    let answer: JSONValue = [
      "ok": .bool(mismatches.isEmpty), "name": .string(manifest.name),
      "files": .integer(Int64(manifest.files.count)), "rootDigest": .string(manifest.rootDigest.hex),
      "signer": verified.signer.json, "mismatches": .array(mismatches.map { .string($0.description) }),
    ]
    invocation.answer(answer) {
      guard mismatches.isEmpty else { return "" }
      let files = manifest.files.count == 1 ? "the file is" : "all \(manifest.files.count) files are"
      return "\(model): \(files) as signed by \(verified.signer)\n"
    }
    guard let first = mismatches.first else { return }
    let more = mismatches.count > 1 ? " and \(mismatches.count - 1) more" : ""
    for mismatch in mismatches.prefix(20) { invocation.console.note(mismatch.description) }
    throw CommandFailure("\(model) is NOT as it was signed: \(first)\(more)", status: .data)
  }
}

extension ModelFileManifest {
  /// Whether the path is a signed file, or a folder above one.
  func isSignedOrAbove(_ path: String) -> Bool {
    files[path] != nil || files.keys.contains { $0.hasPrefix(path + "/") }
  }
}
