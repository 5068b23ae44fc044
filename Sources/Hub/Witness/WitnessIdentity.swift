import Trust

/// The key that the hub cosigns audit heads with, and its name.
public struct WitnessIdentity: Sendable {
  public let name: String
  private let key: SigningKey

  public init(key: SigningKey) {
    self.key = key
    // A name of its own for each key, so that cosignatures of two hubs never look alike.
    name = "skerry/witness/" + Hex.encode(Digest(of: key.verifyingKey.bytes).bytes.prefix(8))
  }

  /// What boxes and auditors verify with.
  public var verifier: NoteVerifier {
    NoteVerifier(name: name, key: key.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
  }

  /// A cosignature/v1 at `time`, seconds since 1970.
  public func cosign(_ note: SignedNote, time: Int64) -> NoteSignature {
    note.cosigned(name: name, key: key, time: UInt64(max(time, 0)))
  }
}
