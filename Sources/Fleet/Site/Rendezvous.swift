import Trust

/// Which box of a site a chunk belongs to, so that all of them come to the same answer without a word: each box's weight
/// for a chunk is drawn from both names, and the heaviest is its home (highest random weight). A box that goes or comes
/// moves its own chunks alone.
public enum Rendezvous {
  /// The boxes, the chunk's home first, and behind each the one that takes its place when it is gone.
  public static func order(of chunk: Digest, among boxes: some Sequence<VerifyingKey>) -> [VerifyingKey] {
    boxes.map { (key: $0, weight: weight(chunk, $0)) }
      .sorted { $0.weight != $1.weight ? $0.weight > $1.weight : $1.key.bytes.lexicographicallyPrecedes($0.key.bytes) }
      .map(\.key)
  }

  public static func home(of chunk: Digest, among boxes: some Sequence<VerifyingKey>) -> VerifyingKey? {
    order(of: chunk, among: boxes).first
  }

  /// The first eight bytes of SHA-256 over the chunk's id and the box's key.
  private static func weight(_ chunk: Digest, _ box: VerifyingKey) -> UInt64 {
    Digest(of: chunk.bytes + box.bytes).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
  }
}
