import FoundationEssentials

/// To whom a targets role hands some paths (specification, section 4.5): what a writer needs to know of it.
public struct TUFDelegation: Sendable {
  /// Which paths.
  public enum Paths: Sendable, Hashable {
    case patterns([String])
    /// Prefixes of the SHA-256 of a path, in hexadecimal.
    case hashPrefixes([String])
    /// All paths, spread over 2^bits roles that are called NAME-0 and so on (TAP 15).
    case succinct(bits: Int)
  }

  /// The role's name; the beginning of the names where there are bins.
  public var name: String
  public var keys: [TUFKey]
  public var threshold: Int
  public var paths: Paths
  /// A path that it is asked for is looked for nowhere else after it.
  public var isTerminating: Bool

  public init(name: String, keys: [TUFKey], threshold: Int, paths: Paths, isTerminating: Bool = false) {
    self.name = name
    self.keys = keys
    self.threshold = threshold
    self.paths = paths
    self.isTerminating = isTerminating
  }

  fileprivate var json: JSONValue {
    var members: [String: JSONValue] = [
      "keyids": .array(keys.map { .string($0.keyID) }), "threshold": .integer(Int64(threshold)),
    ]
    switch paths {
    case .succinct(let bits):
      members["bit_length"] = .integer(Int64(bits))
      members["name_prefix"] = .string(name)
      return .object(members)
    case .patterns(let patterns): members["paths"] = .array(patterns.map { .string($0) })
    case .hashPrefixes(let prefixes): members["path_hash_prefixes"] = .array(prefixes.map { .string($0) })
    }
    members["name"] = .string(name)
    members["terminating"] = .bool(isTerminating)
    return .object(members)
  }
}

/// The next version of a file, made from the one before: what an edit does not name stays as it is, members that Skerry
/// does not know included.
extension TUFSigned {
  public init(continuing document: TUFDocument) { self.init(json: document.signed) }

  private var members: [String: JSONValue] {
    get { json.object ?? [:] }
    set { json = .object(newValue) }
  }

  public mutating func advance(to version: Int64, expires: Date) {
    members["version"] = .integer(version)
    members["expires"] = .string(TUFTime.format(expires))
  }

  // MARK: - Targets

  public mutating func set(_ target: TUFTarget) { edit("targets") { $0[target.path] = target.json } }
  public mutating func removeTarget(_ path: String) { edit("targets") { $0[path] = nil } }

  /// Adds a delegation, or takes the place of the one with its name. Bins and named roles exclude each other
  /// (TAP 15). Throws `TUFError.malformed`.
  public mutating func set(_ delegation: TUFDelegation) throws(TUFError) {
    var listed = members["delegations"]?.object ?? ["keys": [:], "roles": []]
    var roles = listed["roles"]?.array ?? []
    if case .succinct = delegation.paths {
      guard roles.isEmpty else {
        throw .malformed(role: "targets", reason: "it delegates to named roles already; bins exclude them")
      }
      listed["succinct_roles"] = delegation.json
      listed["roles"] = nil
    } else {
      guard listed["succinct_roles"] == nil else {
        throw .malformed(role: "targets", reason: "it delegates to bins already; they exclude named roles")
      }
      if let at = roles.firstIndex(where: { $0["name"]?.string == delegation.name }) {
        roles[at] = delegation.json
      } else {
        roles.append(delegation.json)
      }
      listed["roles"] = .array(roles)
    }
    var keys = listed["keys"]?.object ?? [:]
    for key in delegation.keys { keys[key.keyID] = key.json }
    listed["keys"] = .object(keys)
    members["delegations"] = Self.withoutStrayKeys(listed)
  }

  /// Takes the delegation of this name away.
  public mutating func removeDelegation(_ name: String) {
    guard var listed = members["delegations"]?.object else { return }
    listed["roles"] = listed["roles"]?.array.map { .array($0.filter { $0["name"]?.string != name }) }
    if listed["succinct_roles"]?["name_prefix"]?.string == name {
      listed["succinct_roles"] = nil
      listed["roles"] = []
    }
    let isEmpty = listed["succinct_roles"] == nil && listed["roles"]?.array?.isEmpty != false
    members["delegations"] = isEmpty ? nil : Self.withoutStrayKeys(listed)
  }

  private static func withoutStrayKeys(_ delegations: [String: JSONValue]) -> JSONValue {
    var delegations = delegations
    let roles = (delegations["roles"]?.array ?? []) + (delegations["succinct_roles"].map { [$0] } ?? [])
    delegations["keys"] = keep(delegations["keys"], namedBy: roles)
    return .object(delegations)
  }

  private static func keep(_ keys: JSONValue?, namedBy roles: [JSONValue]) -> JSONValue {
    let named = Set(roles.flatMap { $0["keyids"]?.array ?? [] }.compactMap(\.string))
    return .object((keys?.object ?? [:]).filter { named.contains($0.key) })
  }

  // MARK: - Root

  /// Gives a top-level role these keys. Keys that no role names any more go.
  public mutating func set(_ role: TUFRole, keys: [TUFKey], threshold: Int) {
    edit("roles") { roles in
      var entry = roles[role.rawValue]?.object ?? [:]
      entry["keyids"] = .array(keys.map { .string($0.keyID) })
      entry["threshold"] = .integer(Int64(threshold))
      roles[role.rawValue] = .object(entry)
    }
    edit("keys") { listed in for key in keys { listed[key.keyID] = key.json } }
    members["keys"] = Self.keep(members["keys"], namedBy: Array((members["roles"]?.object ?? [:]).values))
  }

  /// Sets or removes a member of the signed part that is Skerry's own.
  public mutating func setSkerry(_ value: JSONValue?) { members["skerry"] = value }

  private mutating func edit(_ member: String, _ change: (inout [String: JSONValue]) -> Void) {
    var value = members[member]?.object ?? [:]
    change(&value)
    members[member] = .object(value)
  }
}
