public import Trust

/// Why a policy is refused; each names the key and what is allowed there.
public enum PolicyError: Error, Hashable, CustomStringConvertible {
  case syntax(String)
  case field(JSONFieldError)
  case unknownRole(path: String, name: String, allowed: [String])
  case cycle(path: String, roles: [String])
  /// A subject holds more roles of a static set than anybody may.
  case separated(subject: String, SeparationSet)

  static func field(path: String, problem: String, allowed: String) -> PolicyError {
    .field(JSONFieldError(path: path, problem: problem, allowed: allowed))
  }

  public var description: String {
    switch self {
    case .syntax(let reason): "no JSON5: \(reason)"
    case .field(let error): error.description
    case .unknownRole(let path, let name, let allowed):
      "\(path): unknown role \"\(name)\"; allowed: \(allowed.joined(separator: ", "))"
    case .cycle(let path, let roles):
      "\(path): roles inherit each other in a circle, \(roles.joined(separator: " -> ")); "
        + "allowed: inheritance without a circle"
    case .separated(let subject, let set):
      "bindings: \(subject) would hold more of \(set.roles.joined(separator: ", ")) than separation.static.\(set.name) lets "
        + "anybody hold; allowed: at most \(set.atMost) of them"
    }
  }
}

extension Policy {
  /// Reads a policy file: JSON5, `{version: 1, roles: {NAME: {summary, inherits, allow: [{verbs, resources, when, unless}],
  /// forbid, limits, sharedLimits, keepContent}}, bindings: [{role, subjects, limits}], forbid: [{verbs, resources, when, unless}],
  /// separation: {static: {NAME: {roles, atMost}}, dynamic}}`. Strict: an unknown key, verb, role or a wrong type is an error.
  public init(parsing bytes: [UInt8]) throws(PolicyError) {
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes, json5: true) } catch { throw .syntax(error.description) }
    try self.init(JSONField(document))
  }

  /// The same of a member of another document.
  init(_ field: JSONField) throws(PolicyError) {
    do { try self.init(PolicyDocument(field)) } catch let error as PolicyError {
      throw error
    } catch let error as JSONFieldError {
      throw .field(error)
    } catch {
      throw .syntax("\(error)")
    }
  }

  private init(_ document: PolicyDocument) throws {
    let names = document.roles.map(\.name).sorted()
    for (binding, path) in document.bindings where !names.contains(binding.role) {
      throw PolicyError.unknownRole(path: path, name: binding.role, allowed: names)
    }
    var limits: [Binding: Limits] = [:]
    for (binding, stated, path) in document.limits {
      if let other = limits[binding], other != stated {
        throw PolicyError.field(
          JSONFieldError(
            path: path, problem: "\(binding) has other limits elsewhere", allowed: "one statement for each binding"))
      }
      limits[binding] = stated
    }
    try self.init(
      roles: document.roles, bindings: document.bindings.map(\.binding), bindingLimits: limits,
      forbids: document.forbids, separation: document.separation)
  }
}

private struct PolicyDocument {
  var roles: [Role] = []
  var bindings: [(binding: Binding, path: String)] = []
  var limits: [(binding: Binding, limits: Limits, path: String)] = []
  var forbids: [Permission] = []
  var separation: [SeparationSet] = []

  init(_ document: JSONField) throws(JSONFieldError) {
    let members = try document.members(["version", "roles", "bindings", "forbid", "separation"])
    guard let version = members["version"] else { throw document.wrong("version is missing", allowed: "version: 1") }
    _ = try version.integer(1...1)
    for (name, field) in try (members["roles"]?.object() ?? [:]) {
      guard Role.isName(name) else { throw field.wrong("no role name", allowed: Role.allowedNames) }
      roles.append(try PolicyDocument.role(name, field))
    }
    for field in try (members["bindings"]?.array(of: "{role, subjects}") ?? []) {
      try add(bindings: field)
    }
    forbids = try PolicyDocument.permissions(members["forbid"])
    let kinds = SeparationSet.Kind.allCases
    guard let separated = try members["separation"]?.members(kinds.map(\.rawValue)) else { return }
    for kind in kinds {
      for (name, field) in try (separated[kind.rawValue]?.object() ?? [:]) {
        separation.append(try PolicyDocument.separation(kind, name, field))
      }
    }
  }

  private static func separation(
    _ kind: SeparationSet.Kind, _ name: String, _ field: JSONField
  ) throws(JSONFieldError) -> SeparationSet {
    guard Role.isName(name) else { throw field.wrong("no set's name", allowed: Role.allowedNames) }
    let members = try field.members(["roles", "atMost"])
    guard let listed = members["roles"] else {
      throw field.wrong("roles is missing", allowed: "{roles: [...], atMost: 1}")
    }
    var roles: [String] = []
    for entry in try listed.array(of: "role names") {
      let role = try entry.string()
      if roles.contains(role) { throw entry.wrong("\"\(role)\" twice", allowed: "each role once") }
      roles.append(role)
    }
    return SeparationSet(name: name, kind: kind, roles: roles, atMost: try members["atMost"]?.integer(1...4095) ?? 1)
  }

  private static func permissions(_ field: JSONField?) throws(JSONFieldError) -> [Permission] {
    var permissions: [Permission] = []
    for entry in try (field?.array(of: "{verbs, resources}") ?? []) { permissions.append(try permission(entry)) }
    return permissions
  }

  private static func role(_ name: String, _ field: JSONField) throws(JSONFieldError) -> Role {
    let members = try field.members(["summary", "inherits", "allow", "forbid", "limits", "sharedLimits", "keepContent"])
    var inherits: [String] = []
    for parent in try (members["inherits"]?.array(of: "role names") ?? []) { inherits.append(try parent.string()) }
    var (limits, shared) = (Limits(), Limits())
    if let field = members["limits"] { limits = try Limits(field) }
    if let field = members["sharedLimits"] { shared = try Limits(field) }
    var days: Int?
    if let field = members["keepContent"] {
      guard let stated = try field.members(["days"])["days"] else {
        throw field.wrong("days is missing", allowed: "{days: 30}")
      }
      days = try stated.integer(1...3650)
    }
    return Role(
      name: name, summary: try members["summary"]?.string() ?? "", inherits: inherits,
      permissions: try permissions(members["allow"]), forbids: try permissions(members["forbid"]), limits: limits,
      sharedLimits: shared, keepContentDays: days)
  }

  private static func permission(_ field: JSONField) throws(JSONFieldError) -> Permission {
    let members = try field.members(["verbs", "resources", "when", "unless"])
    guard let verbsField = members["verbs"] else {
      throw field.wrong("verbs is missing", allowed: "{verbs: [...], resources: [...]}")
    }
    var verbs: [Verb] = []
    for entry in try verbsField.array(of: "verbs") {
      let text = try entry.string()
      if text == "*" {
        verbs += Verb.allCases
      } else if let verb = Verb.box(text) {
        verbs.append(verb)
      } else {
        let allowed = Verb.allCases.map(\.rawValue).joined(separator: ", ")
        throw entry.wrong("unknown verb \"\(text)\"", allowed: "\(allowed), *")
      }
    }
    var resources: [ResourcePattern] = []
    for entry in try (members["resources"]?.array(of: "resource patterns") ?? []) {
      let text = try entry.string()
      guard let pattern = ResourcePattern(text) else {
        throw entry.wrong(
          "\"\(text)\" is no resource pattern",
          allowed: "*, or KIND:NAME with stars in the name and KIND one of " + Resource.kinds.joined(separator: ", "))
      }
      resources.append(pattern)
    }
    guard members["resources"] != nil else {
      throw field.wrong("resources is missing", allowed: "{verbs: [...], resources: [...]}")
    }
    return Permission(verbs: verbs, resources: resources, clause: try Clause(members))
  }

  private mutating func add(bindings field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["role", "subjects", "limits"])
    guard let role = members["role"], let subjects = members["subjects"] else {
      throw field.wrong("role or subjects is missing", allowed: "{role: \"NAME\", subjects: [...]}")
    }
    let name = try role.string("a role name")
    var stated: Limits?
    if let limits = members["limits"] { stated = try Limits(limits) }
    for entry in try subjects.array(of: "subjects") {
      let text = try entry.string()
      guard let subject = Subject.parse(text) else {
        throw entry.wrong("\"\(text)\" is no subject", allowed: Subject.allowed)
      }
      let binding = Binding(role: name, subject: subject.description)
      bindings.append((binding, role.path))
      if let stated { limits.append((binding, stated, field.path + ".limits")) }
    }
  }
}
