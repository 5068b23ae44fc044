/// What an audit record is about. There is no record of any other kind.
public enum AuditKind: String, Sendable, Hashable, CaseIterable {
  case start, stop, reload
  case decision, inference, limit, content
  case role, token, variant, policy
  case breakGlass = "break-glass"
  case enroll, sync, bundle, site
  case model, store, grace, freshness
  case clock, attack, audit

  /// In words, for the schema.
  public var summary: String {
    switch self {
    case .start: "the agent began to serve"
    case .stop: "the agent ended in order"
    case .reload: "a configuration was not taken over"
    case .decision: "somebody asked for something, and was or was not let"
    case .inference: "an inference is over"
    case .limit: "a request went beyond a limit"
    case .content: "what is asked and answered is kept, or was erased"
    case .role: "a change of who has which role, or of the policy file"
    case .token: "a change of a token"
    case .variant: "a change of a model's variant"
    case .policy: "the fleet's policy was taken over or refused, expired, or is not as it was signed"
    case .breakGlass: "a sealed code was given, a door opened or closed"
    case .enroll: "the box joins a fleet"
    case .sync: "a sync with the hub is over"
    case .bundle: "a bundle came in or went out"
    case .site: "a neighbour begins to ask for chunks"
    case .model: "a model or its engine came, went, changed or failed"
    case .store: "the store was read through"
    case .grace: "a model was taken in under metadata that had expired"
    case .freshness: "signed metadata expired, or is fresh again"
    case .clock: "the wall clock was set, is doubted, or is believed again"
    case .attack: "an attack was noticed and refused"
    case .audit: "the log tells of itself"
    }
  }
}
