import Trust

/// What the signed metadata says of one model: the TUF target's path, length and digest, and its `custom.skerry`.
public struct ModelManifest: Hashable, Sendable {
  /// Where the chunk index of a model's file is and what it must hash to.
  public struct Index: Hashable, Sendable {
    /// The length of the `.caibx` file in bytes.
    public var length: UInt64
    public var sha256: Digest

    public init(length: UInt64, sha256: Digest) {
      self.length = length
      self.sha256 = sha256
    }
  }

  public var kind: ArtifactKind
  /// The digest of the model that an adapter belongs to; nil for a model.
  public var base: Digest?
  public var name: ModelName
  public var version: ModelVersion
  /// The last component of the target's path; it ends in `.gguf`.
  public var fileName: String
  /// The length of the weights in bytes.
  public var length: UInt64
  public var sha256: Digest
  /// Nil: the file is fetched as a whole.
  public var index: Index?
  /// GGUF's `general.architecture`, for example `llama`.
  public var architecture: String
  /// The context that the model was trained for, in tokens; 0 when the file does not say.
  public var contextLength: UInt64
  /// An SPDX licence expression, when the publisher gave one.
  public var license: String?
  public var publisher: String?
  /// The publisher's own signature on the weights, when the repository has it.
  public var signature: PublisherSignature?

  public init(
    name: ModelName, version: ModelVersion, fileName: String, length: UInt64, sha256: Digest, index: Index?,
    architecture: String, contextLength: UInt64, license: String? = nil, publisher: String? = nil, base: Digest? = nil
  ) {
    kind = base == nil ? .model : .adapter
    self.base = base
    self.name = name
    self.version = version
    self.fileName = fileName
    self.length = length
    self.sha256 = sha256
    self.index = index
    self.architecture = architecture
    self.contextLength = contextLength
    self.license = license
    self.publisher = publisher
  }

  /// The TUF target's path: `models/NAME/VERSION/FILE.gguf`.
  public var targetPath: String { "models/\(name)/\(version)/\(fileName)" }

  /// Where the whole file lies in a repository's `targets/`: TUF's consistent snapshots put the digest before the name.
  public var filePath: String { "models/\(name)/\(version)/\(sha256.hex).\(fileName)" }

  /// `NAME:VERSION`, for messages.
  public var label: String { "\(name):\(version)" }
}

/// A target that the metadata names but that is no model as Skerry publishes them.
public struct ManifestError: Error, Equatable, CustomStringConvertible {
  public let description: String
}

extension ModelManifest {
  /// Reads a TUF target. Throws `ManifestError` when `custom.skerry` is missing, incomplete, or disagrees with the path.
  public init(target path: String, length: UInt64, sha256: Digest, custom: JSONValue?) throws(ManifestError) {
    func wrong(_ what: String) -> ManifestError { ManifestError(description: "the target \(path): \(what)") }
    guard let fields = custom?["skerry"], case .object = fields else { throw wrong("it has no custom.skerry object") }
    func text(_ key: String) throws(ManifestError) -> String {
      guard let value = fields[key]?.string else { throw wrong("custom.skerry.\(key) must be a string") }
      return value
    }
    func optionalText(_ key: String) throws(ManifestError) -> String? {
      switch fields[key] {
      case nil, .null: return nil
      case .string(let value): return value
      default: throw wrong("custom.skerry.\(key) must be a string")
      }
    }
    guard let kind = ArtifactKind(rawValue: try text("kind")) else {
      throw wrong("custom.skerry.kind is neither \"model\" nor \"adapter\"")
    }
    let base = fields["base"]?["sha256"]?.string.flatMap { Digest(hex: $0) }
    switch kind {
    case .model: guard fields["base"] == nil else { throw wrong("a model has no custom.skerry.base") }
    case .adapter:
      guard let base, base != sha256 else {
        throw wrong("an adapter names its base's digest: custom.skerry.base must have a sha256")
      }
    }
    guard try text("format") == "gguf" else { throw wrong("custom.skerry.format is not \"gguf\"") }
    guard let name = ModelName(try text("name")) else { throw wrong("custom.skerry.name must be \(ModelName.rule)") }
    guard let version = ModelVersion(try text("version")) else {
      throw wrong("custom.skerry.version must be \(ModelVersion.rule)")
    }
    guard length > 0, length <= UInt64(Int64.max) else { throw wrong("its length is absurd") }
    var index: Index?
    if let field = fields["index"], field != .null {
      guard let length = field["length"]?.integer, length > 0,
        let digest = field["sha256"]?.string.flatMap({ Digest(hex: $0) })
      else { throw wrong("custom.skerry.index must have a length and a sha256") }
      index = Index(length: UInt64(length), sha256: digest)
    }
    guard let contextLength = fields["contextLength"]?.integer ?? (fields["contextLength"] == nil ? 0 : nil),
      contextLength >= 0
    else { throw wrong("custom.skerry.contextLength must be a number of tokens") }

    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "models", parts[1] == name.description, parts[2] == version.description,
      ModelManifest.isFileName(parts[3])
    else { throw wrong("the path is not models/\(name)/\(version)/FILE.gguf") }

    self.init(
      name: name, version: version, fileName: String(parts[3]), length: length, sha256: sha256,
      index: index, architecture: try text("architecture"),
      contextLength: UInt64(contextLength), license: try optionalText("license"),
      publisher: try optionalText("publisher"), base: base)
    if let value = fields["signature"] {
      guard let signature = PublisherSignature(value) else {
        throw wrong("custom.skerry.signature must have a length, a sha256 and a signer")
      }
      self.signature = signature
    }
  }

  /// The same of a target as the metadata lists it.
  public init(_ target: TUFTarget) throws(ManifestError) {
    guard let sha256 = target.sha256 else {
      throw ManifestError(description: "the target \(target.path): it has no SHA-256, by which models are stored")
    }
    try self.init(target: target.path, length: target.length, sha256: sha256, custom: target.custom)
  }

  /// The target's `custom` object.
  public var customJSON: JSONValue {
    var fields: [String: JSONValue] = [
      "kind": .string(kind.rawValue), "format": "gguf", "name": .string(name.description),
      "version": .string(version.description),
      "architecture": .string(architecture), "contextLength": .integer(Int64(clamping: contextLength)),
    ]
    if let base { fields["base"] = ["sha256": .string(base.hex)] }
    if let index {
      fields["index"] = ["length": .integer(Int64(clamping: index.length)), "sha256": .string(index.sha256.hex)]
    }
    if let license { fields["license"] = .string(license) }
    if let publisher { fields["publisher"] = .string(publisher) }
    fields["signature"] = signature?.json
    return ["skerry": .object(fields)]
  }

  /// A plain file name that ends in `.gguf`: no folder, no control character, at most 128 bytes.
  public static func isFileName(_ text: some StringProtocol) -> Bool {
    text.hasSuffix(".gguf") && !text.hasPrefix(".") && text.utf8.count <= 128
      && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x2F && $0 != 0x5C }
  }
}

extension ModelManifest: Codable {
  private enum Key: String, CodingKey { case path, length, sha256, custom }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    try self.init(
      target: values.decode(String.self, forKey: .path), length: values.decode(UInt64.self, forKey: .length),
      sha256: values.decode(Digest.self, forKey: .sha256), custom: values.decode(JSONValue.self, forKey: .custom))
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    try values.encode(targetPath, forKey: .path)
    try values.encode(length, forKey: .length)
    try values.encode(sha256, forKey: .sha256)
    try values.encode(customJSON, forKey: .custom)
  }
}
