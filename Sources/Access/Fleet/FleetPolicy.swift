import FoundationEssentials
import Trust

/// The policy that a fleet signs for its boxes: the policy itself, until when it is good, what of it stays after that, and
/// the most that a box may add of its own.
public struct FleetPolicy: Sendable {
  /// How a new policy is tried on what a box has decided lately, before it is taken over.
  public struct Trial: Sendable, Hashable {
    /// Of so many days, 1 to 90.
    public let days: Int
    /// A box refuses a policy under which more of the recorded callers would lose or gain something, each counted once;
    /// nil: any number may.
    public let mostChanged: Int?
  }

  /// Rises with each policy of its name; a box never goes back.
  public let serial: Int64
  /// Unix seconds.
  public let expires: Int64
  /// The roles that go on counting, with what they inherit, once it has expired.
  public let staleRoles: [String]
  /// What a box's own roles and bindings may allow at most; nil: nothing.
  public let ceiling: Scope?
  public let trial: Trial
  public let policy: Policy
  /// What is left of the policy once it has expired.
  let rest: Policy

  /// The longest document, in bytes.
  public static let limit = 1 << 20

  /// Whether a document means to be one, and not a box's policy file.
  public static func isMeant(_ bytes: [UInt8]) -> Bool {
    let members = (try? JSONValue(parsing: bytes, json5: true))?.object
    return members?["serial"] != nil || members?["policy"] != nil
  }

  public func isExpired(at time: Int64) -> Bool { expires <= time }

  /// Reads the signed document: JSON5, `{version: 1, serial, expires: "2027-01-31T00:00:00Z", staleRoles: [NAME],
  /// ceiling: [SCOPE], trial: {days, mostChanged}, policy}`, where `policy` is what a policy file holds. Strict: an unknown
  /// key, a wrong type, and stale roles that leave nothing or everything are errors.
  public init(parsing bytes: [UInt8]) throws(PolicyError) {
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes, json5: true) } catch { throw .syntax(error.description) }
    do { try self.init(JSONField(document)) } catch let error as PolicyError { throw error } catch let error
      as JSONFieldError
    {
      throw .field(error)
    } catch {
      throw .syntax("\(error)")
    }
  }

  init(
    serial: Int64, expires: Int64, staleRoles: [String], ceiling: Scope?, trial: Trial, policy: Policy
  ) throws(PolicyError) {
    (self.serial, self.expires, self.staleRoles, self.ceiling) = (serial, expires, staleRoles, ceiling)
    (self.trial, self.policy) = (trial, policy)
    rest = try policy.reduced(to: staleRoles)
  }

  private init(_ document: JSONField) throws {
    let known = ["version", "serial", "expires", "staleRoles", "ceiling", "trial", "policy"]
    let members = try document.members(known)
    func member(_ name: String, _ allowed: String) throws(JSONFieldError) -> JSONField {
      guard let field = members[name] else { throw document.wrong("\(name) is missing", allowed: allowed) }
      return field
    }
    _ = try member("version", "version: 1").integer(1...1)
    let serial = Int64(try member("serial", "a number that rises with each policy").integer(1...(1 << 53)))
    let form = "a time of the form 2027-01-31T00:00:00Z"
    let field = try member("expires", form)
    guard let time = TUFTime.parse(try field.string(form)) else { throw field.wrong("no time", allowed: form) }
    let roles = try member("staleRoles", "the roles that stay when the policy has expired")
    let policy = try Policy(member("policy", "what a policy file holds")).central
    try self.init(
      serial: serial, expires: Int64(time.timeIntervalSince1970),
      staleRoles: FleetPolicy.staleRoles(roles, of: policy), ceiling: FleetPolicy.ceiling(members["ceiling"]),
      trial: FleetPolicy.trial(members["trial"]), policy: policy)
  }

  private static func trial(_ field: JSONField?) throws(JSONFieldError) -> Trial {
    guard let members = try field?.members(["days", "mostChanged"]) else { return Trial(days: 7, mostChanged: nil) }
    return Trial(
      days: try members["days"]?.integer(1...90) ?? 7,
      mostChanged: try members["mostChanged"]?.integer(0...1_000_000_000))
  }

  private static func ceiling(_ field: JSONField?) throws(JSONFieldError) -> Scope? {
    guard let field else { return nil }
    var grants: [Scope.Grant] = []
    for entry in try field.array(of: "scopes") {
      let word = try entry.string("a scope")
      if word == "*" {
        grants += Verb.allCases.compactMap { Scope.Grant($0.rawValue) }
      } else if let grant = Scope.Grant(word) {
        grants.append(grant)
      } else {
        throw entry.wrong("\"\(word)\" is no scope", allowed: Scope.allowed + ", or * for every verb")
      }
    }
    return grants.isEmpty ? nil : Scope(grants)
  }

  private static func staleRoles(_ field: JSONField, of policy: Policy) throws -> [String] {
    var names: [String] = []
    for entry in try field.array(of: "role names") {
      let name = try entry.string("a role name")
      guard policy.role(named: name) != nil else {
        throw PolicyError.unknownRole(path: entry.path, name: name, allowed: policy.roles.map(\.name))
      }
      if !names.contains(name) { names.append(name) }
    }
    guard names.contains(where: { !policy.allows($0).isEmpty }) else {
      throw field.wrong(
        "they allow nothing, so that a box would stand still on the day",
        allowed: "at least one role that allows something")
    }
    let all = ResourcePattern(Resource.all(for: .roleManage).description)
    let isEndless = names.flatMap { policy.allows($0) }.contains { rule in
      rule.verb == .roleManage && rule.isAlways && all.map { rule.pattern.covers($0) } != false
    }
    guard !isEndless else {
      throw field.wrong(
        "they let whoever holds them give every role away, so that the policy would never end",
        allowed: "roles without role.manage on role:*")
    }
    return names.sorted()
  }

  /// What stands in the way of publishing it, or of taking it over: a rule that can never count is a mistake, and so is a
  /// policy under which nobody could give roles. What `Policy.lint` finds beyond that is for its author to judge.
  public func errors() -> [LintFinding] { policy.lint().filter(isError) }

  /// What `errors` leaves out.
  public func warnings() -> [LintFinding] { policy.lint().filter { !isError($0) } }

  private func isError(_ finding: LintFinding) -> Bool {
    switch finding.kind {
    case .unreachable: true
    // A box's own administrators will do where they may.
    case .administrator: !(ResourcePattern("role:*").map { ceiling?.covers(.roleManage, $0) ?? false } ?? false)
    case .shadowed, .unheld, .separation: false
    }
  }
}
