public import Access
public import Fleet
import Host
public import Storage
import Synchronization
public import Trust

/// Writes one audit record and returns when it is durable.
public typealias AuditWriter =
  @Sendable (_ kind: AuditKind, _ actor: String, _ fields: [String: JSONValue]) async throws -> Void

/// A decision that allows, while its record is written.
struct PendingDecision: Sendable {
  private let writing: Task<Void, any Error>?
  /// For how many days a role asks to keep what is asked and answered; nil: not at all.
  fileprivate(set) var keepDays: Int?

  /// It is on record already.
  fileprivate init() { writing = nil }

  fileprivate init(_ audit: @escaping AuditWriter, _ actor: String, _ fields: [String: JSONValue]) {
    writing = Task { try await audit(.decision, actor, fields) }
  }

  /// Returns when the decision is on record. Throws `AccessFailure.auditUnavailable`: then nothing may follow from it.
  func settled() async throws(AccessFailure) {
    do { try await writing?.value } catch { throw .auditUnavailable("\(error)") }
  }
}

/// Who calls, and what they may do. Every decision is in the audit log before anything follows from it.
public final class AccessControl: Sendable {
  /// What decisions are made from: the policy file, and what was bound through the agent.
  struct State: Sendable {
    var file: Policy
    var stored: [Binding]
    /// What the fleet signed for this box; nil: it has had nothing.
    var fleet: FleetStanding?
    /// Of the fleet's policy only the stale roles count.
    var isReduced = false
    /// What of the box's own does not count beside the fleet's policy.
    var ignored: [CombinedPolicy.Ignored] = []
    /// The last policy of the fleet's that was not taken.
    var refusal: FleetPolicyRefused?
    /// Without what is lent.
    var policy: Policy { didSet { lent = nil } }
    var loans: [Loan] = []
    /// The policy with the loans; nil: not made yet.
    var lent: Policy?
    var tokens: [Digest: TokenRecord]
    var accounts: [UInt32: Account] = [:]
    var noted: [Digest: Int64] = [:]
    var strangers = StrangerCount()
  }

  /// The groups of a local user, remembered for a short time: asking for them can mean a network.
  struct Account: Sendable {
    let caller: Caller
    let gid: UInt32
    let readAt: Duration
  }

  let state: Mutex<State>
  let database: Database
  let audit: AuditWriter
  /// False while records can't be written. Then nobody works ahead of one.
  let isAuditWell: @Sendable () -> Bool
  /// Where looks and refusals go.
  let repetitions: Repetitions
  let policyFile: String
  let now: @Sendable () -> Int64
  /// The box's labels, which conditions may ask for.
  let labels: [String: String]
  let monotonic: @Sendable () -> Duration
  /// Who shows a signed token; nothing is set: nobody is known by one.
  let identities = Late<Identities>()
  /// Changes are made one after the other, so that none is checked against what another is about to take away.
  let changes = SerialGate()

  /// How long a change of a user's groups may take to count.
  static let accountLifetime = Duration.seconds(10)

  /// Reads the policy file (the built-in policy where there is none), bindings and tokens.
  /// Throws `ConfigurationError` for a bad file, `StorageError` for a bad database.
  public init(
    policyFile: String, database: Database, labels: [String: String] = [:],
    now: @escaping @Sendable () -> Int64 = Clock.unixTime,
    monotonic: @escaping @Sendable () -> Duration = Clock.monotonic,
    isAuditWell: @escaping @Sendable () -> Bool = { true }, audit: @escaping AuditWriter
  ) async throws {
    let file = try AccessControl.readPolicy(policyFile)
    let (bindings, tokens) = try await database.read { connection in
      (try AccessTable.bindings(connection), try AccessTable.tokens(connection))
    }
    let policy = try AccessControl.merge(file, bindings)
    state = Mutex(
      State(
        file: file, stored: bindings, policy: policy,
        tokens: Dictionary(tokens.map { ($0.digest, $0) }, uniquingKeysWith: { one, _ in one })))
    self.policyFile = policyFile
    self.database = database
    self.audit = audit
    self.isAuditWell = isAuditWell
    repetitions = Repetitions(audit: audit)
    self.now = now
    self.labels = labels
    self.monotonic = monotonic
  }

  /// No model, role or token has a longer name, in bytes.
  static let longestName = 256

  /// Decides, and returns when the decision is on record. Throws `AccessFailure.denied` or `.auditUnavailable`.
  ///
  /// A refusal, and a look at what anybody may look at, changes nothing: the same again within a minute is counted, not
  /// written down one by one.
  ///
  /// - Parameter tokens: what an inference is expected to take, prompt and answer together.
  public func authorize(
    _ caller: Caller, _ verb: Verb, _ resource: Resource, tokens: Int? = nil
  ) async throws(AccessFailure) {
    try await permit(caller, verb, resource, tokens: tokens).settled()
  }

  /// What conditions are told of a caller's request now.
  func context(_ caller: Caller, tokens: Int? = nil) -> RequestContext { context(caller, at: now(), tokens: tokens) }

  /// The same at another time, in Unix seconds.
  func context(_ caller: Caller, at seconds: Int64, tokens: Int? = nil) -> RequestContext {
    let time = LocalTime(unix: seconds)
    return RequestContext(
      time: WeekTime(day: Weekday.allCases[time.weekday], minute: time.minuteOfDay), transport: caller.transport,
      labels: labels, contextTokens: tokens)
  }

  /// Decides on nothing: what a list shows of what a caller may see. What follows from it needs a decision of its own.
  func allows(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> Bool {
    policy.decide(caller, verb, resource, in: context(caller)).isAllowed
  }

  /// Decides, and returns at once when the answer is yes, its record on the way to the disk: what follows may be made
  /// ready meanwhile, and nothing of it may leave the agent before `settled` returned. While the log is known not to be
  /// writable it returns when the record is durable. Throws `AccessFailure.denied`, when that is on record, or
  /// `.auditUnavailable`.
  ///
  /// - Parameter isVain: the request will come to nothing whatever is decided; it is on record like a refusal.
  func permit(
    _ caller: Caller, _ verb: Verb, _ resource: Resource, tokens: Int? = nil, isVain: Bool = false
  ) async throws(AccessFailure) -> PendingDecision {
    guard resource.name.utf8.count <= AccessControl.longestName else {
      // The log only grows: a refusal must not let anybody write a megabyte into it.
      let reason = "no \(resource.kind) has a name of more than \(AccessControl.longestName) bytes"
      let start = String(decoding: resource.name.utf8.prefix(32), as: UTF8.self)
      try await recordQuietly(
        caller.label, "\(verb.rawValue) overlong",
        [
          "verb": .string(verb.rawValue), "resource": .string("\(resource.kind):\(start)…"), "allowed": false,
          "reason": .string(reason),
        ])
      throw .denied(reason: reason, remedy: "the name of a \(resource.kind) that there is")
    }
    let decision = policy.decide(caller, verb, resource, in: context(caller, tokens: tokens))
    var fields: [String: JSONValue] = [
      "verb": .string(verb.rawValue), "resource": .string(resource.description), "allowed": .bool(decision.isAllowed),
    ]
    switch decision {
    case .allowed(let grounds):
      DecidedVerbs.current?.note(verb)
      fields["role"] = .string(grounds.role)
      fields["rule"] = .string(grounds.description)
      if let loan = loan(behind: decision, caller, verb, resource) { fields["breakGlass"] = .string(loan) }
      guard isVain || verb.isLook else {
        var pending = PendingDecision(audit, caller.label, fields)
        if verb == .infer {
          pending.keepDays = policy.contentDays(caller, verb, resource, in: context(caller, tokens: tokens))
        }
        if !isAuditWell() { try await pending.settled() }
        return pending
      }
      try await recordQuietly(caller.label, "\(verb.rawValue) \(resource) true", fields)
      return PendingDecision()
    case .denied(let denial):
      let (reason, remedy) = (denial.reason, denial.remedy.description)
      fields["reason"] = .string(reason)
      fields["remedy"] = .string(remedy)
      try await recordQuietly(caller.label, "\(verb.rawValue) \(resource) false", fields)
      throw .denied(reason: reason, remedy: remedy)
    }
  }

  /// Reads the policy file again. A bad one changes nothing. Throws `ConfigurationError` or `AccessFailure`.
  public func reload() async throws { try await changes.run { try await reloadAlone() } }

  private func reloadAlone() async throws {
    do {
      let file = try AccessControl.readPolicy(policyFile)
      let time = now()
      let merged = try state.withLock { try $0.composed(file: file, at: time) }.policy
      guard !losesAdministrators(merged) else {
        throw ConfigurationError(
          description: "\(policyFile): nobody who is there could give roles any more; bind a role with role.manage "
            + "on role:* to somebody, and let nothing forbid it to them")
      }
      try await record(.role, "agent", ["action": "reload", "outcome": "ok", "file": .string(policyFile)])
      try state.withLock { state in
        state.file = file
        try state.recompose(at: time)
        state.accounts = [:]
      }
    } catch let error as ConfigurationError {
      try? await record(
        .role, "agent", ["action": "reload", "outcome": "refused", "reason": .string(error.description)])
      throw error
    }
  }

  func record(_ kind: AuditKind, _ actor: String, _ fields: [String: JSONValue]) async throws(AccessFailure) {
    do { try await audit(kind, actor, fields) } catch { throw .auditUnavailable("\(error)") }
  }

  private func recordQuietly(
    _ actor: String, _ what: String, _ fields: [String: JSONValue]
  ) async throws(AccessFailure) {
    do { try await repetitions.record(.decision, actor, what, fields) } catch { throw .auditUnavailable("\(error)") }
  }

  static func readPolicy(_ path: String) throws -> Policy {
    let found: [UInt8]?
    do { found = try DurableFile.read(path, limit: 1 << 20) } catch {
      throw ConfigurationError(description: "\(path): can't be read: \(error)")
    }
    do { return try Policy(parsing: found ?? Array(builtInPolicy.utf8)) } catch {
      throw ConfigurationError(description: "\(path): \(error)")
    }
  }

  /// Stored bindings whose role the file no longer has give nothing; they count again when it comes back.
  static func merge(_ file: Policy, _ stored: [Binding]) throws -> Policy {
    let known = Set(file.roles.map(\.name))
    for binding in stored where !known.contains(binding.role) {
      Log.shared.warning("a binding names a role that the policy file does not have", ["binding": "\(binding)"])
    }
    return try file.adding(stored.filter { known.contains($0.role) })
  }

  /// What holds where there is no policy file; the same as the commented one that ships.
  static let builtInPolicy = """
    {version: 1,
     roles: {
       chat: {summary: "ask any installed model", allow: [
         {verbs: ["infer", "model.list"], resources: ["model:*"]}, {verbs: ["status.read"], resources: ["box:*"]}]},
       operator: {summary: "keep the box running: models, sync, metrics", inherits: ["chat"], allow: [
         {verbs: ["model.manage", "model.create"], resources: ["model:*"]},
         {verbs: ["sync.run", "metrics.read"], resources: ["box:*"]},
         {verbs: ["role.read"], resources: ["role:*"]}, {verbs: ["report.read"], resources: ["report:*"]}]},
       auditor: {summary: "read everything, change nothing", allow: [
         {verbs: ["audit.read", "audit.export"], resources: ["audit:*"]},
         {verbs: ["report.read"], resources: ["report:*"]}, {verbs: ["role.read"], resources: ["role:*"]},
         {verbs: ["model.list"], resources: ["model:*"]},
         {verbs: ["status.read", "metrics.read"], resources: ["box:*"]}]},
       admin: {summary: "everything", allow: [{verbs: ["*"], resources: ["*"]}]}},
     bindings: [{role: "admin", subjects: ["uid:0", "group:skerry-admin"]}, {role: "chat", subjects: ["local"]}]}
    """
}
