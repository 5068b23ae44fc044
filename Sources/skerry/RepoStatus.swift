import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo status`.
enum RepoStatus {
  static func run(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let contents = try folder.load()
    let missing = try missingParts(folder, contents)
    if command.flag("json") {
      Voice.say(json(folder, contents, missing).encodedPretty())
    } else {
      Voice.say(text(contents))
      for line in missing { Voice.line("missing: \(line)") }
    }
    if !missing.isEmpty {
      throw CommandFailure(
        "the repository is not complete", hint: "add the model again, or run: skerry repo check \(folder.path)",
        status: .data)
    }
  }

  /// The chunks and indexes that the list of models needs and the folder lacks. Names alone; `check` reads them.
  static func missingParts(_ folder: RepoFolder, _ contents: RepoContents) throws -> [String] {
    var missing: [String] = []
    if contents.targets == nil { missing.append("the list of models (targets)") }
    for target in contents.models {
      guard let manifest = try? RepoModels.manifest(target) else {
        missing.append("\(target.path) is no model that Skerry knows")
        continue
      }
      guard let bytes = try DurableFile.read(folder.index(manifest.index.sha256), limit: 1 << 30) else {
        missing.append("\(manifest.label): its index \(manifest.index.sha256.hex).caibx")
        continue
      }
      let index = try ChunkIndex(caibx: bytes)
      let absent = Set(index.chunks.map(\.id)).filter { !DurableFile.exists(folder.chunk($0)) }
      if !absent.isEmpty { missing.append("\(manifest.label): \(absent.count) of \(index.chunks.count) chunks") }
    }
    return missing
  }

  private static func text(_ contents: RepoContents) -> String {
    let now = Date()
    var roles = Table("role", "version", "expires", "keys", "state", right: ["version"])
    for role in TUFRole.allCases {
      let keys = contents.trusted.root.roleKeys(role)
      let short = keys.keyIDs.map { String($0.prefix(8)) }.joined(separator: " ")
      let document = contents.document(role)
      let state = document.map { $0.expires > now ? "good for \(rest($0.expires, now))" : "expired" }
      roles.add(
        role.rawValue, document.map { "\($0.version)" } ?? "", document.map { TUFTime.format($0.expires) } ?? "",
        "\(short) (\(keys.threshold) of \(keys.keyIDs.count))", state ?? "signed by the hub")
    }
    var models = Table("model", "version", "size", "sha256", "architecture", "publisher", right: ["size"])
    for target in contents.models {
      if let manifest = try? RepoModels.manifest(target) {
        models.add(
          manifest.name.description, manifest.version.description, Readable.bytes(manifest.length),
          String(manifest.sha256.hex.prefix(16)), manifest.architecture, manifest.publisher ?? "")
      } else {
        models.add(target.path, "", Readable.bytes(target.length), String(target.hashes.fileNamePrefix.prefix(16)))
      }
    }
    return roles.render() + "\n" + (contents.models.isEmpty ? "no models\n" : models.render())
  }

  private static func rest(_ date: Date, _ now: Date) -> String {
    Readable.seconds(Int64(date.timeIntervalSince(now)))
  }

  private static func json(_ folder: RepoFolder, _ contents: RepoContents, _ missing: [String]) -> JSONValue {
    let now = Date()
    var roles: [String: JSONValue] = [:]
    for role in TUFRole.allCases {
      let keys = contents.trusted.root.roleKeys(role)
      var fields: [String: JSONValue] = [
        "keys": .array(keys.keyIDs.map { .string($0) }), "threshold": .integer(Int64(keys.threshold)),
      ]
      if let document = contents.document(role) {
        fields["version"] = .integer(document.version)
        fields["expires"] = .string(TUFTime.format(document.expires))
        fields["expired"] = .bool(document.expires <= now)
      }
      roles[role.rawValue] = .object(fields)
    }
    let targets = contents.models.map { target -> JSONValue in
      [
        "path": .string(target.path), "length": .integer(Int64(clamping: target.length)),
        "sha256": target.sha256.map { .string($0.hex) } ?? .null, "custom": target.custom ?? .null,
      ]
    }
    return [
      "directory": .string(folder.path), "roles": .object(roles), "targets": .array(targets),
      "missing": .array(missing.map { .string($0) }),
    ]
  }
}

/// Targets as models.
enum RepoModels {
  static func manifest(_ target: TUFTarget) throws(ManifestError) -> ModelManifest {
    try ModelManifest(target)
  }
}
