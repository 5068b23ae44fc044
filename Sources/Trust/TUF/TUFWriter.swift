import FoundationEssentials

/// The signed portion of a metadata file, before its signatures.
public struct TUFSigned: Sendable {
  public internal(set) var json: JSONValue

  /// The file `{"signatures": […], "signed": {…}}` with one Ed25519 signature by each key.
  public func signed(by keys: [SigningKey]) throws(TUFError) -> [UInt8] {
    let message: [UInt8]
    do { message = try json.canonicalOLPC() } catch {
      throw .malformed(role: json["_type"]?.string ?? "new", reason: error.description)
    }
    let signatures = keys.map { key -> JSONValue in
      ["keyid": .string(TUFKey(ed25519: key.verifyingKey).keyID), "sig": .string(Hex.encode(key.sign(message)))]
    }
    return JSONValue.object(["signatures": .array(signatures), "signed": json]).encodedPretty()
  }
}

/// Builds metadata as TUF 1.0 writes it (specification, "Document formats").
public enum TUFWriter {
  /// The specification that Skerry's own metadata follows.
  public static let specification = "1.0.34"

  /// A root with consistent snapshots. `keys` are the keys of each role; all that `roles` names must be there.
  /// `policy` is what holds when metadata has expired.
  public static func root(
    version: Int64, expires: Date, roles: [TUFRole: (keys: [TUFKey], threshold: Int)], consistentSnapshot: Bool = true,
    policy: RepositoryPolicy = RepositoryPolicy()
  ) -> TUFSigned {
    var keys: [String: JSONValue] = [:]
    var listed: [String: JSONValue] = [:]
    for (role, value) in roles {
      for key in value.keys { keys[key.keyID] = key.json }
      listed[role.rawValue] = [
        "keyids": .array(value.keys.map { .string($0.keyID) }), "threshold": .integer(Int64(value.threshold)),
      ]
    }
    var members: [String: JSONValue] = [
      "consistent_snapshot": .bool(consistentSnapshot), "keys": .object(keys), "roles": .object(listed),
    ]
    members["skerry"] = policy.json
    return file(.root, version, expires, members)
  }

  public static func targets(version: Int64, expires: Date, targets: [TUFTarget]) -> TUFSigned {
    let listed = Dictionary(targets.map { ($0.path, $0.json) }, uniquingKeysWith: { _, last in last })
    return file(.targets, version, expires, ["targets": .object(listed)])
  }

  /// `files` by name, `targets.json` among them.
  public static func snapshot(version: Int64, expires: Date, files: [String: TUFFileMeta]) -> TUFSigned {
    file(.snapshot, version, expires, ["meta": .object(files.mapValues(\.json))])
  }

  /// `signedAt` is when it is signed: a box that reads it knows that it is no earlier (`TimeFloor`).
  public static func timestamp(
    version: Int64, expires: Date, snapshot: TUFFileMeta, signedAt: Date? = nil
  ) -> TUFSigned {
    var members: [String: JSONValue] = ["meta": ["snapshot.json": snapshot.json]]
    members["skerry"] = signedAt.map { ["signedAt": .string(TUFTime.format($0))] }
    return file(.timestamp, version, expires, members)
  }

  private static func file(
    _ role: TUFRole, _ version: Int64, _ expires: Date, _ members: [String: JSONValue]
  ) -> TUFSigned {
    var signed = members
    signed["_type"] = .string(role.rawValue)
    signed["spec_version"] = .string(specification)
    signed["version"] = .integer(version)
    signed["expires"] = .string(TUFTime.format(expires))
    return TUFSigned(json: .object(signed))
  }
}
