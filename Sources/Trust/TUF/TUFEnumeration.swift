import FoundationEssentials

/// Everything that the top-level targets role vouches for, itself or by delegation.
///
/// The specification knows a search for one path only (5.6.7); this is what that search would find for every path.
/// It is filled role by role: ask `next`, read the file, and say `add` or `fail`.
public struct TUFTargetsTree: Sendable {
  /// A delegation that was met.
  public struct Edge: Sendable {
    /// `targets`, or the delegated role that delegates.
    public let delegator: String
    public let role: TUFDelegations.Role
    /// The delegator's list, whose keys must have signed.
    public let from: TUFTargets
  }

  /// The most roles that are looked into.
  public static let largest = 1 << 16

  public let top: TUFTargets
  /// By role name: what its delegators accept.
  public private(set) var delegated: [String: TUFTargets] = [:]
  /// The delegated roles in the order in which they were met.
  public private(set) var roleNames: [String] = []
  /// Roles whose metadata could not be had or is not accepted, and why.
  public private(set) var problems: [(role: String, reason: String)] = []
  private var edges: [Edge] = []
  private var waiting: [Edge] = []
  private var accepted: Set<String> = []

  public init(top: TUFTargets) {
    self.top = top
    meet(top, as: "targets")
  }

  /// The next delegation whose metadata is wanted; nil when all have been dealt with.
  public mutating func next() -> Edge? { waiting.popLast() }

  /// The role's metadata as this delegator accepts it.
  public mutating func add(_ edge: Edge, _ targets: TUFTargets) {
    accepted.insert(Self.name(edge.delegator, edge.role.name))
    guard delegated[edge.role.name] == nil else { return }
    delegated[edge.role.name] = targets
    roleNames.append(edge.role.name)
    meet(targets, as: edge.role.name)
  }

  public mutating func fail(_ edge: Edge, _ reason: String) { problems.append((edge.role.name, reason)) }

  /// Those who delegate to a role.
  public func delegators(of role: String) -> [Edge] { edges.filter { $0.role.name == role } }

  private mutating func meet(_ targets: TUFTargets, as name: String) {
    guard let delegations = targets.delegations else { return }
    guard let roles = delegations.allRoles(limit: Self.largest), edges.count + roles.count <= Self.largest else {
      problems.append((name, "it delegates to more than \(Self.largest) roles"))
      return
    }
    let met = roles.map { Edge(delegator: name, role: $0, from: targets) }
    edges += met
    // The last in is looked at first: the order of a search.
    waiting += met.reversed()
  }

  private static func name(_ delegator: String, _ role: String) -> String { "\(delegator)\u{0}\(role)" }

  /// What a search for this path finds, and in which role; nil when nobody vouches for it.
  public func find(_ path: String) -> (role: String, target: TUFTarget)? {
    var visited: Set<String> = []
    var stack: [(name: String, targets: TUFTargets)] = [("targets", top)]
    while let (name, targets) = stack.popLast() {
      guard visited.insert(name).inserted else { continue }
      if let found = targets[path] { return (name, found) }
      var next: [(name: String, targets: TUFTargets)] = []
      for role in targets.delegations?.roles(for: path) ?? [] {
        // A role without metadata that its delegator accepts ends a client's search with an error.
        guard let list = delegated[role.name], accepted.contains(Self.name(name, role.name)) else { return nil }
        next.append((role.name, list))
        if role.isTerminating {
          stack = []
          break
        }
      }
      stack += next.reversed()
    }
    return nil
  }

  /// Every target that a search would find, sorted by path.
  public func reachable() -> [(role: String, target: TUFTarget)] {
    let paths = Set(([top] + Array(delegated.values)).flatMap { $0.targets.map(\.path) })
    return paths.sorted().compactMap { find($0) }
  }
}

extension TUFDelegations.Role {
  /// A file of this role, its signatures checked against the delegator's list and nothing else: no expiry, no version.
  public func verified(_ bytes: [UInt8], delegator: TUFTargets) throws(TUFError) -> TUFTargets {
    let document = try TUFDocument(parsing: bytes, as: .targets)
    _ = try document.demandSigners(keys, keys: delegator.delegations?.keys ?? [:])
    return try TUFTargets(document)
  }
}

extension TUFTargets {
  /// The target of this path.
  public subscript(path: String) -> TUFTarget? {
    // Sorted by path.
    var (low, high) = (0, targets.count)
    while low < high {
      let middle = (low + high) / 2
      if targets[middle].path < path { low = middle + 1 } else { high = middle }
    }
    return low < targets.count && targets[low].path == path ? targets[low] : nil
  }
}

extension TUFWorkflow {
  /// The lists of every role that the trusted targets reach. Roles that can't be had or are not accepted are named in
  /// `problems`; their targets are not there. Throws what the closures throw. The closures are those of `find`.
  public static func enumerate(
    _ trusted: inout TrustedMetadata, now: Date, limits: Limits = Limits(),
    local: (_ file: String) async throws -> [UInt8]? = { _ in nil },
    fetch: (_ file: String, _ maximum: Int) async throws -> [UInt8]?,
    persist: (_ file: String, _ bytes: [UInt8]?) async throws -> Void = { _, _ in }
  ) async throws -> TUFTargetsTree {
    guard let top = trusted.targetsMetadata else { throw TUFError.outOfOrder("an enumeration before the targets") }
    var tree = TUFTargetsTree(top: top)
    while let edge = tree.next() {
      do {
        tree.add(edge, try await list(edge, &trusted, now, limits, local, fetch, persist))
      } catch let error as TUFError {
        tree.fail(edge, error.description)
      }
    }
    return tree
  }

  private static func list(
    _ edge: TUFTargetsTree.Edge, _ trusted: inout TrustedMetadata, _ now: Date, _ limits: Limits,
    _ local: (String) async throws -> [UInt8]?, _ fetch: (String, Int) async throws -> [UInt8]?,
    _ persist: (String, [UInt8]?) async throws -> Void
  ) async throws -> TUFTargets {
    let file = "\(PercentEncoding.encode(edge.role.name)).json"
    if let kept = try await local(file),
      let targets = try? trusted.updateDelegated(kept, role: edge.role, delegator: edge.from, now: now)
    {
      return targets
    }
    guard let meta = trusted.snapshot?.files["\(edge.role.name).json"] else { throw TUFError.missing(file: file) }
    let name = trusted.fileName(file, meta.version)
    let bytes = try await demanded(name, limit(meta, limits.targets, name), fetch)
    let targets = try trusted.updateDelegated(bytes, role: edge.role, delegator: edge.from, now: now)
    try await persist(file, bytes)
    return targets
  }
}
