import Trust

/// The two TUF repositories of a fleet.
public enum FleetRepository: String, Sendable, Hashable {
  /// Which models are good: signed by the publisher's offline keys.
  case image
  /// Which of them this box gets: signed by the hub's online key.
  case director
}

extension AttackReport {
  /// The attack that a refused metadata file stands for; nil when the error is nobody's attempt.
  ///
  /// Role and file names of delegated metadata are chosen by who writes it, so they are not repeated here.
  public init?(_ error: TUFError, in repository: FleetRepository) {
    let (attack, role, reason): (Attack, String, String)
    switch error {
    case .malformed(let name, _): (attack, role, reason) = (.malformed, name, "it can't be read")
    case .signature(let name, let valid, let threshold):
      (attack, role, reason) = (.badSignature, name, "\(valid) valid of \(threshold) needed signatures")
    case .expired(let name, let since):
      (attack, role, reason) = (.freeze, name, "it expired at \(TUFTime.format(since))")
    case .rollback(let name, let have, let got):
      // What the hub signs for a box is a message to it: an old one is that message, shown again.
      attack = repository == .director ? .replay : .rollback
      (role, reason) = (name, "version \(got) where \(have) is trusted")
    case .versionMismatch(let name, let expected, let got):
      (attack, role, reason) = (.mixAndMatch, name, "version \(got) where \(expected) must come")
    case .wrongHash(let name): (attack, role, reason) = (.mixAndMatch, name, "another digest than the listed one")
    case .wrongLength(let name, let expected, let got):
      attack = got > expected ? .endlessData : .mixAndMatch
      (role, reason) = (name, "\(got) bytes where \(expected) are signed")
    case .tooLarge(let name, let limit): (attack, role, reason) = (.endlessData, name, "more than \(limit) bytes")
    case .missing(let name): (attack, role, reason) = (.withheld, name, "the source does not have it")
    case .removed(let name): (attack, role, reason) = (.rollback, name, "it is no longer listed")
    case .foreign(let name):
      // A director's file of another box is that box's; a file of the other repository never belonged beside these.
      attack = repository == .director && name != "root" ? .wrongDevice : .mixAndMatch
      (role, reason) = (name, "it belongs to another repository or another box")
    case .unsupportedSpecification, .outOfOrder: return nil
    }
    self.init(attack, role: "\(repository.rawValue)/\(AttackReport.role(role))", reason: reason)
  }

  /// The top-level role that a role's or file's name means, `delegated` for any other.
  public static func role(_ name: String) -> String {
    var parts = name.split(separator: ".", omittingEmptySubsequences: false)
    if parts.count > 1, parts.last == "json" { parts.removeLast() }
    if parts.count == 2, Int64(parts[0]) != nil { parts.removeFirst() }
    return parts.count == 1 && TUFRole(rawValue: String(parts[0])) != nil ? String(parts[0]) : "delegated"
  }
}
