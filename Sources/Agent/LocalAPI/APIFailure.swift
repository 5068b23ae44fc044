import Fleet
import Models
import Storage
import Trust
import Web

/// What a caller of the local API is told when something does not go: a status, a stable code, and a sentence.
struct APIFailure: Error, Sendable, Hashable, CustomStringConvertible {
  var status: Int
  var code: String
  var message: String
  /// What to do about it.
  var hint: String?
  /// Seconds after which it is worth asking again.
  var retryAfter: Int?
  /// The member of the request that it is about, as in `messages[0].role`.
  var param: String?

  var description: String { "\(status) \(code): \(message)" }

  static func badRequest(_ message: String, param: String? = nil) -> APIFailure {
    APIFailure(status: 400, code: "bad_request", message: message, param: param)
  }
  static func unknownModel(_ name: String) -> APIFailure {
    APIFailure(
      status: 404, code: "model_not_found", message: "there is no model \"\(name)\" on this box",
      hint: "skerry model list shows those that there are")
  }
}

extension APIFailure {
  /// What the audit log says of an inference that failed. Of the engine's complaints and of errors that nobody foresaw
  /// only the code: they quote requests, and no part of a request belongs into the log.
  static func recordable(_ error: any Error) -> String {
    switch error {
    case is InferenceError, is RegistryError, is StorageError, is AccessFailure, is HTTPClientError: return "\(error)"
    default:
      let failure = APIFailure(error)
      return "\(failure.status) \(failure.code)"
    }
  }

  /// What stands behind an error, for the caller. Errors that nobody foresaw say no more than that there was one.
  init(_ error: any Error) {
    switch error {
    case let error as APIFailure: self = error
    case let error as AccessFailure: self.init(access: error)
    case let error as BreakGlassFailure: self.init(breakGlass: error)
    case let error as RegistryError: self.init(registry: error)
    case let error as SyncError: self.init(sync: error)
    case let error as BundleError: self.init(bundle: error)
    case let error as BundleFailure: self.init(bundle: error)
    case let error as TUFError:
      self.init(status: 502, code: "metadata_refused", message: "the signed metadata is refused: \(error)")
    case let error as InferenceError:
      self.init(
        status: 503, code: error.code, message: error.description, retryAfter: error.retryAfter)
    case let error as AuditUnavailable: self.init(access: .auditUnavailable("\(error.cause)"))
    case let error as ConfigurationError:
      self.init(status: 400, code: "configuration", message: error.description)
    case let error as VariantError: self.init(status: 400, code: "bad_variant", message: error.description)
    case let error as ModelfileError: self.init(status: 400, code: "bad_modelfile", message: error.description)
    case let error as StorageError:
      self.init(status: error.isTransient ? 503 : 500, code: "storage", message: error.description)
    default:
      self.init(
        status: 500, code: "internal", message: "something went wrong inside the agent; its log says what",
        hint: "journalctl -u skerryd")
    }
  }

  private init(access error: AccessFailure) {
    switch error {
    case .unknownCaller:
      self.init(status: 401, code: "unknown_caller", message: error.description, hint: "skerry token create NAME")
    case .denied(let reason, let remedy):
      self.init(status: 403, code: "denied", message: reason, hint: "what would change it: \(remedy)")
    case .auditUnavailable:
      self.init(status: 503, code: "audit_unavailable", message: error.description, retryAfter: 5)
    case .unknownRole, .badSubject, .badTokenName:
      self.init(status: 400, code: "bad_request", message: error.description)
    case .unknownToken, .unknownBinding: self.init(status: 404, code: "not_found", message: error.description)
    case .tokenExists, .boundByFile, .boundByFleet, .beyondCeiling, .lastAdministrator, .separated:
      self.init(status: 409, code: "conflict", message: error.description)
    }
  }

  private init(registry error: RegistryError) {
    switch error {
    case .unknownModel(let name): self = .unknownModel(name)
    case .corrupt: self.init(status: 503, code: "model_corrupt", message: error.description, hint: "skerry sync")
    case .notReady: self.init(status: 503, code: "model_not_ready", message: error.description, retryAfter: 30)
    case .unvouched:
      self.init(status: 503, code: "model_unvouched", message: error.description, hint: "skerry sync")
    case .evicted:
      self.init(status: 503, code: "model_evicted", message: error.description, hint: "skerry sync", retryAfter: 60)
    case .isAdapter: self.init(status: 400, code: "adapter", message: error.description)
    case .noRoom: self.init(status: 507, code: "no_room", message: error.description)
    case .touched: self.init(status: 503, code: "model_not_ready", message: error.description, retryAfter: 5)
    case .replaced: self.init(status: 503, code: "model_not_ready", message: error.description, retryAfter: 1)
    case .stale:
      self.init(status: 503, code: "model_stale", message: error.description, hint: "skerry sync", retryAfter: 300)
    case .busy: self.init(status: 409, code: "busy", message: error.description, retryAfter: 5)
    default: self.init(status: 502, code: "registry", message: error.description)
    }
  }
}
