import CommandLine
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo status`: every role, what is staged, what is missing, and what to do next.
enum RepoStatus {
  static func run(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let draft = try RepoDraft(folder)
    let ring = try RepoKeyring(command)
    let view = try RepoView(draft, ring, now: Date())
    if command.flag("json") {
      Voice.say(view.json.encodedPretty())
    } else {
      Voice.say(RepoStatusText(view: view, terminal: .output).render())
    }
    guard view.missing.isEmpty else {
      throw CommandFailure(
        "the repository is not complete", hint: "add the model again, or run: skerry repo check \(folder.path)",
        status: .data)
    }
  }
}

/// A repository as status shows it.
struct RepoView {
  struct Role {
    let name: String
    let document: TUFDocument?
    /// Who demands which keys; more than one where several roles delegate to it.
    let needs: [TUFSigningNeed]
    let signers: [String]
    let isExpired: Bool
  }
  struct Staged {
    let file: TUFStagedFile
    let digest: Digest
    let signers: [String]
    let open: [OpenSignatures]
  }

  let folder: RepoFolder
  let roles: [Role]
  let staged: [Staged]
  let summary: [String]
  let targets: [(role: String, target: TUFTarget)]
  let missing: [String]
  let next: [String]
  let isHubSigned: Bool
  let policy: JSONValue?
  let names: [String: String]
  let now: Date

  init(_ draft: RepoDraft, _ ring: RepoKeyring, now: Date) throws {
    let current = TUFStaging(base: draft.contents?.documents ?? [:])
    let names = draft.contents?.roles ?? []
    roles = try names.map { name in
      let document = draft.contents?.document(name)
      let needs = try current.needs(name)
      let signers = try document.map { document in try Set(needs.flatMap { try $0.signers(of: document) }).sorted() }
      return Role(
        name: name, document: document, needs: needs, signers: signers ?? [],
        isExpired: document.map { $0.expires <= now } ?? false)
    }
    let open = try draft.staging.open()
    staged = try draft.staging.ordered.map { file in
      let signers = try draft.staging.needs(file.role).flatMap { try $0.signers(of: file.document) }
      return Staged(
        file: file, digest: try file.digest(), signers: Set(signers).sorted(),
        open: open.filter { $0.file.fileName == file.fileName })
    }
    summary = try draft.summary()
    targets = draft.contents?.located ?? []
    missing = try draft.contents.map { try RepoMissing.parts(draft.folder, $0) } ?? []
    isHubSigned = draft.isHubSigned
    policy = draft.contents?.trusted.root.document.signed["skerry"]
    folder = draft.folder
    self.now = now
    var known: [String: String] = [:]
    for need in try roles.flatMap(\.needs) + draft.staging.ordered.flatMap({ try draft.staging.needs($0.role) }) {
      for key in need.known { known[key.keyID] = ring.name(of: key) }
    }
    self.names = known
    next = RepoView.steps(draft.folder.path, roles, open, draft.staging, now, missing)
  }

  /// What to do next, as command lines.
  private static func steps(
    _ path: String, _ roles: [Role], _ open: [OpenSignatures], _ staging: TUFStaging, _ now: Date, _ missing: [String]
  ) -> [String] {
    var next: [String] = []
    if !open.isEmpty {
      next.append(
        "skerry repo stage \(path) FILE; have FILE signed with 'skerry repo sign FILE'; skerry repo commit \(path) FILE"
      )
    } else if !staging.isEmpty {
      next.append("skerry repo commit \(path)")
    }
    for role in roles {
      guard let document = role.document, document.expires.timeIntervalSince(now) < renewal(document, role.name) else {
        continue
      }
      next.append("skerry repo renew \(path) --role \(role.name) --keys KEYDIR")
    }
    if !missing.isEmpty { next.append("skerry repo check \(path)") }
    return next
  }

  /// So many seconds before its end a role is called due: a tenth of the usual life.
  private static func renewal(_ document: TUFDocument, _ role: String) -> Double {
    switch role {
    case "root": 36 * 86_400
    case "snapshot", "timestamp": 86_400
    default: 9 * 86_400
    }
  }

  /// A key's name in the folder of keys, or the beginning of its id.
  func name(_ keyID: String) -> String { names[keyID] ?? String(keyID.prefix(8)) }

  var json: JSONValue {
    var listed: [String: JSONValue] = [:]
    for role in roles { listed[role.name] = json(role) }
    return [
      "directory": .string(folder.path), "roles": .object(listed), "hubSigned": .bool(isHubSigned),
      "policy": policy ?? .null,
      "staged": .array(staged.map { json($0) }), "summary": .array(summary.map { .string($0) }),
      "targets": .array(
        targets.map { role, target in
          [
            "path": .string(target.path), "length": .integer(Int64(clamping: target.length)),
            "sha256": target.sha256.map { .string($0.hex) } ?? .null, "custom": target.custom ?? .null,
            "role": .string(role),
          ]
        }),
      "missing": .array(missing.map { .string($0) }), "next": .array(next.map { .string($0) }),
    ]
  }

  private func json(_ role: Role) -> JSONValue {
    let keys = role.needs.last?.roleKeys
    var fields: [String: JSONValue] = [
      "keys": .array((keys?.keyIDs ?? []).map { .string($0) }), "threshold": .integer(Int64(keys?.threshold ?? 0)),
      "signatures": .array(role.signers.map { .string($0) }),
      "demandedBy": .array(role.needs.map { .string($0.by) }),
    ]
    if let document = role.document {
      fields["version"] = .integer(document.version)
      fields["expires"] = .string(TUFTime.format(document.expires))
      fields["expired"] = .bool(role.isExpired)
    }
    return .object(fields)
  }

  private func json(_ staged: Staged) -> JSONValue {
    let open = staged.open.map { item -> JSONValue in
      [
        "by": .string(item.need.by), "missing": .integer(Int64(item.missing)),
        "keys": .array(item.keys.map { .string($0.keyID) }),
      ]
    }
    return [
      "role": .string(staged.file.role), "file": .string(staged.file.fileName),
      "version": .integer(staged.file.document.version), "sha256": .string(staged.digest.hex),
      "expires": .string(TUFTime.format(staged.file.document.expires)),
      "signatures": .array(staged.signers.map { .string($0) }), "missing": .array(open),
    ]
  }
}
