import Fleet
import FoundationEssentials
import Trust

/// The chain of the director's roots: the publisher signs them with the offline root keys, the hub checks and serves them.
struct DirectorRoots: Sendable {
  let files: DirectorFiles
  let onlineKey: VerifyingKey

  /// The newest root and all before it, verified in sequence; nil before the first.
  func published() throws -> TrustedMetadata? {
    guard let newest = try files.newestRoot(), let bytes = try files.root(newest) else { return nil }
    return try TrustedMetadata(trustedRoot: bytes)
  }

  /// Takes what is staged: each root in sequence, bound to the director, with the online key of this hub in its online
  /// roles, and the newest signed by the root keys of the image repository's root. Throws `HubError` (invalid_metadata,
  /// conflict), and nothing is published then.
  func commit(image: TrustedMetadata) throws {
    let before = try published()
    var chain = before
    var roots: [(Int64, [UInt8])] = []
    do {
      if let before, let again = try files.stagedRoot(before.rootVersion) {
        guard again == before.root.document.bytes else {
          throw HubError(
            .conflict, "the director's root \(before.rootVersion) is published already, with other content",
            hint: "give the new root a higher version: skerry repo renew DIR --root")
        }
      }
      if chain == nil, let first = try files.stagedRoot(1) {
        let trusted = try TrustedMetadata(trustedRoot: first)
        guard trusted.rootVersion == 1 else {
          throw TUFError.versionMismatch(role: "root", expected: 1, got: trusted.rootVersion)
        }
        chain = trusted
        roots.append((1, first))
      }
      while let version = chain.map({ $0.rootVersion + 1 }), let next = try files.stagedRoot(version) {
        try chain?.updateRoot(next)
        roots.append((version, next))
      }
      if let chain, !roots.isEmpty {
        try check(chain.root)
        try image.demandAnchor(of: chain.root)
      }
    } catch let error as TUFError {
      throw HubError(
        .invalidMetadata, "the director's root: \(error)",
        hint: "sign it with the root keys of the repository: skerry repo renew DIR --root")
    }
    for (version, bytes) in roots { try files.publishRoot(version, bytes) }
    try files.clearStaged()
  }

  /// Whether this hub can speak under this root.
  func check(_ root: TUFRoot) throws {
    guard TUFBinding(of: root.document) == TUFBinding(repository: TUFBinding.director), root.consistentSnapshot else {
      throw TUFError.foreign(role: "root")
    }
    for role in [TUFRole.timestamp, .snapshot, .targets] {
      let keys = root.roleKeys(role)
      guard keys.threshold == 1, keys.keyIDs.contains(where: { root.keys[$0]?.verifyingKey == .ed25519(onlineKey) })
      else {
        throw HubError(
          .invalidMetadata, "the director's root does not give \(role.rawValue) to this hub's online key",
          hint: "skerry repo renew DIR --root --online-key \(onlineKey.hex)")
      }
    }
  }
}
