extension APIDocument {
  private static func of(_ method: String, _ path: String, _ summary: String, _ answer: Schema) -> APIOperation {
    APIOperation(method: method, path: "/skerry/v1/" + path, summary: summary, answers: [.json(answer)])
  }
  private static func list(_ name: String, _ element: Schema = .object) -> Schema {
    .record(.must(name, .list(element)))
  }

  private static let model = Schema.named(
    "InstalledModel",
    .record(
      .must("name", .string), .must("version", .string), .must("state", .string), .must("sha256", .string),
      .must("length", .count), .must("loaded", .boolean)))
  private static let named = Schema.record(.must("name", .string))
  private static let token = Schema.closed(.must("token", .string))
  private static let bundle = "application/vnd.skerry.bundle"

  static let skerry: [APIOperation] = status + models + store + access + audit + fleet

  private static let status: [APIOperation] = [
    APIOperation(
      method: "GET", path: "/openapi.json", summary: "This document.", answers: [.json(.object)], needsCaller: false),
    APIOperation(
      method: "GET", path: "/skerry/v1/health",
      summary: "That the agent answers; and why the audit log can't be written, or null.",
      answers: [
        .json(
          .record(
            .must("ok", .boolean), .must("audit", .orNull(.record(.must("seconds", .count), .must("cause", .string))))))
      ], needsCaller: false),
    of(
      "GET", "status", "The box in one object.",
      .record(.must("version", .string), .must("deviceID", .string), .must("models", .list(.object)))),
    of("GET", "engines", "The engines, and what they take.", list("engines")),
    of("GET", "plan", "What engines would be started with.", .object),
    of("GET", "plan/{name}", "What one engine would be started with.", .object),
    APIOperation(method: "GET", path: "/metrics", summary: "Counters, for Prometheus.", answers: [.text()]),
    APIOperation(method: "GET", path: "/skerry/v1/metrics", summary: "Counters, for Prometheus.", answers: [.text()]),
    of("GET", "report", "The compliance report.", .object),
    APIOperation(
      method: "GET", path: "/skerry/v1/report.html", summary: "The compliance report, for people.",
      answers: [.text("text/html")]),
    APIOperation(
      method: "GET", path: "/skerry/v1/usage", summary: "Who used how much of which model.",
      query: [
        .init(name: "since", schema: .string, summary: "The first day, YYYY-MM-DD."),
        .init(name: "until", schema: .string, summary: "The last day, YYYY-MM-DD."),
        .init(
          name: "by", schema: .string, summary: "What to tell apart: day, caller, role, model, sha256, with commas."),
        .init(name: "caller", schema: .string, summary: "Of this caller alone."),
        .init(name: "mine", schema: .string, summary: "true: of whoever asks alone."),
      ], answers: [.json(.record(.must("rows", .list(.object)), .must("total", .object)))]),
  ]

  private static let models: [APIOperation] = [
    of("GET", "models", "The models on the box.", list("models")),
    of("GET", "models/{name}", "One model.", model),
    of("POST", "models/{name}/verify", "Compares the file with its signed digest.", named),
    of("POST", "models/{name}/load", "Starts the model's engine.", named),
    of("POST", "models/{name}/unload", "Stops the model's engine.", named),
    of("POST", "models/{name}/pin", "Keeps the model from being evicted.", named),
    of("POST", "models/{name}/unpin", "Lets the model be evicted.", named),
  ]

  private static let store: [APIOperation] = [
    of("GET", "store", "The store in numbers.", .record(.must("usedBytes", .count), .must("freeBytes", .integer))),
    APIOperation(
      method: "POST", path: "/skerry/v1/store/gc", summary: "Removes what nothing needs.",
      body: .closed(Schema.Member(name: "dryRun", schema: .boolean, isRequired: false)), isBodyOptional: true,
      answers: [.json(.record(.must("dryRun", .boolean), .must("removed", .list(.string))))]),
    of("POST", "store/scrub", "Reads everything and compares it with its digests.", .object),
  ]

  private static let access: [APIOperation] = [
    of(
      "GET", "roles", "Roles and bindings.", .record(.must("roles", .list(.object)), .must("bindings", .list(.object)))),
    of(
      "GET", "policy", "The policy that the fleet signed for this box.",
      .record(.must("policy", .orNull(.object)), .must("refused", .orNull(.object)))),
    APIOperation(
      method: "POST", path: "/skerry/v1/roles/simulate", summary: "Tries a policy on recorded decisions.",
      body: .closed(
        .must("policy", .string), Schema.Member(name: "days", schema: .integer(1...4000), isRequired: false)),
      answers: [.json(.record(.must("changes", .list(.object)), .must("replayed", .count)))]),
    APIOperation(
      method: "POST", path: "/skerry/v1/bindings", summary: "Gives a subject a role.",
      body: .closed(.must("role", .string), .must("subject", .string)),
      answers: [.json(.record(.must("created", .boolean))), .json(.record(.must("created", .boolean)), status: 201)]),
    APIOperation(
      method: "DELETE", path: "/skerry/v1/bindings", summary: "Takes a role from a subject.",
      query: [
        .init(name: "role", schema: .string, isRequired: true, summary: "The role."),
        .init(name: "subject", schema: .string, isRequired: true, summary: "As in token:app."),
      ], answers: [.json(.record(.must("removed", .boolean)))]),
    APIOperation(
      method: "GET", path: "/skerry/v1/explain", summary: "Why somebody may or may not.",
      query: [
        .init(name: "subject", schema: .string, isRequired: true, summary: "As in token:app."),
        .init(name: "verb", schema: .string, isRequired: true, summary: "As in infer."),
        .init(name: "resource", schema: .string, isRequired: true, summary: "As in model:NAME."),
        .init(name: "time", schema: .string, summary: "At this time, as in mon 08:30."),
        .init(name: "address", schema: .string, summary: "From this address."),
        .init(name: "contextTokens", schema: .string, summary: "With so many tokens."),
      ], answers: [.json(.record(.must("allowed", .boolean), .must("tree", .object)))]),
    APIOperation(
      method: "GET", path: "/skerry/v1/review/who-can", summary: "Who may do something.",
      query: [
        .init(name: "verb", schema: .string, isRequired: true, summary: "As in infer."),
        .init(name: "resource", schema: .string, isRequired: true, summary: "As in model:NAME."),
      ], answers: [.json(.record(.must("subjects", .list(.object))))]),
    APIOperation(
      method: "GET", path: "/skerry/v1/review/what-may", summary: "What somebody may do.",
      query: [.init(name: "subject", schema: .string, isRequired: true, summary: "As in token:app.")],
      answers: [.json(.record(.must("held", .list(.string)), .must("permits", .list(.string))))]),
    of("GET", "review/conflicts", "Roles that exclude each other.", list("conflicts")),
    of("GET", "tokens", "The tokens, without their secrets.", list("tokens")),
    APIOperation(
      method: "POST", path: "/skerry/v1/tokens", summary: "Makes a token; its secret is shown once.",
      body: .closed(
        .must("name", .string), .may("roles", .list(.string)), .may("scope", .list(.string)),
        .may("expiresInSeconds", .integer(1...315_360_000))),
      answers: [.json(.record(.must("name", .string), .must("token", .string)), status: 201)]),
    of("DELETE", "tokens/{name}", "Revokes a token.", .record(.must("revoked", .boolean))),
    of("GET", "break-glass", "What the hub's sealed codes open on this box.", list("grants")),
    APIOperation(
      method: "POST", path: "/skerry/v1/break-glass",
      summary: "Gives a sealed code; 202: a second person's is awaited.",
      body: .closed(.must("code", .string), .must("reason", .string)),
      answers: [
        .json(.record(.must("state", .string), .must("id", .string))),
        .json(.record(.must("state", .string), .must("id", .string)), status: 202),
      ]),
    of("DELETE", "break-glass", "Gives back what was lent to the caller.", .record(.must("closed", .list(.string)))),
  ]

  private static let audit: [APIOperation] = [
    APIOperation(
      method: "GET", path: "/skerry/v1/audit", summary: "Entries of the audit log.",
      query: [
        .init(name: "from", schema: .integer(0 ... .max), summary: "The first entry's number."),
        .init(name: "limit", schema: .integer(1...10_000), summary: "At most so many."),
      ], answers: [.json(.record(.must("entries", .list(.object)), .must("size", .count)))]),
    APIOperation(
      method: "GET", path: "/skerry/v1/audit/head", summary: "The signed head of the log.", answers: [.text()]),
    APIOperation(
      method: "GET", path: "/skerry/v1/audit/search",
      summary: "The newest entries that are asked for, the newest first.",
      query: selection + [
        .init(name: "before", schema: .integer(0 ... .max), summary: "Only entries with a smaller number."),
        .init(name: "limit", schema: .integer(1...10_000), summary: "At most so many."),
      ], answers: [.json(.record(.must("entries", .list(.object)), .must("size", .count)))]),
    APIOperation(
      method: "GET", path: "/skerry/v1/audit/tail", summary: "Entries as they are written, without an end.",
      query: selection + [
        .init(name: "from", schema: .integer(0 ... .max), summary: "The first entry's number; without it, the next.")
      ], answers: [.lines]),
    APIOperation(
      method: "GET", path: "/skerry/v1/audit/proof/{n}", summary: "The evidence for one entry (C2SP tlog-proof).",
      answers: [.text()]),
    APIOperation(
      method: "GET", path: "/skerry/v1/audit/content/{n}", summary: "What was kept of an inference.",
      answers: [.json(.record(.must("record", .object)))]),
    APIOperation(
      method: "POST", path: "/skerry/v1/audit/erase", summary: "Erases what was kept of prompts and answers.",
      body: .closed(
        Schema.Member(name: "before", schema: .integer(0 ... .max), isRequired: false),
        Schema.Member(name: "record", schema: .integer(0 ... .max), isRequired: false),
        Schema.Member(name: "subject", schema: .string, isRequired: false)),
      answers: [.json(.record(.must("erased", .count)))]),
    APIOperation(
      method: "GET", path: "/skerry/v1/audit/export", summary: "The log, or a part of it, with its proofs.",
      query: selection + [
        .init(name: "from", schema: .integer(0 ... .max), summary: "Entries before this one only by their hashes.")
      ], answers: [.text("application/jsonl")]),
  ]

  private static let selection: [APIOperation.Query] = [
    .init(name: "since", schema: .integer(0 ... .max), summary: "Unix milliseconds: from then on."),
    .init(name: "until", schema: .integer(0 ... .max), summary: "Unix milliseconds: before then."),
    .init(name: "subject", schema: .string, summary: "As in token:app or uid:1000."),
    .init(name: "model", schema: .string, summary: "A model's name."),
    .init(name: "outcome", schema: .string, summary: "As in denied or completed."),
    .init(name: "kind", schema: .string, summary: "As in decision or inference."),
  ]

  private static let fleet: [APIOperation] = [
    APIOperation(
      method: "POST", path: "/skerry/v1/enroll", summary: "Makes the box a member of a fleet.", body: token,
      answers: [.json(.record(.must("deviceID", .string), .must("hub", .string)))]),
    APIOperation(
      method: "POST", path: "/skerry/v1/sync", summary: "Syncs with the hub; lines of progress.",
      query: [.init(name: "now", schema: .string, summary: "1: outside quiet hours and budgets too.")],
      answers: [.lines]),
    of("GET", "site", "The box's neighbours.", .object),
    of("GET", "bundle", "What a bundle would bring.", .object),
    APIOperation(
      method: "POST", path: "/skerry/v1/bundle/import", summary: "Applies a bundle; lines of progress.",
      bodyType: bundle, answers: [.lines]),
    APIOperation(
      method: "POST", path: "/skerry/v1/bundle/export", summary: "What the hub has to know, as a bundle.",
      answers: [.binary(bundle)]),
    APIOperation(
      method: "POST", path: "/skerry/v1/bundle/enroll", summary: "A request to enrol, as a bundle.", body: token,
      answers: [.binary(bundle)]),
  ]
}
