import CommandLine
import FoundationEssentials
import Storage
import Trust

/// What a repository's folder holds, as far as its own root vouches for it.
struct RepoContents: Sendable {
  var trusted: TrustedMetadata
  var targets: TUFTargets?
  var snapshot: TUFSnapshot?
  var timestamp: TUFTimestamp?
  /// The root of the fleet's director, which the same root keys sign.
  var director: TUFRoot?
  /// The lists of the delegated roles.
  var tree: TUFTargetsTree?

  init(trusted: TrustedMetadata) { self.trusted = trusted }

  /// Every target that a box would find.
  var models: [TUFTarget] { located.map(\.target) }
  /// With the role that lists it.
  var located: [(role: String, target: TUFTarget)] { tree?.reachable() ?? [] }
  /// Whether snapshot and timestamp are signed elsewhere, by a hub.
  var isSignedOnline: Bool { timestamp == nil }

  func document(_ role: String) -> TUFDocument? { documents[role] }

  /// The current file of every role.
  var documents: [String: TUFDocument] {
    var found: [String: TUFDocument] = ["root": trusted.root.document]
    for (name, list) in tree?.delegated ?? [:] { found[name] = list.document }
    found[TUFStagedFile.director] = director?.document
    found["targets"] = targets?.document
    found["snapshot"] = snapshot?.document
    found["timestamp"] = timestamp?.document
    return found
  }

  /// Roles in the order in which they are shown.
  var roles: [String] {
    TUFRole.allCases.map(\.rawValue) + (director == nil ? [] : [TUFStagedFile.director]) + (tree?.roleNames ?? [])
  }

  var roots: [String] { (1...trusted.rootVersion).map { "\($0).root.json" } }

  /// The files but the roots, in the order in which a reader may see them appear: the timestamp, which makes the others
  /// current, is the last.
  var lists: [String] {
    var files: [String] = []
    for (name, meta) in (snapshot?.files ?? [:]).sorted(by: { $0.key < $1.key }) where name != "targets.json" {
      files.append("\(meta.version).\(name)")
    }
    if snapshot == nil { files += (tree?.roleNames ?? []).map { TUFStagedFile.fileName($0, version($0)) } }
    if targets != nil { files.append(TUFStagedFile.fileName("targets", version("targets"))) }
    if snapshot != nil { files.append(TUFStagedFile.fileName("snapshot", version("snapshot"))) }
    if timestamp != nil { files.append("timestamp.json") }
    return files
  }

  func version(_ role: String) -> Int64 { document(role)?.version ?? 0 }
}

/// How long new metadata is good.
struct RepoExpiry {
  let root: Date
  let targets: Date
  let online: Date

  init(_ command: ParsedCommand, now: Date) throws {
    func after(_ option: String, _ days: Int64) throws -> Date {
      now.addingTimeInterval(Double(try command.seconds(option) ?? days * 86_400))
    }
    root = try after("root-expires", 365)
    targets = try after("targets-expires", 90)
    online = try after("online-expires", 7)
  }

  func of(_ role: String) -> Date {
    switch TUFRole(rawValue: role) {
    case _ where role == TUFStagedFile.director: root
    case .root: root
    case .snapshot, .timestamp: online
    case .targets, nil: targets
    }
  }
}
