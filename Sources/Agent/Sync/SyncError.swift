import Fleet
import Storage
import Trust
import Web

/// Why a sync or an enrolment ended early. The box goes on serving as before.
public enum SyncError: Error, Sendable, CustomStringConvertible {
  case notEnrolled
  /// It belongs to another fleet.
  case alreadyEnrolled(hub: String)
  case token(EnrollmentTokenError)
  /// No connection can be had.
  case unreachable(hub: String, reason: String)
  /// There was a connection, and it was cut or the hub fell silent.
  case lost(hub: String, reason: String)
  /// Something answers with another key than the pinned one.
  case wrongKey(hub: String, reason: String)
  /// The hub said no, in its own words.
  case refused(HubError, status: Int)
  /// The answer is not what the protocol says.
  case garbage(what: String, reason: String)
  /// The answer is longer than it may be.
  case tooLarge(what: String, reason: String)
  /// The root that came is not the one whose digest the token carries.
  case wrongRoot
  /// The hub took the box in under another name than its key's.
  case wrongIdentity
  /// The hub has cosigned more of the audit log than there is: the log was cut or replaced.
  case auditBehind(here: UInt64, there: UInt64)
  /// The hub says that this log does not contain the one that it cosigned.
  case auditInconsistent
  /// Models could not be brought in; the reasons by model.
  case incomplete([String])
  case stopped

  public var description: String {
    switch self {
    case .notEnrolled: "this box belongs to no fleet yet; run `skerry enroll TOKEN` with a token from the hub"
    case .alreadyEnrolled(let hub):
      "this box is enrolled at \(hub); to move it, stop skerryd and remove enrolment.json from its state directory"
    case .token(let error): error.description
    case .unreachable(let hub, let reason): "the hub \(hub) can't be reached: \(reason)"
    case .lost(let hub, let reason): "the connection to the hub \(hub) was lost: \(reason)"
    case .wrongKey(let hub, let reason):
      "\(hub) does not show the key that was pinned at enrolment (\(reason)); if the hub's key was renewed, enrol again"
    case .refused(let error, _): "the hub refused: \(error)"
    case .garbage(let what, let reason), .tooLarge(let what, let reason):
      "the hub's answer to \(what) makes no sense: \(reason)"
    case .wrongRoot: "the hub handed over another root of trust than the token names; nothing was changed"
    case .wrongIdentity: "the hub enrolled another key than this box's; nothing was changed"
    case .auditBehind(let here, let there):
      "the hub has cosigned \(there) audit entries, but this box has \(here): the log was cut or replaced"
    case .auditInconsistent: "the hub says that this audit log does not continue the one that it cosigned"
    case .incomplete(let reasons): reasons.joined(separator: "; ")
    case .stopped: "the agent is stopping"
    }
  }

  /// What the sync's state machine makes of it.
  var outcome: SyncMachine.Outcome {
    switch self {
    case .unreachable: .unreachable
    case .lost, .garbage, .tooLarge, .incomplete, .stopped: .transient
    case .refused(let error, let status):
      error.code.isPermanent || (400..<500).contains(status) && ![408, 409, 425, 429].contains(status)
        ? .permanent : .transient
    case .notEnrolled, .alreadyEnrolled, .token, .wrongKey, .wrongRoot, .wrongIdentity, .auditBehind,
      .auditInconsistent:
      .permanent
    }
  }

  var isAboutAuditLog: Bool {
    switch self {
    case .auditBehind, .auditInconsistent: true
    default: false
    }
  }

  /// The attack that any error stands for which a sync can end with; nil for what is nobody's attempt.
  static func attack(of error: any Error) -> AttackReport? {
    switch error {
    case let error as AttackReport: error
    case let error as TUFError: AttackReport(error, in: .image)
    case let error as SourceFault: error.report("image/metadata")
    default: nil
    }
  }

  /// The outcome of any error that a sync can end with.
  static func outcome(of error: any Error) -> SyncMachine.Outcome {
    switch error {
    case let error as SyncError: error.outcome
    case is TUFError, is AttackReport: .permanent
    default: .transient
    }
  }
}

extension String {
  /// The beginning, for what is kept of an error. Some of its words may be a hub's, out of an answer or a metadata file
  /// of megabytes, and a hub must not fill this box's audit log with them.
  var brief: String {
    let kept = unicodeScalars.prefix(500)
    return kept.endIndex == unicodeScalars.endIndex ? self : String(kept) + "…"
  }
}
