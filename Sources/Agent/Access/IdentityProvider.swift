import Access
public import Trust

/// An OpenID provider whose ID tokens name callers on TCP.
public struct IdentityProvider: Sendable, Hashable {
  public enum Keys: Sendable, Hashable {
    /// A JSON Web Key Set in a file; read at the start and with a reload.
    case file(String)
    case inline(JSONValue)
  }

  /// As it stands in `oidc:NAME/…`.
  public var name: String
  /// `iss`, to the letter.
  public var issuer: String
  /// `aud`: what the provider calls this box, or the application that asks it.
  public var audience: String
  public var keys: Keys
  /// The claim that names the caller.
  public var subjectClaim = "sub"
  /// The claim that lists the caller's groups; nil: none does.
  public var groupsClaim: String?
  /// How old a token may be at most, in seconds.
  public var maxAgeSeconds: Int64 = 86_400
  /// By how much clocks may differ, in seconds.
  public var leewaySeconds: Int64 = 60

  /// More would cost each request more than it brings.
  static let most = 16
}

extension IdentityProvider {
  /// Decodes strictly.
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members([
      "name", "issuer", "audience", "jwksFile", "jwks", "subjectClaim", "groupsClaim", "maxAgeSeconds", "leewaySeconds",
    ])
    func text(_ key: String) throws(JSONFieldError) -> String {
      guard let found = members[key] else { throw field.wrong("\(key) is missing", allowed: "a string") }
      let text = try found.string()
      guard (1...512).contains(text.utf8.count) else {
        throw found.wrong("too short or too long", allowed: "1 to 512 bytes")
      }
      return text
    }
    name = try text("name")
    guard Role.isName(name) else { throw field.wrong("\"\(name)\" is no name", allowed: Role.allowedNames) }
    issuer = try text("issuer")
    audience = try text("audience")
    switch (members["jwksFile"], members["jwks"]) {
    case (let file?, nil): keys = .file(try AgentConfiguration.path(file))
    case (nil, let inline?):
      do { _ = try JSONWebKeySet(inline.value) } catch {
        throw inline.wrong(error.description, allowed: "a JSON Web Key Set (RFC 7517 §5)")
      }
      keys = .inline(inline.value)
    default:
      throw field.wrong(
        "keys are missing, or given twice",
        allowed: "either jwksFile, a path, or jwks, {keys: [...]}: keys are never fetched")
    }
    if members["subjectClaim"] != nil { subjectClaim = try text("subjectClaim") }
    if let groups = members["groupsClaim"], !groups.isNull { groupsClaim = try text("groupsClaim") }
    if let field = members["maxAgeSeconds"] { maxAgeSeconds = Int64(try field.integer(60...31_536_000)) }
    if let field = members["leewaySeconds"] { leewaySeconds = Int64(try field.integer(0...600)) }
  }

  /// The list, each of a name and an issuer of its own.
  static func all(_ field: JSONField) throws(JSONFieldError) -> [IdentityProvider] {
    var all: [IdentityProvider] = []
    for element in try field.array(of: "identity providers") { all.append(try IdentityProvider(element)) }
    guard all.count <= most else { throw field.wrong("\(all.count) are too many", allowed: "at most \(most)") }
    guard Set(all.map(\.name)).count == all.count, Set(all.map(\.issuer)).count == all.count else {
      throw field.wrong("two of them have the same name or issuer", allowed: "a name and an issuer of its own for each")
    }
    return all
  }

  /// The effective values.
  var effective: JSONValue {
    var members: [String: JSONValue] = [
      "name": .string(name), "issuer": .string(issuer), "audience": .string(audience),
      "subjectClaim": .string(subjectClaim), "groupsClaim": groupsClaim.map(JSONValue.string) ?? .null,
      "maxAgeSeconds": .integer(maxAgeSeconds), "leewaySeconds": .integer(leewaySeconds),
    ]
    switch keys {
    case .file(let path): members["jwksFile"] = .string(path)
    case .inline(let value): members["jwks"] = value
    }
    return .object(members)
  }
}
