/// How a program ends, after sysexits.h.
public enum ExitStatus: Int32, Sendable {
  case ok = 0
  /// The command ran, and the answer is no.
  case failure = 1
  /// The command line is wrong.
  case usage = 64
  /// Data or a signature is wrong.
  case data = 65
  /// What was named doesn't exist.
  case noInput = 66
  /// The other side (agent or hub) can't be reached.
  case hubUnavailable = 69
  /// A defect of the program.
  case software = 70
  /// Reading or writing failed.
  case io = 74
  /// It may work later.
  case tryLater = 75
  /// Refused by access control.
  case denied = 77
  /// The configuration is wrong.
  case configuration = 78
}

/// The end of a command that could not do its work: what went wrong, what to do about it, and the exit status.
public struct CommandFailure: Error, Equatable, CustomStringConvertible {
  public let message: String
  public let hint: String?
  public let status: ExitStatus

  public init(_ message: String, hint: String? = nil, status: ExitStatus = .failure) {
    self.message = message
    self.hint = hint
    self.status = status
  }
  public var description: String { message }
}
