import Access

/// Why a caller does not get what was asked for.
public enum AccessFailure: Error, Sendable, Hashable, CustomStringConvertible {
  /// Nobody that the agent knows: no token, a cut, expired, revoked or foreign one.
  case unknownCaller(String)
  /// No role allows it; the remedy would change that.
  case denied(reason: String, remedy: String)
  /// The decision could not be recorded, so nothing was done.
  case auditUnavailable(String)
  case unknownRole(String, known: [String])
  case badSubject(String)
  case badTokenName(String)
  case tokenExists(String)
  case unknownToken(String)
  case unknownBinding(role: String, subject: String)
  /// The binding stands in the policy file, which only an editor changes.
  case boundByFile(role: String, subject: String, file: String)
  /// The binding stands in the policy that the fleet signed.
  case boundByFleet(role: String, subject: String)
  /// The fleet's policy lets the box give no such role.
  case beyondCeiling(String)
  /// The subject would hold roles that nobody may hold together; says which.
  case separated(String)
  /// Without it nobody could give roles any more.
  case lastAdministrator(role: String, subject: String)

  public var description: String {
    switch self {
    case .unknownCaller(let reason): reason
    case .denied(let reason, let remedy): "\(reason); what would change it: \(remedy)"
    case .auditUnavailable(let reason): "the audit log can't be written (\(reason)), so nothing was done"
    case .unknownRole(let name, let known): "there is no role \"\(name)\"; there are \(known.joined(separator: ", "))"
    case .badSubject(let text): "\"\(text)\" is no subject; write one of \(Subject.allowed)"
    case .badTokenName(let text): "\"\(text)\" is no token name; write \(Role.allowedNames)"
    case .tokenExists(let name): "there is already a token \"\(name)\"; revoke it first or choose another name"
    case .unknownToken(let name): "there is no token \"\(name)\""
    case .unknownBinding(let role, let subject): "the role \(role) is not bound to \(subject)"
    case .boundByFile(let role, let subject, let file):
      "the binding of \(role) to \(subject) stands in \(file); take it out there, then reload"
    case .boundByFleet(let role, let subject):
      "the binding of \(role) to \(subject) stands in the fleet's policy; only who signs that takes it out"
    case .beyondCeiling(let reason): reason
    case .separated(let reason): reason
    case .lastAdministrator(let role, let subject):
      "nobody could give roles any more after this change of \(role) for \(subject); let somebody else give them first"
    }
  }
}
