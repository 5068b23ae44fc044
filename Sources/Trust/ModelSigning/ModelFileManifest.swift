/// The files of a model with their digests: what a publisher signs (OpenSSF Model Signing 1.0, §5.2).
public struct ModelFileManifest: Hashable, Sendable {
  /// How the files were enumerated and hashed (§5.2.2).
  public struct Serialization: Hashable, Sendable {
    /// Nil when each file has one digest; else the length of the pieces that each have their own, in bytes (§6.3).
    public var shardSize: UInt64?
    public var allowsSymlinks: Bool
    /// Canonical paths, each a file or a folder, that are not part of what was signed.
    public var ignoredPaths: [String]

    public init(shardSize: UInt64? = nil, allowsSymlinks: Bool = false, ignoredPaths: [String] = []) {
      self.shardSize = shardSize
      self.allowsSymlinks = allowsSymlinks
      self.ignoredPaths = ignoredPaths
    }

    /// What implementations take unless they are told otherwise (§6.3.2).
    public static let defaultShardSize: UInt64 = 1_000_000_000
  }

  /// A file or a piece of one, with its digest.
  public struct Resource: Hashable, Sendable {
    public let range: ModelFileRange
    public let sha256: Digest

    public init(range: ModelFileRange, sha256: Digest) {
      self.range = range
      self.sha256 = sha256
    }
  }

  /// The last part of the model's path; informative only (§6.5).
  public let name: String
  public let serialization: Serialization
  /// In the order of their names' code points (§5.2.1) when it was made here, and as they stand when it was read.
  public let resources: [Resource]
  /// By path, the ranges in their order.
  public let files: [String: [Resource]]

  /// Most files and pieces in one manifest.
  public static let mostResources = 1_000_000

  /// Puts a manifest together. Throws `ModelSignatureError.malformedStatement` for what no manifest may hold: nothing
  /// at all, a path that leaves the model, a file twice, pieces that don't cover their file.
  public init(
    name: String, serialization: Serialization, resources: [Resource], sorted: Bool = true
  ) throws(ModelSignatureError) {
    func wrong(_ what: String) -> ModelSignatureError { .malformedStatement(what) }
    guard !name.isEmpty else { throw wrong("the model has no name") }
    guard !resources.isEmpty else { throw wrong("it names no file") }
    guard resources.count <= Self.mostResources else { throw wrong("it names more than \(Self.mostResources) files") }
    var files: [String: [Resource]] = [:]
    for resource in resources { files[resource.range.path, default: []].append(resource) }
    for (path, parts) in files {
      guard path == ModelPath.singleFile || ModelPath.isCanonical(path) else {
        throw wrong("“\(path)” is no path inside a model")
      }
      files[path] = try Self.ordered(parts, path, serialization.shardSize)
    }
    guard files.count == 1 || files[ModelPath.singleFile] == nil else {
      throw wrong("it names the model itself beside its files")
    }
    self.name = name
    self.serialization = serialization
    self.files = files
    self.resources =
      sorted
      ? resources.sorted { $0.range.name.unicodeScalars.lexicographicallyPrecedes($1.range.name.unicodeScalars) }
      : resources
  }

  /// One digest for the whole file, or pieces that cover it without a gap (§6.3.2).
  private static func ordered(
    _ parts: [Resource], _ path: String, _ shardSize: UInt64?
  ) throws(ModelSignatureError) -> [Resource] {
    guard let shardSize else {
      guard parts.count == 1 else { throw .malformedStatement("“\(path)” stands in it twice") }
      return parts
    }
    let ordered = parts.sorted { ($0.range.bytes?.lowerBound ?? 0) < ($1.range.bytes?.lowerBound ?? 0) }
    var end: UInt64 = 0
    for (at, part) in ordered.enumerated() {
      guard let bytes = part.range.bytes, bytes.lowerBound == end, !bytes.isEmpty,
        UInt64(bytes.count) == shardSize || (at == ordered.count - 1 && bytes.count < shardSize)
      else { throw .malformedStatement("the shards of “\(path)” don't cover it in pieces of \(shardSize) bytes") }
      end = bytes.upperBound
    }
    return ordered
  }

  /// SHA-256 over all digests in their order: the model as one number (§6.5.1).
  public var rootDigest: Digest {
    var hasher = SHA256()
    for resource in resources { hasher.update(resource.sha256.bytes) }
    return hasher.finalize()
  }

  /// Whether the model is one file and not a folder. A folder with one file looks the same to older signers.
  public var mayBeSingleFile: Bool { files.count == 1 }
}

/// A file of a model, or the bytes of it that have a digest of their own.
public struct ModelFileRange: Hashable, Sendable {
  /// Relative to the model's folder.
  public let path: String
  /// Nil for the whole file.
  public let bytes: Range<UInt64>?

  public init(path: String, bytes: Range<UInt64>? = nil) {
    self.path = path
    self.bytes = bytes
  }

  /// As a manifest spells it: `PATH`, or `PATH:START:END`.
  public var name: String { bytes.map { "\(path):\($0.lowerBound):\($0.upperBound)" } ?? path }

  /// The ranges of a file of this length: the whole, or its shards. An empty file has no shard.
  public static func ranges(of path: String, length: UInt64, shardSize: UInt64?) -> [ModelFileRange] {
    guard let shardSize, shardSize > 0 else { return [ModelFileRange(path: path)] }
    var ranges: [ModelFileRange] = []
    var start: UInt64 = 0
    while start < length {
      let end = length - start <= shardSize ? length : start + shardSize
      ranges.append(ModelFileRange(path: path, bytes: start..<end))
      start = end
    }
    return ranges
  }
}
