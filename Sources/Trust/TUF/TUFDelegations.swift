/// To whom a targets role delegates which paths (specification 1.0.34, section 4.5).
public struct TUFDelegations: Sendable {
  /// A role that vouches for some paths.
  public struct Role: Sendable {
    public let name: String
    public let keys: TUFRoleKeys
    /// A path that it is asked for is looked for nowhere else after it.
    public let isTerminating: Bool
    let covers: Cover

    /// The path patterns, or nil when hash prefixes say which paths it has.
    public var patterns: [String]? { if case .patterns(let patterns) = covers { patterns } else { nil } }
    /// The prefixes of a path's SHA-256 in hexadecimal, or nil when patterns say which paths it has.
    public var hashPrefixes: [String]? { if case .hashPrefixes(let prefixes) = covers { prefixes } else { nil } }

    /// Whether this role may vouch for the path.
    public func covers(_ path: String) -> Bool {
      switch covers {
      case .patterns(let patterns): patterns.contains { TUFPathPattern.matches($0, path) }
      case .hashPrefixes(let prefixes): prefixes.contains { Digest(of: path.utf8).hex.hasPrefix($0) }
      }
    }
  }

  enum Cover: Sendable {
    case patterns([String])
    case hashPrefixes([String])
  }

  /// Hash bins whose names follow a rule (TAP 15).
  struct Succinct: Sendable {
    let keys: TUFRoleKeys
    let bitLength: Int
    let namePrefix: String

    /// The one bin of a path: the first bits of SHA-256 over it.
    func role(for path: String) -> Role {
      let start = Digest(of: path.utf8).bytes.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return role(bin: start >> UInt32(32 - bitLength))
    }

    /// How many bins there are.
    var count: Int { 1 << bitLength }

    func role(bin number: UInt32) -> Role {
      let bin = String(number, radix: 16)
      let width = (bitLength + 3) / 4
      let name = "\(namePrefix)-" + String(repeating: "0", count: max(0, width - bin.count)) + bin
      return Role(name: name, keys: keys, isTerminating: true, covers: .hashPrefixes([""]))
    }
  }

  public let keys: [String: TUFKey]
  /// In the order in which they are asked.
  public let roles: [Role]
  let succinct: Succinct?

  /// Every role that is delegated to, bins among them, in the order in which they are asked. Nil when there are more
  /// bins than `limit`.
  public func allRoles(limit: Int) -> [Role]? {
    guard let succinct else { return roles }
    return succinct.count > limit ? nil : (0..<UInt32(succinct.count)).map { succinct.role(bin: $0) }
  }

  /// A delegation by hash bins whose names follow a rule: how many bits choose the bin, and how the names begin.
  public var bins: (bitLength: Int, namePrefix: String, keys: TUFRoleKeys)? {
    succinct.map { ($0.bitLength, $0.namePrefix, $0.keys) }
  }

  /// The roles to ask for this path, in order.
  public func roles(for path: String) -> [Role] {
    if let succinct { return [succinct.role(for: path)] }
    return roles.filter { $0.covers(path) }
  }

  /// Reads the DELEGATIONS object. Throws `TUFError.malformed`.
  init(_ value: JSONValue) throws(TUFError) {
    func malformed(_ reason: String) -> TUFError { .malformed(role: "targets", reason: reason) }
    guard let listed = value["keys"]?.object else { throw malformed("its delegations have no \"keys\"") }
    keys = listed.reduce(into: [:]) { keys, entry in
      guard let type = entry.value["keytype"]?.string, let scheme = entry.value["scheme"]?.string,
        let key = entry.value["keyval"]?["public"]?.string
      else { return }
      keys[entry.key] = TUFKey(keyID: entry.key, keyType: type, scheme: scheme, publicKey: key)
    }
    if let bins = value["succinct_roles"], bins != .null {
      guard value["roles"] == nil || value["roles"] == .null else {
        throw malformed("its delegations have both \"roles\" and \"succinct_roles\"")
      }
      guard let bits = bins["bit_length"]?.integer, (1...32).contains(bits), let prefix = bins["name_prefix"]?.string
      else { throw malformed("its succinct delegation lacks a \"bit_length\" of 1 to 32 or a \"name_prefix\"") }
      succinct = Succinct(keys: try Self.keys(of: bins), bitLength: Int(bits), namePrefix: prefix)
      roles = []
      return
    }
    succinct = nil
    var roles: [Role] = []
    var named: Set<String> = []
    for role in value["roles"]?.array ?? [] {
      guard let name = role["name"]?.string, !name.isEmpty else { throw malformed("a delegated role has no name") }
      guard TUFRole(rawValue: name) == nil, named.insert(name).inserted else {
        throw malformed("the delegated role \(name.debugDescription) stands twice or is a top-level role's")
      }
      let (patterns, prefixes) = (role["paths"]?.array, role["path_hash_prefixes"]?.array)
      guard (patterns == nil) != (prefixes == nil) else {
        throw malformed("the delegated role \(name.debugDescription) needs either \"paths\" or \"path_hash_prefixes\"")
      }
      roles.append(
        Role(
          name: name, keys: try Self.keys(of: role), isTerminating: role["terminating"]?.bool ?? false,
          covers: patterns.map { .patterns($0.compactMap(\.string)) }
            ?? .hashPrefixes((prefixes ?? []).compactMap(\.string))))
    }
    self.roles = roles
  }

  private static func keys(of role: JSONValue) throws(TUFError) -> TUFRoleKeys {
    guard let ids = role["keyids"]?.array?.compactMap(\.string), let threshold = role["threshold"]?.integer,
      threshold > 0, Set(ids).count == ids.count
    else {
      throw .malformed(role: "targets", reason: "a delegation lacks distinct \"keyids\" or a \"threshold\" above 0")
    }
    return TUFRoleKeys(keyIDs: ids, threshold: Int(clamping: threshold))
  }
}

/// PATHPATTERN: "shell-style wildcards"; neither `*` nor `?` goes over a path separator.
enum TUFPathPattern {
  static func matches(_ pattern: String, _ path: String) -> Bool {
    let (patterns, parts) = (split(pattern), split(path))
    return patterns.count == parts.count
      && zip(patterns, parts).allSatisfy { matches($0, $1) }
  }

  /// By scalars, not characters: a separator stays one when a combining mark follows it.
  private static func split(_ text: String) -> [ArraySlice<Unicode.Scalar>] {
    Array(text.unicodeScalars).split(separator: "/", omittingEmptySubsequences: false)
  }

  /// One star is tried at a time, so that no pattern costs more than pattern times text.
  private static func matches(_ pattern: ArraySlice<Unicode.Scalar>, _ text: ArraySlice<Unicode.Scalar>) -> Bool {
    var (p, t) = (pattern.startIndex, text.startIndex)
    var star: (pattern: Int, text: Int)?
    while t < text.endIndex {
      if p < pattern.endIndex, pattern[p] == "*" {
        star = (p, t)
        p += 1
      } else if p < pattern.endIndex, pattern[p] == "?" || pattern[p] == text[t] {
        p += 1
        t += 1
      } else if let last = star {
        p = last.pattern + 1
        t = last.text + 1
        star = (last.pattern, t)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == "*" }
  }
}
