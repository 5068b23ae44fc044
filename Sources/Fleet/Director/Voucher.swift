import FoundationEssentials
public import Models
public import Trust

/// The signed metadata that admitted a model, kept byte for byte. It answers at any later time, with no network, whether
/// anybody ever vouched for a file: a row in a database is nobody's signature.
///
/// Expiry is no question here: what was admitted goes on running, as `RepositoryPolicy` says.
public struct Voucher: Sendable {
  /// Targets metadata of one role of the image repository.
  public struct List: Sendable, Hashable {
    /// `targets`, or a delegated role's name.
    public var role: String
    public var bytes: [UInt8]

    public init(role: String, bytes: [UInt8]) {
      self.role = role
      self.bytes = bytes
    }
  }

  /// The image repository's roots, oldest first: from the one that the box was enrolled with to the one that was trusted
  /// when the model was admitted.
  public var roots: [[UInt8]]
  /// From the top-level targets to the list that names the model.
  public var lists: [List]
  public var directorRoot: [UInt8]
  public var directorTargets: [UInt8]

  public init(roots: [[UInt8]], lists: [List], directorRoot: [UInt8], directorTargets: [UInt8]) {
    self.roots = roots
    self.lists = lists
    self.directorRoot = directorRoot
    self.directorTargets = directorTargets
  }

  /// Why nobody vouches for a model.
  public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// The roots do not begin with the one that the box was enrolled with.
    case unanchored
    case untrusted(TUFError)
    /// The image repository's signed metadata does not name it as it stands.
    case notNamed
    /// The director's signed word for this box does not name it as it stands.
    case notChosen
    /// The box has had a newer version since, and the director does not name this one now.
    case leftBehind

    public var description: String {
      switch self {
      case .unanchored: "the kept root is not the one that this box was enrolled with"
      case .untrusted(let error): "\(error)"
      case .notNamed: "no signed list of models names it"
      case .leftBehind: "the box has had a newer version since, and no rollback is signed"
      case .notChosen: "the director signed it for no such box"
      }
    }
  }

  /// Demands that both repositories name this very model, for this box.
  ///
  /// - anchor: the digest of the root that the box was enrolled with.
  public func demand(_ manifest: ModelManifest, device: DeviceID, anchor: Digest) throws(Failure) {
    try demand(manifest.targetPath, device: device, anchor: anchor) { (try? ModelManifest($0)) == manifest }
  }

  /// The same of anything that has a path among the targets; `isMeant` tells whether a target that has it is the one.
  public func demand(
    _ path: String, device: DeviceID, anchor: Digest, isMeant: (TUFTarget) -> Bool
  ) throws(Failure) {
    do {
      guard let first = roots.first, Digest(of: first) == anchor else { throw Failure.unanchored }
      let director = try TrustedMetadata(trustedRoot: directorRoot)
      var image = try TrustedMetadata(trustedRoot: first)
      var isAnchored = (try? image.demandAnchor(of: director.root)) != nil
      for root in roots.dropFirst() {
        try image.updateRoot(root)
        // The director's root was signed by the root keys of that time.
        isAnchored = isAnchored || (try? image.demandAnchor(of: director.root)) != nil
      }
      let target = try named(path, by: image)
      guard isMeant(target) else { throw Failure.notNamed }
      guard isAnchored, TUFBinding(of: director.root.document).repository == TUFBinding.director else {
        throw Failure.notChosen
      }
      let (document, _) = try director.verified(directorTargets, as: .targets)
      guard TUFBinding(of: document).device == device.hex,
        let chosen = try TUFTargets(document).targets.first(where: { $0.path == target.path }),
        chosen.length == target.length, chosen.sha256 == target.sha256,
        chosen.custom?["skerry"] == target.custom?["skerry"]
      else { throw Failure.notChosen }
    } catch let error as Failure {
      throw error
    } catch let error as TUFError {
      throw .untrusted(error)
    } catch {
      throw .notNamed
    }
  }

  /// The target, from the top-level targets down to the list that names it, each signed as the one above demands.
  private func named(_ path: String, by image: TrustedMetadata) throws -> TUFTarget {
    guard let top = lists.first, top.role == "targets" else { throw Failure.notNamed }
    var list = try TUFTargets(image.verified(top.bytes, as: .targets).0)
    for next in lists.dropFirst() {
      let delegations = list.delegations
      guard let role = delegations?.roles(for: path).first(where: { $0.name == next.role }) else {
        throw Failure.notNamed
      }
      let document = try TUFDocument(parsing: next.bytes, as: .targets)
      let signers = try document.validSigners(role.keys, keys: delegations?.keys ?? [:])
      guard signers.count >= role.keys.threshold else {
        throw TUFError.signature(role: "targets", valid: signers.count, threshold: role.keys.threshold)
      }
      list = try TUFTargets(document)
    }
    guard TUFBinding(of: list.document) == .image,
      let target = list.targets.first(where: { $0.path == path })
    else { throw Failure.notNamed }
    return target
  }

  /// The lists that lead to a path, in the order in which a client asks them (TUF 1.0.34, section 5.6.7); nil when none
  /// of the kept ones names it.
  ///
  /// - kept: what is kept of a delegated role; the file's name is the role's, percent-encoded, and `.json`.
  public static func lists(
    naming path: String, in trusted: TrustedMetadata, kept: (_ file: String) throws -> [UInt8]?
  ) rethrows -> [List]? {
    guard let top = trusted.targetsMetadata else { return nil }
    var trusted = trusted
    var visited: Set<String> = ["targets"]
    /// What was found, or that the search is over.
    func look(_ list: TUFTargets, _ chain: [List]) throws -> (found: [List]?, isOver: Bool) {
      if list.targets.contains(where: { $0.path == path }) { return (chain, true) }
      for role in list.delegations?.roles(for: path) ?? [] {
        guard visited.count < 32, visited.insert(role.name).inserted else { continue }
        guard let bytes = try kept(PercentEncoding.encode(role.name) + ".json"),
          let next = try? trusted.updateDelegated(bytes, role: role, delegator: list, now: .distantPast)
        else { return (nil, true) }
        let below = try look(next, chain + [List(role: role.name, bytes: bytes)])
        if below.isOver { return below }
        if role.isTerminating { return (nil, true) }
      }
      return (nil, false)
    }
    return try look(top, [List(role: "targets", bytes: top.document.bytes)]).found
  }
}
