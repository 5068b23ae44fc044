import Fleet
import FoundationEssentials
import Trust

/// What a snapshot is to be made over.
struct Lists {
  let targets: TUFDocument
  /// By file name, `targets.json` and those of delegated roles.
  let files: [String: TUFFileMeta]
}

extension Repository {
  /// The lists of every delegated role as boxes will see them: the staged one where it is newer, else the published
  /// one; each checked against who delegates to it. `staged` are those that are to be published. Throws `HubError`
  /// (not_published, invalid_metadata) and `TUFError`.
  func delegatedLists(
    _ top: TUFTargets, before: TrustedMetadata?, _ now: Date
  ) throws -> (tree: TUFTargetsTree, staged: [(name: String, bytes: [UInt8])]) {
    var tree = TUFTargetsTree(top: top)
    var taken: [String: [UInt8]] = [:]
    let versions = try files.newest(in: "staged")
    while let edge = tree.next() {
      let role = edge.role.name
      guard TUFFileName.isRole(role) else {
        throw HubError(
          .invalidMetadata, "this hub takes no delegated role called \(role.debugDescription)",
          hint: "a name is \(TUFFileName.rule)")
      }
      let have = before?.snapshot?.files["\(role).json"]?.version ?? 0
      let staged = versions[role] ?? 0
      let version = max(have, staged)
      let name = "\(version).\(role).json"
      if staged > 0 { try refuseOld(role, have: have, staged: staged) }
      guard let bytes = try staged > have ? files.staged(name) : files.metadata(name) else {
        throw HubError(
          .notPublished, "targets delegates to \(role), which has no metadata", hint: "upload N.\(role).json first")
      }
      let list = try verified(bytes, edge)
      guard list.document.version == version else {
        throw TUFError.versionMismatch(role: role, expected: version, got: list.document.version)
      }
      if staged > have {
        guard list.document.expires > now else { throw TUFError.expired(role: role, since: list.document.expires) }
        taken[name] = bytes
      }
      tree.add(edge, list)
    }
    if let problem = tree.problems.first { throw HubError(.invalidMetadata, "\(problem.role): \(problem.reason)") }
    return (tree, taken.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
  }

  private func verified(_ bytes: [UInt8], _ edge: TUFTargetsTree.Edge) throws -> TUFTargets {
    do {
      return try edge.role.verified(bytes, delegator: edge.from)
    } catch TUFError.signature(_, let valid, let threshold) {
      throw TUFError.signature(role: edge.role.name, valid: valid, threshold: threshold)
    }
  }

  /// A published version never changes, and an older one is no next one.
  private func refuseOld(_ role: String, have: Int64, staged: Int64) throws {
    guard staged <= have else { return }
    guard staged == have else { throw TUFError.rollback(file: role, have: have, got: staged) }
    let name = "\(have).\(role).json"
    guard try files.staged(name) == files.metadata(name) else {
      throw HubError(
        .conflict, "\(name) is published already, with other content", hint: "give the new list a higher version")
    }
  }

  /// What the next snapshot lists. A file that one has listed is listed for ever (specification, 5.5.5).
  func lists(_ targets: TUFDocument, _ tree: TUFTargetsTree, before: TrustedMetadata) -> Lists {
    var files = before.snapshot?.files ?? [:]
    for (role, list) in tree.delegated { files["\(role).json"] = TUFFileMeta(of: list.document) }
    files["targets.json"] = TUFFileMeta(of: targets)
    return Lists(targets: targets, files: files)
  }

  /// Staged files that a snapshot lists although nobody delegates to their roles any more.
  func leftOver(
    _ listed: [String: TUFFileMeta], besides known: Set<String>
  ) throws -> [(name: String, bytes: [UInt8])] {
    try listed.sorted { $0.key < $1.key }.compactMap { file, meta in
      let name = "\(meta.version).\(file)"
      guard !known.contains(name), file != "targets.json", let bytes = try files.staged(name) else { return nil }
      try meta.check(bytes, file: file)
      return (name, bytes)
    }
  }
}
