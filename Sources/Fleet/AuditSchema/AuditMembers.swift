extension AuditKind {
  private static let word = AuditType.text(64)
  private static let sentence = AuditType.text(2048)
  private static let names = AuditType.texts(32, 256)
  private static let outcome = AuditType.word(["ok", "refused", "failed"])

  /// The members beside those that every record has.
  public var members: [AuditMember] {
    switch self {
    case .start: [.must("version", Self.word), .must("sandbox", .name)]
    case .stop: []
    case .reload: [.must("outcome", Self.outcome), .may("reason", Self.sentence)]
    case .decision:
      [
        .must("allowed", .flag), .may("verb", Self.word), .may("resource", .text(512)), .may("role", .name),
        .may("rule", Self.sentence), .may("reason", Self.sentence), .may("remedy", Self.sentence),
        .may("breakGlass", Self.word), .may("count", .integer), .may("repeated", .integer), .may("others", .flag),
      ]
    case .inference:
      [
        .must("role", .name), .must("api", Self.word), .must("model", .name), .must("version", .name),
        .must("sha256", .digest), .may("variant", .name), .may("engine", .name), .must("prompt", .keyed),
        .must("promptKey", Self.word),
        .must("outcome", .word(["completed", "failed", "cancelled"])), .must("promptTokens", .integer),
        .must("cachedTokens", .integer), .must("completionTokens", .integer), .must("milliseconds", .integer),
        .may("queueMilliseconds", .integer), .may("firstTokenMilliseconds", .integer), .may("reason", Self.sentence),
        .may("content", .text(160)), .may("contentPrompt", .digest), .may("contentAnswer", .digest),
        .may("contentCut", .flag),
      ]
    case .limit:
      [
        .must("limit", Self.word), .must("scope", .text(600)), .may("rule", .text(512)), .may("allowed", .integer),
        .may("repeated", .integer), .may("others", .flag),
      ]
    case .content:
      [
        .must("event", .word(["kept", "erased", "expired"])), .may("content", .text(160)),
        .may("contentPrompt", .digest), .may("model", .name), .may("days", .integer), .may("before", .integer),
        .may("record", .integer), .may("subject", .text(512)), .may("count", .integer), .may("keys", .texts(64, 64)),
      ]
    case .role:
      [
        .must("action", .word(["bind", "unbind", "reload", "adopt"])), .may("role", .name),
        .may("subject", .text(512)), .may("outcome", Self.outcome), .may("file", .text(1024)),
        .may("source", .text(1024)), .may("sha256", .digest), .may("reason", Self.sentence),
      ]
    case .token:
      [
        .must("action", .word(["create", "revoke", "revive"])), .must("token", .name), .may("roles", Self.names),
        .may("scope", Self.names), .may("expires", .integer), .may("outcome", Self.outcome),
        .may("reason", Self.sentence),
      ]
    case .variant:
      [
        .must("event", .word(["create", "replace", "delete"])), .must("variant", .name), .must("base", .name),
        .must("definition", .digest),
      ]
    case .policy:
      [
        .must("event", .word(["adopted", "refused", "in-force", "stale", "damaged"])), .may("name", .name),
        .may("serial", .integer), .may("sha256", .digest), .may("expires", .integer), .may("replayed", .integer),
        .may("changed", .integer), .may("denied", .integer), .may("reason", Self.sentence),
      ]
    case .breakGlass:
      [
        .must("event", .word(["refused", "first", "opened", "failed", "closed"])), .may("id", Self.word),
        .may("role", .name), .may("seconds", .integer), .may("persons", .texts(4, 512)), .may("why", .text(5000)),
        .may("issuedBy", .name), .may("reason", Self.sentence), .may("repeated", .integer), .may("others", .flag),
      ]
    case .enroll:
      [
        .must("event", .word(["requested", "enrolled", "failed", "hub-keys"])), .may("hub", .text(1024)),
        .may("root", .digest), .may("witness", .text(512)), .may("sealTo", .text(128)), .may("way", .word(["bundle"])),
        .may("reason", Self.sentence),
      ]
    case .sync:
      [
        .must("event", .word(["done", "failed"])), .must("hub", .text(1024)), .may("changed", .flag),
        .may("activated", Self.names), .may("removed", Self.names), .may("failures", .texts(8, 1024)),
        .may("metadataVersion", .integer), .may("uploaded", .integer), .may("fetchedBytes", .integer),
        .may("reason", Self.sentence),
      ]
    case .bundle:
      [
        .must("event", .word(["received", "done", "failed", "refused", "exported"])), .may("serial", .integer),
        .may("hub", .text(1024)), .may("activated", Self.names), .may("removed", Self.names),
        .may("failures", .texts(8, 1024)), .may("metadataVersion", .integer), .may("acknowledged", .integer),
        .may("policies", Self.word), .may("reason", Self.sentence),
      ]
    case .site: [.must("event", .word(["session"])), .must("neighbour", .name), .must("device", Self.word)]
    case .model:
      [
        .must("event", .word(Self.modelEvents)), .must("model", .name), .must("version", .name),
        .must("sha256", .digest), .may("signers", .texts(32, 512)), .may("fetchedBytes", .integer),
        .may("rollbackFrom", .name), .may("for", .text(520)), .may("problem", Self.sentence), .may("engine", .name),
        .may("ended", .text(512)), .may("failures", .integer), .may("adapters", .texts(16, 64)), .may("draft", .digest),
        .may("reason", Self.sentence),
      ]
    case .store:
      [
        .must("event", .word(["scrubbed"])), .must("files", .integer), .must("bytes", .integer),
        .must("damaged", Self.names),
      ]
    case .grace: [.must("event", .word(["installed"])), .must("expired", Self.names), .must("models", Self.names)]
    case .freshness:
      [
        .must("event", .word(["fresh", "stale", "refused"])), .must("expired", Self.names), .may("since", .integer),
        .may("refusesAt", .integer),
      ]
    case .clock:
      [
        .must("event", .word(["step", "doubted", "right", "forgotten"])), .may("doubt", .word(["behind", "ahead"])),
        .may("source", .name), .may("wall", .integer), .may("floor", .integer), .may("time", .integer),
        .may("seconds", .integer), .may("times", .integers(64)), .may("reason", Self.sentence),
      ]
    case .attack:
      [
        .must("attack", .word(Attack.allCases.map(\.rawValue) + ["more"])), .must("role", .name),
        .must("reason", Self.sentence), .may("counts", .counts(32)),
      ]
    case .audit:
      [
        .must("event", .word(["outage", "pruned", "keysDestroyed", "exception", "exceptionEnded"])),
        .may("cause", .word(Self.outageCauses)), .may("since", .integer),
        .may("milliseconds", .integer), .may("refused", .integer), .may("putBack", .flag), .may("lateFrom", .integer),
        .may("lateUntil", .integer), .may("until", .integer), .may("days", .integer),
        .may("keys", .texts(64, 64)), .may("id", Self.word), .may("reason", Self.sentence), .may("issuedBy", .name),
        .may("expires", .integer),
      ]
    }
  }

  private static let modelEvents = [
    "activated", "mended", "withdrawn", "removed", "evicted", "recalled", "pinned", "unpinned", "refused",
    "digest_mismatch", "scrub_mismatch", "load", "unload", "engine_died", "crash_loop", "adapters_refused",
  ]
  private static let outageCauses = [
    "full", "readOnly", "stalled", "removed", "moved", "replaced", "damaged", "denied", "inputOutput",
  ]
}
