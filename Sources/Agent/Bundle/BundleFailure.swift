import Fleet
import Trust

/// Why a bundle can't be taken in, made or asked for, besides what is wrong with the bundle itself.
public enum BundleFailure: Error, Sendable, CustomStringConvertible {
  /// Another import or export runs.
  case busy
  /// The box belongs to no fleet and has asked for none.
  case notEnrolled
  /// The hub's answer to this box's request to join is not in it.
  case notAnswered
  case noSpace(needed: UInt64, free: UInt64)
  /// No bundle and no enrolment has told the hub's key yet.
  case noHubKey
  /// A root in it does not follow from the one that is trusted.
  case untrustedRoot(TUFError)

  public var description: String {
    switch self {
    case .busy: "another bundle is being taken in or made; wait for it"
    case .notEnrolled:
      "this box belongs to no fleet yet; run `skerry bundle export --enroll TOKEN` and take the file to the hub"
    case .notAnswered:
      "the hub's answer to this box's request is not in the bundle; take the request to the hub, and make a bundle after it"
    case .noSpace(let needed, let free):
      "not enough disk space to take the bundle in: it needs \(needed) bytes and \(free) are free; free \(needed - min(free, needed)) more"
    case .noHubKey:
      "this box does not know the hub's key to seal to; import a bundle of the hub first, which carries it"
    case .untrustedRoot(let error): "a root in the bundle is not trusted: \(error)"
    }
  }
}

extension BundleError {
  /// The attack that a refused bundle stands for; nil for what is a bad copy or a mistake of the hand.
  var attack: AttackReport? {
    let (attack, reason): (Attack, String)
    switch self {
    case .notABundle, .unknownVersion, .cut, .trailing: return nil
    case .malformed: (attack, reason) = (.malformed, "it can't be read")
    case .altered: (attack, reason) = (.tamperedContent, "an entry has another digest than its head says")
    case .otherContent: (attack, reason) = (.mixAndMatch, "its entries are not those that its manifest was signed over")
    case .tooLarge: (attack, reason) = (.endlessData, "more than a bundle may hold")
    case .badSignature: (attack, reason) = (.badSignature, "no key that the roots list for timestamps has signed it")
    case .notForThisBox: (attack, reason) = (.wrongDevice, "it is for other boxes")
    case .older(let serial, let have): (attack, reason) = (.replay, "number \(serial) where \(have) was taken")
    }
    return AttackReport(attack, role: "bundle", reason: reason)
  }
}
