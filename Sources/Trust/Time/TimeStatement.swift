/// Who may state the time: the keys of a trusted root's timestamp role, and how many of them it takes. The time goes
/// through the root for the sake of the day on which such a key is stolen: the root's owners take the key away, and
/// with it all that it ever said of the time.
public struct TimeAuthority: Hashable, Sendable {
  /// What the role lists, under any id.
  public let keys: [TUFKey]
  public let threshold: Int

  public init(_ root: TUFRoot) {
    let role = root.roleKeys(.timestamp)
    keys = role.keyIDs.compactMap { root.keys[$0] }
    threshold = role.threshold
  }

  /// Whether these keys, by fingerprint, are enough of the role's.
  public func vouches(for fingerprints: some Sequence<String>) -> Bool {
    Set(keys.compactMap(\.fingerprint)).intersection(fingerprints).count >= threshold
  }
}

extension TUFKey {
  /// SHA-256 over the scheme and the key itself: one for one key, whatever id or spelling it comes under. Nil for a key
  /// that Skerry can't use.
  public var fingerprint: String? {
    let (scheme, bytes): (String, [UInt8])
    switch verifyingKey {
    case nil: return nil
    case .ed25519(let key)?: (scheme, bytes) = ("ed25519", key.bytes)
    case .ecdsaP256(let der)?: (scheme, bytes) = ("ecdsa-sha2-nistp256", der)
    case .rsaPSS(let der)?: (scheme, bytes) = ("rsassa-pss-sha256", der)
    }
    return Digest(of: Array("\(scheme) ".utf8) + bytes).hex
  }
}

/// Somebody's word, verified, that it was at least this late when they signed.
public struct TimeStatement: Codable, Hashable, Sendable {
  public enum Source: String, Codable, Sendable, CaseIterable {
    /// The hub's answer to this box's nonce.
    case reply
    /// A timestamp metadata file that says when it was signed.
    case metadata
  }

  /// Unix seconds.
  public let time: Int64
  public let source: Source
  /// The fingerprints of the keys whose signatures counted, sorted.
  public let keys: [String]

  public init(time: Int64, source: Source, keys: [String]) {
    self.time = time
    self.source = source
    self.keys = Set(keys).sorted()
  }

  /// What a trusted timestamp says of when it was signed; nil when it says nothing.
  ///
  /// - `signers`: the key ids whose signatures counted, as `TrustedMetadata.signers(of:)` has them.
  public init?(_ timestamp: TUFTimestamp, signers: [String], root: TUFRoot) {
    guard let signedAt = timestamp.signedAt else { return nil }
    self.init(
      time: signedAt, source: .metadata, keys: signers.compactMap { root.keys[$0]?.fingerprint })
  }

  /// No instant outside of this is a time: 1970 to the end of 9999.
  public static let possible: Range<Int64> = 0..<253_402_300_800
}
