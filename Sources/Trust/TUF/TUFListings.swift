import FoundationEssentials

/// What one metadata file says of another: its version, and its length and digests when given.
public struct TUFFileMeta: Hashable, Sendable {
  public let version: Int64
  /// Bytes.
  public let length: UInt64?
  public let hashes: TUFHashes?

  public init(version: Int64, length: UInt64? = nil, hashes: TUFHashes? = nil) {
    self.version = version
    self.length = length
    self.hashes = hashes
  }

  /// Of a whole metadata file: its version, length and digest.
  public init(of document: TUFDocument) {
    self.init(
      version: document.version, length: UInt64(document.bytes.count),
      hashes: TUFHashes(sha256: Digest(of: document.bytes)))
  }

  /// Throws when these bytes do not have the listed length and digests.
  public func check(_ bytes: [UInt8], file: String) throws(TUFError) {
    if let length, length != UInt64(bytes.count) {
      throw .wrongLength(file: file, expected: length, got: UInt64(bytes.count))
    }
    if let hashes, !hashes.match(bytes) { throw .wrongHash(file: file) }
  }

  static func parse(_ value: JSONValue, role: TUFRole, file: String) throws(TUFError) -> TUFFileMeta {
    func malformed(_ reason: String) -> TUFError { .malformed(role: role.rawValue, reason: "\(file): \(reason)") }
    guard let version = value["version"]?.integer, version > 0 else { throw malformed("no version above 0") }
    var length: UInt64?
    if let value = value["length"] {
      guard let bytes = value.integer, bytes > 0 else { throw malformed("\"length\" is no number above 0") }
      length = UInt64(bytes)
    }
    // "The hashes of the new … metadata file MUST match the hashes, if any": with hashes of which we can check none,
    // the file can't be trusted.
    var hashes: TUFHashes?
    if let listed = value["hashes"] {
      guard let known = TUFHashes(listed) else {
        throw malformed("\"hashes\" has no well-formed \"sha256\" or \"sha512\"")
      }
      hashes = known
    }
    return TUFFileMeta(version: version, length: length, hashes: hashes)
  }

  var json: JSONValue {
    var members: [String: JSONValue] = ["version": .integer(version)]
    if let length { members["length"] = .integer(Int64(clamping: length)) }
    if let hashes { members["hashes"] = hashes.json }
    return .object(members)
  }
}

/// What a timestamp metadata file says: which snapshot is current.
public struct TUFTimestamp: Sendable {
  public let document: TUFDocument
  public let snapshot: TUFFileMeta
  /// When it says that it was signed, in Unix seconds; nil when it does not say.
  public let signedAt: Int64?

  public init(_ document: TUFDocument) throws(TUFError) {
    guard let meta = document.signed["meta"]?["snapshot.json"] else {
      throw .malformed(role: "timestamp", reason: "its \"meta\" lists no snapshot.json")
    }
    snapshot = try TUFFileMeta.parse(meta, role: .timestamp, file: "snapshot.json")
    signedAt = document.signed["skerry"]?["signedAt"]?.string.flatMap { TUFTime.parse($0) }
      .map { Int64($0.timeIntervalSince1970) }
    self.document = document
  }
}

/// What a snapshot metadata file says: the version of every targets file.
public struct TUFSnapshot: Sendable {
  public let document: TUFDocument
  /// By file name, `targets.json` among them.
  public let files: [String: TUFFileMeta]
  public let targets: TUFFileMeta

  public init(_ document: TUFDocument) throws(TUFError) {
    guard let meta = document.signed["meta"]?.object else {
      throw .malformed(role: "snapshot", reason: "no \"meta\"")
    }
    var files: [String: TUFFileMeta] = [:]
    for (name, value) in meta { files[name] = try TUFFileMeta.parse(value, role: .snapshot, file: name) }
    guard let targets = files["targets.json"] else {
      throw .malformed(role: "snapshot", reason: "its \"meta\" lists no targets.json")
    }
    self.files = files
    self.targets = targets
    self.document = document
  }
}

/// A file that the targets role vouches for.
public struct TUFTarget: Hashable, Sendable {
  /// Relative to the repository's `targets/`, as the metadata spells it.
  public let path: String
  /// Bytes.
  public let length: UInt64
  public let hashes: TUFHashes
  public let custom: JSONValue?

  public init(path: String, length: UInt64, hashes: TUFHashes, custom: JSONValue? = nil) {
    self.path = path
    self.length = length
    self.hashes = hashes
    self.custom = custom
  }

  public init(path: String, length: UInt64, sha256: Digest, custom: JSONValue? = nil) {
    self.init(path: path, length: length, hashes: TUFHashes(sha256: sha256), custom: custom)
  }

  /// Skerry's own store goes by it; nil for a target that another publisher listed with SHA-512 alone.
  public var sha256: Digest? { hashes.sha256 }

  var json: JSONValue {
    var members: [String: JSONValue] = [
      "length": .integer(Int64(clamping: length)), "hashes": hashes.json,
    ]
    if let custom { members["custom"] = custom }
    return .object(members)
  }
}

/// What a targets metadata file says. Targets with no hash that Skerry knows are left out: it could not
/// check them.
public struct TUFTargets: Sendable {
  public let document: TUFDocument
  /// Sorted by path.
  public let targets: [TUFTarget]
  /// To whom it delegates other paths; nil: to nobody.
  public let delegations: TUFDelegations?
  /// The names of the roles it delegates to, in order.
  public var delegatedRoles: [String] { delegations?.roles.map(\.name) ?? [] }

  public init(_ document: TUFDocument) throws(TUFError) {
    func malformed(_ reason: String) -> TUFError { .malformed(role: "targets", reason: reason) }
    guard let listed = document.signed["targets"]?.object else { throw malformed("no \"targets\"") }
    var targets: [TUFTarget] = []
    for (path, value) in listed {
      guard let length = value["length"]?.integer, length >= 0, let listed = value["hashes"], listed.object != nil
      else { throw malformed("target \(path.debugDescription) lacks a length or hashes") }
      guard TUFHashes.algorithms.contains(where: { listed[$0] != nil }) else { continue }
      guard let hashes = TUFHashes(listed) else {
        throw malformed("target \(path.debugDescription) has a malformed hash")
      }
      targets.append(TUFTarget(path: path, length: UInt64(length), hashes: hashes, custom: value["custom"]))
    }
    self.targets = targets.sorted { $0.path < $1.path }
    if let listed = document.signed["delegations"], listed != .null {
      delegations = try TUFDelegations(listed)
    } else {
      delegations = nil
    }
    self.document = document
  }
}
