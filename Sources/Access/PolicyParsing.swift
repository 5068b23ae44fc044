public import Trust

/// Why a policy is refused; each names the key and what is allowed there.
public enum PolicyError: Error, Hashable, CustomStringConvertible {
  case syntax(String)
  case field(JSONFieldError)
  case unknownRole(path: String, name: String, allowed: [String])
  case cycle(path: String, roles: [String])

  public var description: String {
    switch self {
    case .syntax(let reason): "no JSON5: \(reason)"
    case .field(let error): error.description
    case .unknownRole(let path, let name, let allowed):
      "\(path): unknown role \"\(name)\"; allowed: \(allowed.joined(separator: ", "))"
    case .cycle(let path, let roles):
      "\(path): roles inherit each other in a circle, \(roles.joined(separator: " -> ")); "
        + "allowed: inheritance without a circle"
    }
  }
}

extension Policy {
  /// Reads a policy file: JSON5, `{version: 1, roles: {NAME: {summary, inherits, allow: [{verbs, resources}], limits,
  /// sharedLimits}}, bindings: [{role, subjects, limits}]}`. Strict: an unknown key, verb, role or a wrong type is an error.
  public init(parsing bytes: [UInt8]) throws(PolicyError) {
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes, json5: true) } catch { throw .syntax(error.description) }
    do { try self.init(PolicyDocument(JSONField(document))) } catch let error as PolicyError {
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
    try self.init(roles: document.roles, bindings: document.bindings.map(\.binding), bindingLimits: limits)
  }
}

private struct PolicyDocument {
  var roles: [Role] = []
  var bindings: [(binding: Binding, path: String)] = []
  var limits: [(binding: Binding, limits: Limits, path: String)] = []

  init(_ document: JSONField) throws(JSONFieldError) {
    let members = try document.members(["version", "roles", "bindings"])
    guard let version = members["version"] else { throw document.wrong("version is missing", allowed: "version: 1") }
    _ = try version.integer(1...1)
    for (name, field) in try (members["roles"]?.object() ?? [:]) {
      guard Role.isName(name) else { throw field.wrong("no role name", allowed: Role.allowedNames) }
      roles.append(try PolicyDocument.role(name, field))
    }
    for field in try (members["bindings"]?.array(of: "{role, subjects}") ?? []) {
      try add(bindings: field)
    }
  }

  private static func role(_ name: String, _ field: JSONField) throws(JSONFieldError) -> Role {
    let members = try field.members(["summary", "inherits", "allow", "limits", "sharedLimits"])
    var inherits: [String] = []
    for parent in try (members["inherits"]?.array(of: "role names") ?? []) { inherits.append(try parent.string()) }
    var permissions: [Permission] = []
    for entry in try (members["allow"]?.array(of: "{verbs, resources}") ?? []) {
      permissions.append(try permission(entry))
    }
    var (limits, shared) = (Limits(), Limits())
    if let field = members["limits"] { limits = try Limits(field) }
    if let field = members["sharedLimits"] { shared = try Limits(field) }
    return Role(
      name: name, summary: try members["summary"]?.string() ?? "", inherits: inherits, permissions: permissions,
      limits: limits, sharedLimits: shared)
  }

  private static func permission(_ field: JSONField) throws(JSONFieldError) -> Permission {
    let members = try field.members(["verbs", "resources"])
    guard let verbsField = members["verbs"] else {
      throw field.wrong("verbs is missing", allowed: "{verbs: [...], resources: [...]}")
    }
    var verbs: [Verb] = []
    for entry in try verbsField.array(of: "verbs") {
      let text = try entry.string()
      if text == "*" {
        verbs += Verb.allCases
      } else if let verb = Verb(rawValue: text) {
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
    return Permission(verbs: verbs, resources: resources)
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
