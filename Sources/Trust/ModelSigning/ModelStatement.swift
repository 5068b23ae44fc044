/// The in-toto statement (v1) about a model's files, as it is signed (OpenSSF Model Signing 1.0, §5 and §6.6).
extension ModelFileManifest {
  public static let payloadType = "application/vnd.in-toto+json"
  public static let statementType = "https://in-toto.io/Statement/v1"
  public static let predicateType = "https://model_signing/signature/v1.0"
  private static let hash = "sha256"

  /// Where there are shards, released signers and verifiers call the digest `sha256-sharded-SIZE`, and the
  /// specification's text (§6.3.2) `sha256`. Skerry writes what the released ones compare with, and reads both.
  private static func shardedHash(_ size: UInt64) -> String { "\(hash)-sharded-\(size)" }

  /// The bytes to be signed.
  public var statement: [UInt8] {
    let algorithm = serialization.shardSize.map(Self.shardedHash) ?? Self.hash
    var how: [String: JSONValue] = [
      "method": serialization.shardSize == nil ? "files" : "shards", "hash_type": .string(Self.hash),
      "allow_symlinks": .bool(serialization.allowsSymlinks),
    ]
    how["shard_size"] = serialization.shardSize.map { .integer(Int64(clamping: $0)) }
    if !serialization.ignoredPaths.isEmpty {
      how["ignore_paths"] = .array(serialization.ignoredPaths.map { .string($0) })
    }
    let listed: [JSONValue] = resources.map { resource in
      [
        "name": .string(resource.range.name), "digest": .string(resource.sha256.hex),
        "algorithm": .string(algorithm),
      ]
    }
    let value: JSONValue = [
      "_type": .string(Self.statementType), "predicateType": .string(Self.predicateType),
      "subject": [["name": .string(name), "digest": ["sha256": .string(rootDigest.hex)]]],
      "predicate": ["serialization": .object(how), "resources": .array(listed)],
    ]
    return value.encoded()
  }

  /// Reads a signed statement (§8.3). Throws `ModelSignatureError`.
  public init(statement bytes: [UInt8]) throws(ModelSignatureError) {
    let value: JSONValue
    do { value = try JSONValue(parsing: bytes) } catch { throw .malformedStatement(error.description) }
    do {
      try self.init(JSONField(value))
    } catch let error as ModelSignatureError {
      throw error
    } catch let error as JSONFieldError {
      throw .malformedStatement(error.description)
    } catch {
      throw .malformedStatement("\(error)")
    }
  }

  private init(_ document: JSONField) throws {
    let statement = try document.members(["_type", "subject", "predicateType", "predicate"])
    try Self.demand(statement["_type"], Self.statementType, "_type", document)
    try Self.demand(statement["predicateType"], Self.predicateType, "predicateType", document)

    let subjects = try Self.required(statement, "subject", document).array(of: "one subject")
    guard let subject = subjects.first, subjects.count == 1 else {
      throw ModelSignatureError.malformedStatement("it has \(subjects.count) subjects and not one")
    }
    let subjectMembers = try subject.object()
    let name = try Self.required(subjectMembers, "name", subject).string()
    let digest = try Self.required(subjectMembers, "digest", subject)
    let root = try Self.digest(Self.required(digest.object(), Self.hash, digest))

    let predicate = try Self.required(statement, "predicate", document)
    let members = try predicate.members(["resources", "serialization"])
    let serialization = try Self.serialization(Self.required(members, "serialization", predicate))
    let resources = try Self.required(members, "resources", predicate).array(of: "resources")
    guard resources.count <= Self.mostResources else {
      throw ModelSignatureError.malformedStatement("it names more than \(Self.mostResources) files")
    }
    // Sorted by code points the specification says, sorted by path components the released signers do: each order is
    // taken, and the root digest is over the digests as they stand.
    try self.init(
      name: name, serialization: serialization, resources: resources.map { try Self.resource($0, serialization) },
      sorted: false)
    guard rootDigest == root else {
      throw ModelSignatureError.malformedStatement("its root digest is not that of the files that it names")
    }
  }

  private static func serialization(_ field: JSONField) throws -> Serialization {
    let members = try field.members(["method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths"])
    let hashType = try required(members, "hash_type", field).string()
    guard hashType == hash else {
      throw ModelSignatureError.unsupported("the files are hashed with \(hashType); Skerry verifies SHA-256 (sha256)")
    }
    let shardSize: UInt64?
    switch try required(members, "method", field).string() {
    case "files":
      guard members["shard_size"] == nil else {
        throw ModelSignatureError.malformedStatement("a serialization by files has no shard_size")
      }
      shardSize = nil
    case "shards": shardSize = try size(required(members, "shard_size", field))
    case let method:
      throw ModelSignatureError.unsupported("the files are serialized by “\(method)”; Skerry knows files and shards")
    }
    // Some signers recorded paths outside the model; they match nothing in it.
    let ignored = try members["ignore_paths"]?.array(of: "paths").map { try $0.string() } ?? []
    return Serialization(
      shardSize: shardSize, allowsSymlinks: try required(members, "allow_symlinks", field).bool(),
      ignoredPaths: ignored.compactMap { ModelPath.canonical($0) })
  }

  /// Protobuf's JSON has no integers in a free-form object; 1000.0 is 1000.
  private static func size(_ field: JSONField) throws -> UInt64 {
    if case .double(let number) = field.value, number.rounded() == number, number >= 1, number <= 0x1p53 {
      return UInt64(number)
    }
    return UInt64(try field.integer(1...Int.max))
  }

  private static func resource(_ field: JSONField, _ serialization: Serialization) throws -> Resource {
    // Unknown members are to be ignored here (§5.2.1).
    let members = try field.object()
    let name = try required(members, "name", field).string()
    let algorithm = try required(members, "algorithm", field).string()
    let sharded = serialization.shardSize.map(shardedHash)
    guard algorithm == hash || algorithm == sharded else {
      throw ModelSignatureError.unsupported("“\(name)” is hashed with \(algorithm), and the manifest says \(hash)")
    }
    let sha256 = try digest(required(members, "digest", field))
    guard serialization.shardSize != nil else { return Resource(range: ModelFileRange(path: name), sha256: sha256) }
    // A file's name may have colons of its own: the last two count.
    let parts = name.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count >= 3, let start = offset(parts[parts.count - 2]), let end = offset(parts[parts.count - 1]),
      start < end
    else { throw ModelSignatureError.malformedStatement("“\(name)” is no shard: PATH:START:END") }
    let path = parts.dropLast(2).joined(separator: ":")
    return Resource(range: ModelFileRange(path: path, bytes: start..<end), sha256: sha256)
  }

  private static func offset(_ text: Substring) -> UInt64? {
    guard let number = UInt64(text), String(number) == text, number <= UInt64(Int64.max) else { return nil }
    return number
  }

  private static func digest(_ field: JSONField) throws -> Digest {
    let text = try field.string()
    guard let digest = Digest(hex: text), digest.hex == text else {
      throw field.wrong("“\(text.prefix(80))” is no SHA-256", allowed: "64 lower-case hexadecimal digits")
    }
    return digest
  }

  private static func required(_ members: [String: JSONField], _ key: String, _ parent: JSONField) throws -> JSONField {
    guard let field = members[key] else { throw parent.wrong("it has no “\(key)”", allowed: "one") }
    return field
  }

  private static func demand(_ field: JSONField?, _ wanted: String, _ key: String, _ parent: JSONField) throws {
    guard let field else { throw parent.wrong("it has no “\(key)”", allowed: wanted) }
    let text = try field.string()
    guard text == wanted else {
      throw ModelSignatureError.unsupported("its \(key) is “\(text)”; Skerry reads “\(wanted)”")
    }
  }
}
