/// What somebody tried, in a word of a closed list: the audit log names attacks with it, and so do status and reports.
/// The names are those of the TUF specification (section 1.5.2) and of the Uptane standard where they have one.
public enum Attack: String, Codable, Hashable, Sendable, CaseIterable {
  /// Metadata or a model older than what the box has, without a signed rollback.
  case rollback
  /// Metadata that has expired: somebody keeps newer ones away.
  case freeze
  /// A version number raised so far that the true ones would look old.
  case fastForward = "fast-forward"
  /// Files that were never published together.
  case mixAndMatch = "mix-and-match"
  /// A statement for another box.
  case wrongDevice = "wrong-device"
  /// More bytes than the metadata says or the limits allow.
  case endlessData = "endless-data"
  /// Bytes that come too slowly to be meant.
  case slowRetrieval = "slow-retrieval"
  /// Too few valid signatures of the keys that count.
  case badSignature = "bad-signature"
  /// The director names a model that no signed image metadata names.
  case foreignImage = "foreign-image"
  /// The director says otherwise of a model than the image metadata.
  case directorDisagrees = "director-disagrees"
  /// An older statement of the director, or a reply to another question, shown again.
  case replay
  /// A file that the source must have and withholds.
  case withheld
  /// Metadata that can't be read.
  case malformed
  /// Content that does not have its signed digest.
  case tamperedContent = "tampered-content"
  /// A clock that can't be right.
  case clock
  /// A neighbour that serves wrong bytes.
  case lyingNeighbour = "lying-neighbour"
}

/// An attack that was noticed and refused. It carries no word of the attacker's: `role` and `reason` are ours.
public struct AttackReport: Error, Codable, Hashable, Sendable, CustomStringConvertible {
  public let attack: Attack
  /// Where it showed: `image/timestamp`, `director/targets`, `image/delegated`, `content`, …
  public let role: String
  /// What was wrong, in our words and with numbers alone.
  public let reason: String

  public init(_ attack: Attack, role: String, reason: String) {
    self.attack = attack
    self.role = role
    self.reason = reason
  }

  public var description: String { "\(attack.rawValue) (\(role)): \(reason)" }
}
