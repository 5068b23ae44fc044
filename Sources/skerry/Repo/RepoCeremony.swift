import CommandLine
import Storage
import Trust

/// A file on a stick that goes from key holder to key holder: the staged files, and of what is current as much as a
/// signer needs to see what would change and whose signatures it takes.
struct RepoCeremony {
  static let format = "skerry-ceremony/1"
  var staging: TUFStaging

  /// What is staged in a folder.
  init(_ draft: RepoDraft) throws {
    staging = draft.staging
    var needed: Set<String> = ["root"]
    for file in staging.ordered {
      needed.insert(file.role)
      if TUFRole(rawValue: file.role) == nil, file.role != TUFStagedFile.director {
        needed.formUnion(try delegatorsUp(file.role))
      }
    }
    staging.base = staging.base.filter { needed.contains($0.key) }
  }

  private func delegatorsUp(_ role: String) throws -> Set<String> {
    var found: Set<String> = []
    var waiting = [role]
    while let next = waiting.popLast() {
      for (name, _, _) in try staging.delegators(of: next) where found.insert(name).inserted { waiting.append(name) }
    }
    return found
  }

  /// Reads and checks a file: nothing in it may have been altered since it was staged or signed.
  init(_ path: String) throws {
    func wrong(_ what: String) -> CommandFailure { CommandFailure("\(path): \(what)", status: .data) }
    guard let bytes = try DurableFile.read(path, limit: 64 << 20) else {
      throw CommandFailure("there is no staged file at \(path)", status: .noInput)
    }
    guard let json = try? JSONValue(parsing: bytes), json["format"]?.string == Self.format,
      let listed = json["files"]?.array, !listed.isEmpty
    else { throw wrong("this is no file that 'skerry repo stage' wrote") }
    var base: [String: TUFDocument] = [:]
    for (role, file) in json["current"]?.object ?? [:] {
      base[role] = try TUFDocument(parsing: file.encodedPretty(), as: TUFStagedFile.kind(role))
    }
    staging = TUFStaging(base: base)
    for entry in listed {
      guard let role = entry["role"]?.string,
        TUFFileName.isRole(role) || TUFRole(rawValue: role) != nil || role == TUFStagedFile.director,
        let metadata = entry["metadata"]
      else { throw wrong("it names no role") }
      let file = try TUFStagedFile(role: role, parsing: metadata.encodedPretty())
      guard try file.digest().hex == entry["sha256"]?.string else {
        throw TUFAltered(file: file.fileName, reason: "its digest is not the one that was written down")
      }
      staging.put(file)
    }
    try demandSoundBase()
    try staging.refuseAltered()
  }

  /// What is said to be current must have its signatures too.
  private func demandSoundBase() throws {
    let current = TUFStaging(base: staging.base)
    for role in staging.base.keys.sorted() where try !current.isSigned(role) {
      throw TUFAltered(file: "\(role).json", reason: "what is said to be current is not signed as the root demands")
    }
  }

  func write(_ path: String) throws {
    let files = try staging.ordered.map { file -> JSONValue in
      [
        "role": .string(file.role), "file": .string(file.fileName), "sha256": .string(try file.digest().hex),
        "metadata": RepoCeremony.json(file.document),
      ]
    }
    let json: JSONValue = [
      "format": .string(Self.format), "summary": .array(try RepoSummary.lines(staging).map { .string($0) }),
      "current": .object(staging.base.mapValues { RepoCeremony.json($0) }), "files": .array(files),
    ]
    try DurableFile.replace(path, with: json.encodedPretty(), mode: 0o644)
  }

  private static func json(_ document: TUFDocument) -> JSONValue {
    let signatures = document.signatures.map { entry -> JSONValue in
      ["keyid": .string(entry.keyID), "sig": .string(Hex.encode(entry.signature))]
    }
    return ["signatures": .array(signatures), "signed": document.signed]
  }
}
