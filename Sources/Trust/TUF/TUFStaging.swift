import FoundationEssentials

/// A file that waits for more signatures is not the one that was signed or staged.
public struct TUFAltered: Error, Hashable, CustomStringConvertible {
  public let file: String
  public let reason: String
  public init(file: String, reason: String) {
    self.file = file
    self.reason = reason
  }
  public var description: String { "\(file) was altered after it was staged: \(reason)" }
}

/// The keys that must sign a file, and who says so.
public struct TUFSigningNeed: Sendable {
  /// For people: `root version 3`, `targets version 9`.
  public let by: String
  public let roleKeys: TUFRoleKeys
  public let keys: [String: TUFKey]

  public init(by: String, roleKeys: TUFRoleKeys, keys: [String: TUFKey]) {
    self.by = by
    self.roleKeys = roleKeys
    self.keys = keys
  }

  /// The keys that may sign, in the order in which they are listed; those of unknown kinds left out.
  public var known: [TUFKey] { roleKeys.keyIDs.compactMap { keys[$0] }.filter { $0.verifyingKey != nil } }

  /// The ids of the distinct keys that have signed the file validly.
  public func signers(of document: TUFDocument) throws(TUFError) -> [String] {
    try document.validSigners(roleKeys, keys: keys)
  }

  /// How many signatures the file still needs.
  public func missing(in document: TUFDocument) throws(TUFError) -> Int {
    try max(0, roleKeys.threshold - signers(of: document).count)
  }
}

/// A metadata file on its way to being signed.
public struct TUFStagedFile: Sendable {
  /// `root`, `targets`, `snapshot`, `timestamp`, the name of a delegated role, or `director`: the root of the fleet's
  /// director, which the same root keys sign.
  public let role: String
  /// What stands for the director's root among the roles.
  public static let director = "director"
  public private(set) var document: TUFDocument

  /// A file with no signature yet.
  public init(role: String, _ signed: TUFSigned) throws(TUFError) {
    try self.init(role: role, parsing: JSONValue.object(["signatures": [], "signed": signed.json]).encodedPretty())
  }

  public init(role: String, parsing bytes: [UInt8]) throws(TUFError) {
    self.role = role
    document = try TUFDocument(parsing: bytes, as: Self.kind(role))
  }

  /// Of which kind a role's file is.
  public static func kind(_ role: String) -> TUFRole {
    role == director ? .root : TUFRole(rawValue: role) ?? .targets
  }

  /// What the file is called in the repository.
  public var fileName: String { Self.fileName(role, document.version) }
  public static func fileName(_ role: String, _ version: Int64) -> String {
    switch role {
    case "timestamp": "timestamp.json"
    case director: "director/\(version).root.json"
    default: "\(version).\(role).json"
    }
  }

  /// What the signatures are over.
  public func message() throws(TUFError) -> [UInt8] {
    do { return try document.signed.canonicalOLPC() } catch {
      throw .malformed(role: role, reason: error.description)
    }
  }

  /// The SHA-256 of what the signatures are over: what people compare before they sign.
  public func digest() throws(TUFError) -> Digest { Digest(of: try message()) }

  /// Adds a signature, or takes the place of the one by the same key.
  public mutating func add(_ signature: [UInt8], by keyID: String) throws(TUFError) {
    let all = document.signatures.filter { $0.keyID != keyID } + [(keyID: keyID, signature: signature)]
    let listed = all.map { entry -> JSONValue in
      ["keyid": .string(entry.keyID), "sig": .string(Hex.encode(entry.signature))]
    }
    let file = JSONValue.object(["signatures": .array(listed), "signed": document.signed])
    document = try TUFDocument(parsing: file.encodedPretty(), as: document.role)
  }
}

/// Files of the next versions beside those that are current: who must sign what, and what is still missing. Pure.
public struct TUFStaging: Sendable {
  /// What is current, by role.
  public var base: [String: TUFDocument]
  /// What is to become current, by role.
  public private(set) var files: [String: TUFStagedFile] = [:]

  public init(base: [String: TUFDocument]) { self.base = base }

  public var isEmpty: Bool { files.isEmpty }
  /// In the order in which a repository publishes them: root, delegated roles, targets, snapshot, timestamp.
  public var ordered: [TUFStagedFile] {
    func place(_ role: String) -> Int {
      switch role {
      case "root", TUFStagedFile.director: 0
      case "targets": 2
      case "snapshot": 3
      case "timestamp": 4
      default: 1
      }
    }
    return files.values.sorted { (place($0.role), $0.role) < (place($1.role), $1.role) }
  }

  /// The order in which the files are put in their places, so that a reader meets no root and lists that don't fit: the
  /// root makes the end where what the new state says satisfies the root before it too, and else the beginning.
  public func publicationOrder() throws(TUFError) -> [TUFStagedFile] {
    let files = ordered
    guard let before = base["root"], self.files["root"] != nil else { return files }
    let old = try TUFRoot(before)
    for role in [TUFRole.timestamp, .snapshot, .targets] {
      guard let document = document(role.rawValue) else { continue }
      let need = TUFSigningNeed(by: "", roleKeys: old.roleKeys(role), keys: old.keys)
      guard try need.missing(in: document) == 0 else { return files }
    }
    return files.filter { $0.document.role != .root } + files.filter { $0.document.role == .root }
  }

  public mutating func put(_ file: TUFStagedFile) { files[file.role] = file }
  public mutating func remove(_ role: String) { files[role] = nil }

  /// The file that holds once everything staged is signed.
  public func document(_ role: String) -> TUFDocument? { files[role]?.document ?? base[role] }

  public func root() throws(TUFError) -> TUFRoot {
    guard let document = document("root") else { throw .missing(file: "1.root.json") }
    return try TUFRoot(document)
  }

  /// The roles whose lists say who may sign `role`.
  public func delegators(of role: String) throws(TUFError) -> [(
    name: String, role: TUFDelegations.Role, from: TUFTargets
  )] {
    var found: [(name: String, role: TUFDelegations.Role, from: TUFTargets)] = []
    var seen: Set<String> = []
    var waiting = ["targets"]
    while let name = waiting.popLast(), seen.count < TUFTargetsTree.largest {
      guard seen.insert(name).inserted, let document = document(name) else { continue }
      let targets = try TUFTargets(document)
      for next in targets.delegations?.allRoles(limit: TUFTargetsTree.largest) ?? [] {
        if next.name == role { found.append((name, next, targets)) }
        // Only those that there are: a thousand empty bins cost nothing.
        if next.name != role, base[next.name] != nil || files[next.name] != nil { waiting.append(next.name) }
      }
    }
    return found
  }

  /// Who must sign this role's file. A root: the keys of the one before and its own. Throws `TUFError`.
  public func needs(_ role: String) throws(TUFError) -> [TUFSigningNeed] {
    let root = try root()
    if role == TUFStagedFile.director { return try directorNeeds(root) }
    guard let top = TUFRole(rawValue: role) else {
      return try delegators(of: role).map { name, delegated, from in
        TUFSigningNeed(
          by: "\(name) version \(from.document.version)", roleKeys: delegated.keys, keys: from.delegations?.keys ?? [:])
      }
    }
    var needs: [TUFSigningNeed] = []
    if top == .root, files["root"] != nil, let before = base["root"] {
      let old = try TUFRoot(before)
      needs.append(
        TUFSigningNeed(by: "root version \(before.version)", roleKeys: old.roleKeys(.root), keys: old.keys))
    }
    needs.append(
      TUFSigningNeed(by: "root version \(root.document.version)", roleKeys: root.roleKeys(top), keys: root.keys))
    return needs
  }

  /// The director's root goes on from the one before as every root does, and is good only with the signatures of the
  /// repository's own root keys.
  private func directorNeeds(_ image: TUFRoot) throws(TUFError) -> [TUFSigningNeed] {
    var needs: [TUFSigningNeed] = []
    func add(_ document: TUFDocument) throws(TUFError) {
      let root = try TUFRoot(document)
      needs.append(
        TUFSigningNeed(
          by: "director's root version \(document.version)", roleKeys: root.roleKeys(.root), keys: root.keys))
    }
    if let staged = files[TUFStagedFile.director]?.document { try add(staged) }
    if let before = base[TUFStagedFile.director] { try add(before) }
    guard !needs.isEmpty else { return [] }
    needs.append(
      TUFSigningNeed(by: "root version \(image.document.version)", roleKeys: image.roleKeys(.root), keys: image.keys))
    return needs
  }

  /// Whether the file of this role has the signatures that it needs.
  public func isSigned(_ role: String) throws(TUFError) -> Bool {
    guard let document = document(role) else { return false }
    let needs = try needs(role)
    guard !needs.isEmpty else { return false }
    for need in needs where try need.missing(in: document) > 0 { return false }
    return true
  }

  /// The roles whose current file no longer has the signatures that the staged root and delegations demand.
  public func outdated() throws(TUFError) -> [String] {
    var found: [String] = []
    for role in base.keys.sorted() where role != "root" && files[role] == nil {
      let needs = try needs(role)
      // A role that nobody delegates to any more is nobody's concern.
      if !needs.isEmpty, try !isSigned(role) { found.append(role) }
    }
    return found
  }

  /// Every key whose signature on this role's file means something, by its id: those of `needs`, and while a new root is
  /// staged those of the root that holds still. With signatures by both, a file is good on either side of a rotation.
  public func signingKeys(_ role: String) throws(TUFError) -> [String: TUFKey] {
    var found: [String: TUFKey] = [:]
    var needs = try needs(role)
    if let top = TUFRole(rawValue: role), files["root"] != nil, let before = base["root"] {
      let old = try TUFRoot(before)
      needs.append(TUFSigningNeed(by: "", roleKeys: old.roleKeys(top), keys: old.keys))
    }
    for need in needs { for id in need.roleKeys.keyIDs { found[id] = found[id] ?? need.keys[id] } }
    return found
  }

  /// Refuses a file that was changed after somebody signed it: every signature on it must be valid for one of the keys
  /// that may sign. Throws `TUFAltered`, or `TUFError` for what can't be read.
  public func refuseAltered() throws {
    for file in ordered {
      let keys = try signingKeys(file.role)
      let message = try file.message()
      for (keyID, signature) in file.document.signatures {
        guard let key = keys[keyID]?.verifyingKey else {
          throw TUFAltered(file: file.fileName, reason: "\(keyID.prefix(8)), which may not sign it, has signed")
        }
        guard key.isValid(signature, for: message) else {
          throw TUFAltered(file: file.fileName, reason: "the signature by \(keyID.prefix(8)) is over other bytes")
        }
      }
    }
  }
}
