import Access
import Host
import Trust
import Web

/// Roles, bindings, explanations and tokens.
extension LocalAPI {
  func addRoles(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/roles", .needs(.roleRead)) { request, _, _ in
      return .json(200, roles())
    }
    router.on("GET", "/skerry/v1/policy", .needs(.roleRead)) { _, _, _ in
      .json(200, ["policy": access.fleetJSON(), "refused": access.refusalJSON()])
    }
    // Tells who asked for what, so it wants what reading the log wants.
    router.on("POST", "/skerry/v1/roles/simulate", .needs(.auditRead)) { request, _, _ in try await simulate(request) }
    router.on("POST", "/skerry/v1/bindings", .decides(.roleManage, on: "the role that is given")) {
      request, _, caller in
      let given = try await members(request, ["role", "subject"])
      let role = try required(given, "role") { field throws(JSONFieldError) in try field.string() }
      let subject = try required(given, "subject") { field throws(JSONFieldError) in try field.string() }
      let isNew = try await access.bind(role, to: subject, by: caller)
      return .json(isNew ? 201 : 200, ["role": .string(role), "subject": .string(subject), "created": .bool(isNew)])
    }
    router.on("DELETE", "/skerry/v1/bindings", .decides(.roleManage, on: "the role that is taken")) {
      request, _, caller in
      guard let role = request.query("role"), let subject = request.query("subject") else {
        throw APIFailure.badRequest("the query must name role and subject")
      }
      try await access.unbind(role, from: subject, by: caller)
      return .json(200, ["role": .string(role), "subject": .string(subject), "removed": true])
    }
    router.on("GET", "/skerry/v1/explain", .needs(.roleRead)) { request, _, _ in try await explain(request) }
    router.on("GET", "/skerry/v1/review/who-can", .needs(.roleRead)) { request, _, _ in try await whoCan(request) }
    router.on("GET", "/skerry/v1/review/what-may", .needs(.roleRead)) { request, _, _ in try await whatMay(request) }
    router.on("GET", "/skerry/v1/review/conflicts", .needs(.roleRead)) { request, _, _ in
      let conflicts = access.policy.conflicts.map { one -> JSONValue in
        [
          "roles": .array(one.roles.map(JSONValue.string)), "kind": .string(one.set.kind.rawValue),
          "set": .string(one.set.name),
        ]
      }
      return .json(200, ["conflicts": .array(conflicts)])
    }
    router.on("GET", "/skerry/v1/tokens", .needs(.tokenManage)) { request, _, _ in
      return .json(200, ["tokens": .array(access.tokens().map(token))])
    }
    router.on("POST", "/skerry/v1/tokens", .decides(.tokenManage, on: "the token that is made")) { request, _, caller in
      try await createToken(request, caller)
    }
    router.on("DELETE", "/skerry/v1/tokens/{name}", .decides(.tokenManage, on: "the token that is named")) {
      _, parameters, caller in
      try await access.revokeToken(parameters["name"], by: caller)
      return .json(200, ["name": .string(parameters["name"]), "revoked": true])
    }
  }

  /// As they stand in the policy: what is not stated is missing, null is no limit.
  private static func limits(_ limits: Limits) -> JSONValue {
    var members: [String: JSONValue] = [:]
    for key in Limits.Key.allCases {
      members[key.rawValue] = limits[key].map { $0 == .max ? .null : .integer(Int64($0)) }
    }
    return .object(members)
  }

  private static func permission(_ permission: Permission) -> JSONValue {
    var members: [String: JSONValue] = [
      "verbs": .array(permission.verbs.map { .string($0.rawValue) }),
      "resources": .array(permission.resources.map { .string($0.description) }),
    ]
    if !permission.clause.when.isEmpty { members["when"] = .string(permission.clause.when.description) }
    if let unless = permission.clause.unless { members["unless"] = .string(unless.description) }
    return .object(members)
  }

  private func roles() -> JSONValue {
    let policy = access.policy
    return [
      "roles": .array(
        policy.roles.map { role in
          [
            "name": .string(role.name), "summary": .string(role.summary), "isFleets": .bool(role.isCentral),
            "inherits": .array(role.inherits.map(JSONValue.string)),
            "allow": .array(role.permissions.map(LocalAPI.permission)),
            "forbid": .array(role.forbids.map(LocalAPI.permission)),
            "limits": LocalAPI.limits(role.limits), "sharedLimits": LocalAPI.limits(role.sharedLimits),
            "keepContentDays": role.keepContentDays.map { .integer(Int64($0)) } ?? .null,
          ]
        }),
      "bindings": .array(
        policy.bindings.map { binding in
          var members: [String: JSONValue] = ["role": .string(binding.role), "subject": .string(binding.subject)]
          members["limits"] = policy.bindingLimits[binding].map(LocalAPI.limits)
          return .object(members)
        }),
      "forbid": .array((policy.fleetForbids + policy.forbids).map(LocalAPI.permission)),
      "separation": .array(
        policy.separation.map { set in
          [
            "name": .string(set.name), "kind": .string(set.kind.rawValue),
            "roles": .array(set.roles.map(JSONValue.string)), "atMost": .integer(Int64(set.atMost)),
          ]
        }),
    ]
  }

  private func simulate(_ request: HTTPRequest) async throws -> HTTPResponse {
    let given = try await members(request, ["policy", "days"])
    let text = try required(given, "policy") { field throws(JSONFieldError) in try field.string() }
    let days =
      given["days"] == nil
      ? 7 : try required(given, "days") { field throws(JSONFieldError) in try field.integer(1...4000) }
    guard text.utf8.count <= 1 << 20 else { throw APIFailure.badRequest("a policy has at most 1 MiB") }
    let (access, log) = (access, log)
    let tried = try await offPool { try access.simulate(Array(text.utf8), days: days, log: log) }
    return .json(
      200,
      [
        "changes": .array(
          tried.changes.map { change in
            [
              "caller": .string(change.caller), "verb": .string(change.verb.rawValue),
              "resource": .string(change.resource.description), "wasAllowed": .bool(change.wasAllowed),
              "isAllowedNow": .bool(change.isAllowedNow), "reason": .string(change.reason),
              "times": .integer(Int64(change.times)), "first": .integer(Int64(clamping: change.first)),
              "last": .integer(Int64(clamping: change.last)),
            ]
          }),
        "replayed": .integer(Int64(tried.replayed)), "unlisted": .integer(Int64(tried.unlisted)),
      ])
  }

  private func explain(_ request: HTTPRequest) async throws -> HTTPResponse {
    let who = AccessControl.account(try LocalAPI.subject(request))
    let (verb, resource) = try LocalAPI.asked(request)
    var context = access.context(who)
    if let text = request.query("time") {
      guard let time = WeekTime(text) else { throw APIFailure.badRequest("\"time\" must be like \"mon 08:30\"") }
      context.time = time
    }
    if let text = request.query("address") {
      guard let address = NetworkAddress(text) else { throw APIFailure.badRequest("\"address\" must be an IP address") }
      context.transport = .network(address)
    }
    if let text = request.query("contextTokens") {
      guard let tokens = Int(text), tokens >= 0 else {
        throw APIFailure.badRequest("\"contextTokens\" must be a number")
      }
      context.contextTokens = tokens
    }
    let policy = access.policy
    var answer: [String: JSONValue] = ["tree": policy.explain(who, verb, resource, in: context).json]
    switch policy.decide(who, verb, resource, in: context) {
    case .allowed(let grounds):
      answer["allowed"] = true
      answer["role"] = .string(grounds.role)
      answer["rule"] = .string(grounds.description)
    case .denied(let denial):
      answer["allowed"] = false
      answer["reason"] = .string(denial.reason)
      answer["remedy"] = .string(denial.remedy.description)
    }
    return .json(200, .object(answer))
  }

  private func whoCan(_ request: HTTPRequest) async throws -> HTTPResponse {
    let (verb, resource) = try LocalAPI.asked(request)
    let found = access.policy.whoCan(verb, resource).map { one -> JSONValue in
      [
        "subject": .string(one.subject.description), "role": .string(one.role), "rule": .string(one.rule.description),
        "forbids": .array(one.bans.map { .string($0.description) }),
      ]
    }
    return .json(200, ["subjects": .array(found)])
  }

  private func whatMay(_ request: HTTPRequest) async throws -> HTTPResponse {
    let who = AccessControl.account(try LocalAPI.subject(request))
    let policy = access.policy
    let (may, session) = (policy.whatMay(who), policy.session(of: who))
    return .json(
      200,
      [
        "held": .array(session.held.map(JSONValue.string)), "active": .array(session.active.map(JSONValue.string)),
        "note": session.note.map(JSONValue.string) ?? .null,
        "permits": .array(may.permits.map { .string($0.description) }),
        "forbids": .array(may.forbids.map { .string($0.description) }),
      ])
  }

  private static func subject(_ request: HTTPRequest) throws(APIFailure) -> Subject {
    guard let subject = request.query("subject").flatMap(Subject.parse) else {
      throw .badRequest("\"subject\" must be one of \(Subject.allowed)")
    }
    return subject
  }

  private static func asked(_ request: HTTPRequest) throws(APIFailure) -> (Verb, Resource) {
    guard let verb = request.query("verb").flatMap(Verb.box) else {
      throw .badRequest("\"verb\" must be one of \(Verb.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    guard let resource = request.query("resource").flatMap(Resource.init(parsing:)) else {
      throw .badRequest("\"resource\" must be KIND:NAME with KIND one of \(Resource.kinds.joined(separator: ", "))")
    }
    return (verb, resource)
  }

  private func token(_ record: TokenRecord) -> JSONValue {
    [
      "name": .string(record.name), "created": .integer(record.created), "createdBy": .string(record.createdBy),
      "expires": record.expires.map(JSONValue.integer) ?? .null,
      "ended": .bool(record.ended != nil || record.expires.map { $0 <= clock.now() } == true),
      "lastUse": record.lastUse.map(JSONValue.integer) ?? .null,
      "roles": .array(access.policy.roles(of: .token(record.name)).map(JSONValue.string)),
      "scope": record.scope.map { .array($0.words.map(JSONValue.string)) } ?? .null,
    ]
  }

  private func createToken(_ request: HTTPRequest, _ caller: Caller) async throws -> HTTPResponse {
    let given = try await members(request, ["name", "roles", "scope", "expiresInSeconds"])
    let name = try required(given, "name") { field throws(JSONFieldError) in try field.string() }
    let roles = try words(given, "roles", "role names") ?? []
    var scope: Scope?
    if let words = try words(given, "scope", "scopes") {
      guard !words.isEmpty, words.count <= 64 else {
        throw APIFailure.badRequest("\"scope\" must have 1 to 64 scopes; leave it out for a token that is not narrowed")
      }
      do { scope = try Scope(words: words) } catch { throw APIFailure.badRequest(error.description) }
    }
    var expires: Int64?
    if let field = given["expiresInSeconds"], !field.isNull {
      // Ten years.
      expires = Int64(
        try required(given, "expiresInSeconds") { field throws(JSONFieldError) in
          try field.integer(1...315_360_000)
        })
    }
    let text = try await access.createToken(
      name, roles: roles, scope: scope, expiresInSeconds: expires, by: caller)
    return .json(
      201,
      [
        "name": .string(name), "token": .string(text), "roles": .array(roles.map(JSONValue.string)),
        "scope": scope.map { .array($0.words.map(JSONValue.string)) } ?? .null,
      ])
  }

  /// A list of strings; nil where it is missing or null.
  private func words(_ given: [String: JSONField], _ name: String, _ what: String) throws -> [String]? {
    guard let field = given[name], !field.isNull else { return nil }
    return try required(given, name) { field throws(JSONFieldError) in
      var words: [String] = []
      for element in try field.array(of: what) { words.append(try element.string()) }
      return words
    }
  }
}
