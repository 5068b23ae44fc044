/// What is different between a model on disk and its signed manifest.
public enum ModelMismatch: Hashable, Sendable, CustomStringConvertible {
  case missing(String)
  case unsigned(String)
  case length(String, signed: UInt64, found: UInt64)
  case altered(ModelFileRange)

  public var description: String {
    switch self {
    case .missing(let path): "missing: \(path)"
    case .unsigned(let path): "not signed: \(path)"
    case .length(let path, let signed, let found): "altered: \(path) has \(found) bytes, and \(signed) were signed"
    case .altered(let range):
      range.bytes.map { "altered: \(range.path), bytes \($0.lowerBound) to \($0.upperBound)" }
        ?? "altered: \(range.path)"
    }
  }
}

extension VerifiedModelManifest {
  /// What was signed under a file's name, wherever it lies in the model, with `ModelPath.singleFile` as its path: a
  /// folder was signed and one file of it is at hand. Several when several folders have a file of that name.
  public func files(named name: String) -> [[ModelFileManifest.Resource]] {
    manifest.files.filter { path, _ in
      path == ModelPath.singleFile || path == name || path.hasSuffix("/" + name)
    }.map { _, parts in
      parts.map { .init(range: ModelFileRange(path: ModelPath.singleFile, bytes: $0.range.bytes), sha256: $0.sha256) }
    }
  }
}

/// Compares a model's files with its verified manifest (OpenSSF Model Signing 1.0, §8.4): first names and lengths, then
/// the digests of what `ranges` asks for.
public struct ModelComparison: Sendable {
  private let verified: [ModelFileManifest.Resource]
  /// What names and lengths alone tell, sorted. Hashing is needless when there is something.
  public let mismatches: [ModelMismatch]

  /// - Parameters:
  ///   - sizes: the files that were found, by path, in bytes; for a single file its one path is `ModelPath.singleFile`.
  ///   - fileName: the single file's own name, which the manifest may use.
  ///   - ignoring: canonical paths that are nobody's business, beside those that the manifest names.
  ///   - unsignedAllowed: whether files that the manifest does not name are left alone (§8.5).
  public init(
    _ verified: VerifiedModelManifest, sizes: [String: UInt64], fileName: String? = nil, ignoring: Set<String> = [],
    unsignedAllowed: Bool = false
  ) {
    let manifest = verified.manifest
    var signed = manifest.files
    if let fileName, signed.count == 1, let parts = signed[fileName] { signed = [ModelPath.singleFile: parts] }
    let ignored = ignoring.union(manifest.serialization.ignoredPaths)
    var found: [ModelMismatch] = []
    var compared: [ModelFileManifest.Resource] = []
    for (path, parts) in signed {
      guard let size = sizes[path] else {
        found.append(.missing(path))
        continue
      }
      if let end = parts.last?.range.bytes?.upperBound, end != size {
        found.append(.length(path, signed: end, found: size))
      }
      compared += parts.map { part in
        .init(range: ModelFileRange(path: path, bytes: part.range.bytes), sha256: part.sha256)
      }
    }
    if !unsignedAllowed {
      for (path, size) in sizes where signed[path] == nil && !ModelPath.isCovered(path, by: ignored) {
        // An empty file has no shard, so that a manifest of shards can't name it (§6.3.2).
        if size == 0, manifest.serialization.shardSize != nil { continue }
        found.append(.unsigned(path))
      }
    }
    mismatches = found.sorted { $0.description < $1.description }
    self.verified = compared.sorted { $0.range.name < $1.range.name }
  }

  /// What has to be hashed.
  public var ranges: [ModelFileRange] { verified.map(\.range) }

  /// Which digests, given in the order of `ranges`, are not the signed ones.
  public func altered(_ digests: [Digest]) -> [ModelMismatch] {
    precondition(digests.count == verified.count, "a digest for each range")
    return zip(verified, digests).filter { $0.sha256 != $1 }.map { .altered($0.0.range) }
  }
}
