import FoundationEssentials

extension TrustedMetadata {
  /// Takes a delegated role's metadata as its delegator demands it: 5.6.2 to 5.6.5 with the delegator's keys.
  public mutating func updateDelegated(
    _ bytes: [UInt8], role: TUFDelegations.Role, delegator: TUFTargets, now: Date
  ) throws(TUFError) -> TUFTargets {
    let file = "\(role.name).json"
    guard let meta = snapshot?.files[file] else { throw .removed(file: file) }
    try meta.check(bytes, file: file)
    let document = try TUFDocument(parsing: bytes, as: .targets)
    _ = try document.demandSigners(role.keys, keys: delegator.delegations?.keys ?? [:])
    guard document.version == meta.version else {
      throw .versionMismatch(role: role.name, expected: meta.version, got: document.version)
    }
    guard document.expires > now else { throw .expired(role: role.name, since: document.expires) }
    return try TUFTargets(document)
  }
}

extension TUFWorkflow {
  /// The most roles that a search looks into.
  static let searchedRoles = 32

  /// A target that a search found.
  public struct Found: Sendable {
    public let target: TUFTarget
    /// The ids of the keys whose signature on the role's metadata counted.
    public let signers: [String]
  }

  /// The target that a search finds, without who signed it.
  public static func find(
    _ path: String, in trusted: inout TrustedMetadata, now: Date, limits: Limits = Limits(),
    local: (_ file: String) async throws -> [UInt8]?,
    fetch: (_ file: String, _ maximum: Int) async throws -> [UInt8]?,
    persist: (_ file: String, _ bytes: [UInt8]?) async throws -> Void
  ) async throws -> TUFTarget? {
    try await search(path, in: &trusted, now: now, limits: limits, local: local, fetch: fetch, persist: persist)?.target
  }

  /// 5.6.7 "Perform a pre-order depth-first search for metadata about the desired target, beginning with the top-level
  /// targets role." `local` gives what is kept of a delegated role; it is verified again against who delegates to it
  /// now. File names are percent-encoded, so that a role's name can't leave the folder. Nil when no role has it.
  public static func search(
    _ path: String, in trusted: inout TrustedMetadata, now: Date, limits: Limits = Limits(),
    local: (_ file: String) async throws -> [UInt8]?,
    fetch: (_ file: String, _ maximum: Int) async throws -> [UInt8]?,
    persist: (_ file: String, _ bytes: [UInt8]?) async throws -> Void
  ) async throws -> Found? {
    guard let top = trusted.targetsMetadata else { throw TUFError.outOfOrder("a search before the targets") }
    var visited: Set<String> = []
    var waiting: [(role: TUFDelegations.Role?, delegator: TUFTargets)] = [(nil, top)]
    while let (role, delegator) = waiting.popLast(), visited.count < searchedRoles {
      // "If this role has been visited before, then skip this role (so that cycles in the delegation graph are avoided)."
      guard visited.insert(role?.name ?? "targets").inserted else { continue }
      var targets = top
      if let role {
        let file = "\(PercentEncoding.encode(role.name)).json"
        if let kept = try await local(file),
          let trustedStill = try? trusted.updateDelegated(kept, role: role, delegator: delegator, now: now)
        {
          targets = trustedStill
        } else {
          guard let meta = trusted.snapshot?.files["\(role.name).json"] else {
            throw TUFError.removed(file: "\(role.name).json")
          }
          let name = trusted.fileName(file, meta.version)
          let bytes = try await demanded(name, limit(meta, limits.targets, name), fetch)
          targets = try trusted.updateDelegated(bytes, role: role, delegator: delegator, now: now)
          try await persist(file, bytes)
        }
      }
      if let found = targets.targets.first(where: { $0.path == path }) {
        guard let role else { return Found(target: found, signers: trusted.signers(of: "targets")) }
        let keys = delegator.delegations?.keys ?? [:]
        return Found(target: found, signers: try targets.document.validSigners(role.keys, keys: keys))
      }
      // "If the current delegation is a terminating delegation, then jump to step …", that is: look nowhere else.
      var next: [TUFDelegations.Role] = []
      var isTerminated = false
      for role in targets.delegations?.roles(for: path) ?? [] where !isTerminated {
        next.append(role)
        isTerminated = role.isTerminating
      }
      if isTerminated { waiting = [] }
      waiting += next.reversed().map { ($0, targets) }
    }
    return nil
  }
}

/// RFC 3986 §2.1, everything encoded but the unreserved characters.
public enum PercentEncoding {
  public static func encode(_ text: String) -> String {
    var made = ""
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: made.unicodeScalars.append(.init(byte))
      default: made += "%" + Hex.encode([byte]).uppercased()
      }
    }
    return made
  }
}
