/// Why a door stays shut.
public enum BreakGlassFailure: Error, Sendable, Hashable, CustomStringConvertible {
  /// This box opens to no code.
  case off
  /// Callers with tokens have no uid that the kernel vouches for.
  case notLocal
  case badReason
  /// Cut or mistyped.
  case noCode
  case unknownCode
  case used(id: String)
  case expired(id: String)
  /// The policy does not have the role, or has something against lending it.
  case cannotLend(id: String, reason: String)
  /// The second person is the first.
  case samePerson(id: String)
  case sameCode(id: String)
  /// The caller has no open door.
  case notOpen

  public var description: String {
    switch self {
    case .off: "this box takes no break-glass codes: breakGlass.maxSeconds is 0 in agent.json5"
    case .notLocal: "break-glass works on the box's Unix socket alone, where the kernel says who calls"
    case .badReason:
      "say why in 8 to 500 characters without line breaks: the reason goes on record before anything opens"
    case .noCode:
      "this is no whole code; it may be cut or mistyped: a whole one is SKB and six groups of five letters and digits"
    case .unknownCode:
      "no code that this box knows; it may be another box's, revoked, or issued after this box's last sync"
    case .used(let id): "the code of \(id) was used; each is good once"
    case .expired(let id): "the code of \(id) has expired"
    case .cannotLend(let id, let reason): "the role of \(id) can't be lent: \(reason)"
    case .samePerson(let id): "\(id) asks for two persons: the second code is given by another user of this box"
    case .sameCode(let id): "\(id) asks for two codes, and this one was given already"
    case .notOpen: "no door of yours is open"
    }
  }
}
