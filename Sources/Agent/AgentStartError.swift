import Host
import Storage
import Trust
import Web

/// Why the agent does not start, with the exit status that says what kind of trouble it is (sysexits.h).
public struct AgentStartError: Error, CustomStringConvertible {
  public let description: String
  public let exitStatus: Int32

  /// EX_SOFTWARE, EX_IOERR, EX_TEMPFAIL, EX_CONFIG.
  static let software: Int32 = 70
  static let inputOutput: Int32 = 74
  static let tryLater: Int32 = 75
  static let configuration: Int32 = 78

  init(_ description: String, exitStatus: Int32) {
    self.description = description
    self.exitStatus = exitStatus
  }

  init(_ error: any Error) {
    switch error {
    case let error as AgentStartError: self = error
    case let error as ConfigurationError:
      self.init(error.description, exitStatus: AgentStartError.configuration)
    case let error as InstanceLock.Failure:
      if case .held = error {
        self.init(error.description, exitStatus: AgentStartError.tryLater)
      } else {
        self.init(error.description, exitStatus: AgentStartError.inputOutput)
      }
    case let error as StorageError: self.init(error.description, exitStatus: AgentStartError.inputOutput)
    case let error as AuditUnavailable: self.init(error.description, exitStatus: AgentStartError.inputOutput)
    case let error as AccessFailure: self.init(error.description, exitStatus: AgentStartError.inputOutput)
    case let error as HostError: self.init(error.description, exitStatus: AgentStartError.inputOutput)
    case let error as ListenError: self.init(error.description, exitStatus: AgentStartError.configuration)
    case let error as AuditTampered: self.init(error.description, exitStatus: AgentStartError.inputOutput)
    default: self.init("\(error)", exitStatus: AgentStartError.software)
    }
  }
}
