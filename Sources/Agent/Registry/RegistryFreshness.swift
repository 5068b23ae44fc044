import Trust

extension ModelRegistry {
  /// Takes over the trusted metadata as it lies on disk.
  func recall() throws {
    if let local = try metadata.load() { setTrusted(try TrustedMetadata.loadOffline(local)) }
    if let local = try directorMetadata.load() { setDirector(try TrustedMetadata.loadOffline(local)) }
  }

  /// How old the trusted metadata of both repositories is at this time, by what the image root allows.
  func freshness(at now: Int64) -> Freshness {
    guard let trusted else { return Freshness(expires: [:], policy: RepositoryPolicy(), now: now) }
    var expires = trusted.expirySeconds
    for (role, end) in director?.expirySeconds ?? [:] { expires["director/\(role)"] = end }
    return Freshness(expires: expires, policy: RepositoryPolicy(trusted.root), now: now)
  }

  /// Throws `RegistryError.stale` when the signed policy lets installed models answer no longer.
  func demandUsable(_ model: String, at now: Int64) throws(RegistryError) {
    let freshness = freshness(at: now)
    if freshness.isRefused, let refusesAt = freshness.refusesAt {
      throw .stale(model, since: freshness.staleSince ?? refusesAt, refusedSince: refusesAt)
    }
  }
}
