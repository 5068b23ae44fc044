import Storage
import Trust

extension AuditLog {
  /// The first entry that is there; those before it were pruned.
  public var first: UInt64 { log.first }

  /// Lets go of the entries before this one, a multiple of 256: first a record says so, then the roots of their tiles are
  /// durable, then they go. Only what a signed head covers can go, and what the witness has cosigned where there is one.
  ///
  /// A crash in between leaves the entries, or all that is said to be left. Throws `AuditUnavailable`, a `StorageError`, or
  /// `MerkleError.outOfRange`.
  ///
  /// - Parameter why: what the record says beside the place: the rule, in the schema's terms.
  public func prune(before index: UInt64, why: [String: JSONValue]) async throws {
    guard index.isMultiple(of: Merkle.tileWidth), index <= prunable else { throw MerkleError.outOfRange }
    guard index > first else { return }
    let fields = why.merging(["event": "pruned", "until": .integer(Int64(clamping: index))]) { _, ours in ours }
    try await append(AuditEvent(kind: .audit, actor: "system", fields: fields))
    let (log, tree) = (log, tree)
    try await offPool {
      _ = self.signedHead()
      try tree.hashes.keepRoots(before: index)
      try log.prune(before: index)
      try tree.hashes.prune(before: index)
    }
  }

  /// So many entries are covered by the newest cosigned head, or where no witness ever was by the newest signed one.
  var prunable: UInt64 { cosigned()?.size ?? head().size }

  /// The roots of the complete subtrees over all entries before this one, the largest first: what an export that begins with
  /// it starts from.
  public func edge(before index: UInt64) throws -> [Digest] {
    guard index <= head().size else { throw MerkleError.outOfRange }
    return try Merkle.edge(size: index, read: tree.hashes.read)
  }
}
