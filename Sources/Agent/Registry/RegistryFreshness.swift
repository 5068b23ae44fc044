import Trust

extension ModelRegistry {
  /// Takes over the trusted metadata as it lies on disk.
  func recall() throws {
    if let local = try metadata.load() { setTrusted(try TrustedMetadata.loadOffline(local)) }
    if let local = try directorMetadata.load() { setDirector(try TrustedMetadata.loadOffline(local)) }
  }

  /// How old the trusted metadata is at this time, by what its root allows.
  func freshness(at now: Int64) -> Freshness {
    guard let trusted else { return Freshness(expires: [:], policy: RepositoryPolicy(), now: now) }
    return Freshness(expires: trusted.expirySeconds, policy: RepositoryPolicy(trusted.root), now: now)
  }

  /// Throws `RegistryError.stale` when the signed policy lets installed models answer no longer.
  func demandUsable(_ model: String, at now: Int64) throws(RegistryError) {
    let freshness = freshness(at: now)
    if freshness.isRefused, let refusesAt = freshness.refusesAt {
      throw .stale(model, since: freshness.staleSince ?? refusesAt, refusedSince: refusesAt)
    }
  }
}
