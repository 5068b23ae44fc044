import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// A model file whose publisher's own signature was verified, before anything was written.
struct RepoSignedFile {
  private let bundle: [UInt8]
  /// Of the whole file.
  private let sha256: Digest
  private let record: PublisherSignature

  /// What `--publisher` and `--signature` ask for: nil when the publisher's signature is not required and none is given.
  /// Throws `CommandFailure` when one is missing, does not verify, or is not over this file.
  static func demand(_ command: ParsedCommand, _ folder: RepoFolder, file: String) async throws -> RepoSignedFile? {
    let name = command.option("publisher")
    let publisher = try name.flatMap { try RepoPublishers(folder).find($0) }
    switch (publisher, command.option("signature")) {
    case (nil, nil): return nil
    case (nil, _?):
      throw CommandFailure(
        name.map { "nothing says what a signature of “\($0)” is" } ?? "whose signature it must be is not said",
        hint: "skerry repo publisher add \(folder.path) NAME --public-key FILE; then repo add --publisher NAME",
        status: .noInput)
    case (let publisher?, nil):
      throw CommandFailure(
        "models of “\(publisher.name)” are added only with its own signature", hint: "give --signature FILE",
        status: .data)
    case (let publisher?, let path?):
      do { return try await verified(file, path, publisher, hidden: command.flag("json")) } catch {
        throw ModelSigning.failure(error, path)
      }
    }
  }

  private static func verified(
    _ file: String, _ path: String, _ publisher: RepoPublishers.Publisher, hidden: Bool
  ) async throws -> RepoSignedFile {
    let bundle = try ModelSigning.file(path, limit: SigstoreBundle.limit)
    let manifest = try verified(bundle, publisher)
    let tree = try ModelTree(file, followingLinks: true)
    let candidates = manifest.files(named: tree.name)
    let whole = ModelFileRange(path: ModelPath.singleFile)
    let ranges = [whole] + Set(candidates.flatMap { $0.map(\.range) }).subtracting([whole])
    let size = tree.sizes[ModelPath.singleFile] ?? 0
    let wanted = ranges.filter { ($0.bytes?.upperBound ?? 0) <= size }
    let progress = ProgressBar(hidden: hidden)
    let digests = try await tree.digests(of: wanted) { progress.update("verifying \(tree.name)", done: $0, total: $1) }
    progress.finish()
    let found = Dictionary(zip(wanted, digests), uniquingKeysWith: { first, _ in first })
    let isSigned = candidates.contains { parts in
      parts.allSatisfy { found[$0.range] == $0.sha256 } && (parts.last?.range.bytes?.upperBound ?? size) == size
    }
    guard isSigned, let sha256 = found[whole] else {
      throw CommandFailure(
        "\(file) is NOT what \(publisher.name) has signed", hint: "the signature is good, and over other bytes",
        status: .data)
    }
    return RepoSignedFile(
      bundle: bundle, sha256: sha256,
      record: PublisherSignature(
        length: UInt64(bundle.count), sha256: Digest(of: bundle), signer: "\(publisher.name), \(manifest.signer)"))
  }

  /// Any of the publisher's keys is enough; of several failures the first is told, unless another says more.
  private static func verified(
    _ bundle: [UInt8], _ publisher: RepoPublishers.Publisher
  ) throws -> VerifiedModelManifest {
    var failures: [ModelSignatureError] = []
    for trust in publisher.trusts {
      do { return try VerifiedModelManifest.verify(bundle, trust: trust, now: Date()) } catch { failures.append(error) }
    }
    func isOfAnotherSigner(_ error: ModelSignatureError) -> Bool {
      switch error {
      case .otherKey, .wrongMethod: true
      default: false
      }
    }
    throw failures.first { !isOfAnotherSigner($0) } ?? failures.first ?? .badSignature
  }

  /// Keeps the bundle in the repository's folder and says what the metadata records of it. Throws when the file that was
  /// added meanwhile is not the one that was verified.
  func keep(in folder: RepoFolder, added: Digest) throws -> PublisherSignature {
    guard added == sha256 else {
      throw CommandFailure("the model changed after its signature was verified", status: .data)
    }
    let path = "\(folder.path)/\(record.path)"
    try DurableFile.makeDirectory("\(folder.path)/signatures", mode: 0o755)
    if try DurableFile.read(path, limit: SigstoreBundle.limit) != bundle {
      try DurableFile.replace(path, with: bundle, mode: 0o644)
    }
    return record
  }
}

/// Publishers' signatures that lie in a repository.
enum RepoSignatures {
  /// Reads the bundle that a model's metadata names and compares it with length and digest. Nothing where it names none.
  static func check(_ manifest: ModelManifest, _ source: RepoSource) async throws {
    guard let record = manifest.signature else { return }
    func wrong(_ what: String) -> CommandFailure {
      CommandFailure("\(manifest.label): its publisher's signature \(record.path) \(what)", status: .data)
    }
    guard let bytes = try await source.read(record.path, limit: Int(clamping: record.length)) else {
      throw wrong("is missing")
    }
    guard UInt64(bytes.count) == record.length, Digest(of: bytes) == record.sha256,
      (try? SigstoreBundle(parsing: bytes)) != nil
    else { throw wrong("is damaged") }
  }
}
