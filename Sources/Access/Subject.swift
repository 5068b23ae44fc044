/// Whom a binding gives a role to.
public enum Subject: Hashable, Sendable, CustomStringConvertible {
  case user(UInt32)
  case userNamed(String)
  case group(UInt32)
  case groupNamed(String)
  case token(String)
  /// Who shows an ID token: the provider as agent.json5 names it, and who they are there.
  case oidc(provider: String, subject: String)
  case oidcGroup(provider: String, group: String)
  /// An operator of the fleet's hub, with a pass for this box.
  case `operator`(String)
  /// Whoever reaches the agent's Unix socket.
  case anyLocal

  /// How people write one, for error messages.
  public static let allowed =
    "uid:NUMBER, user:NAME, gid:NUMBER, group:NAME, token:NAME, oidc:PROVIDER/SUBJECT, oidc-group:PROVIDER/GROUP, "
    + "operator:NAME, local"

  /// Reads `uid:0`, `user:alice`, `gid:5`, `group:skerry`, `token:app1`, `oidc:corp/8a3f`, `oidc-group:corp/ops`,
  /// `operator:alice`, `local`; nil for anything else.
  public static func parse(_ text: String) -> Subject? {
    if text == "local" { return .anyLocal }
    guard let colon = text.firstIndex(of: ":") else { return nil }
    let name = String(text[text.index(after: colon)...])
    switch text[..<colon] {
    case "uid": return number(name).map(Subject.user)
    case "gid": return number(name).map(Subject.group)
    case "user": return isAccount(name) ? .userNamed(name) : nil
    case "group": return isAccount(name) ? .groupNamed(name) : nil
    case "token": return Role.isName(name) ? .token(name) : nil
    case "operator": return Role.isName(name) ? .operator(name) : nil
    case "oidc": return split(name).map { .oidc(provider: $0, subject: $1) }
    case "oidc-group": return split(name).map { .oidcGroup(provider: $0, group: $1) }
    default: return nil
    }
  }

  public var description: String {
    switch self {
    case .user(let uid): "uid:\(uid)"
    case .userNamed(let name): "user:\(name)"
    case .group(let gid): "gid:\(gid)"
    case .groupNamed(let name): "group:\(name)"
    case .token(let name): "token:\(name)"
    case .oidc(let provider, let subject): "oidc:\(provider)/\(subject)"
    case .oidcGroup(let provider, let group): "oidc-group:\(provider)/\(group)"
    case .operator(let name): "operator:\(name)"
    case .anyLocal: "local"
    }
  }

  /// Whether whoever it names comes over the Unix socket, and so is `local` too.
  public var isLocal: Bool {
    switch self {
    case .user, .userNamed, .group, .groupNamed, .anyLocal: true
    case .token, .oidc, .oidcGroup, .operator: false
    }
  }

  private static func split(_ name: String) -> (provider: String, claim: String)? {
    guard let slash = name.firstIndex(of: "/") else { return nil }
    let (provider, claim) = (String(name[..<slash]), String(name[name.index(after: slash)...]))
    return Role.isName(provider) && isClaim(claim) ? (provider, claim) : nil
  }

  /// The names by which an identity provider may know people and groups here, for error messages.
  public static let allowedClaims = "1 to 128 of A-Z, a-z, 0-9 and . _ - @ + = | : / ~"

  /// Whether an identity provider's name for somebody can stand in a policy and in the audit log. Nothing in it can be
  /// mistaken for anything else there.
  public static func isClaim(_ text: String) -> Bool {
    (1...128).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: Array("._-@+=|:/~".utf8).contains(byte)
        }
      }
  }

  private static func number(_ text: String) -> UInt32? {
    text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt32(text) : nil
  }

  private static func isAccount(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 256 && name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x3A && $0 != 0x7F }
  }
}

/// Who asks: every subject that the caller matches, a label for the audit log, and what their request says of itself.
public struct Caller: Sendable, Hashable {
  public let subjects: [Subject]
  /// `uid:1000(alice)`, `token:app1`.
  public let label: String
  /// The subject that names this caller alone; a remedy gives it the missing role.
  public let identity: Subject
  /// What the caller's token is narrowed to, below what the roles allow; nil: to nothing.
  public let scope: Scope?
  /// How the request came; nil where none has come, as in an explanation.
  public var transport: RequestContext.Transport?
  /// The roles that are to be active in this request: held ones, or ones that these inherit. Nil: all that separation of
  /// duty allows.
  public var activated: Set<String>?

  public init(
    subjects: [Subject], label: String, scope: Scope? = nil, transport: RequestContext.Transport? = nil,
    activated: Set<String>? = nil
  ) {
    self.subjects = subjects
    self.label = label
    self.scope = scope
    self.transport = transport
    self.activated = activated
    identity = subjects.min { Caller.rank($0) < Caller.rank($1) } ?? .anyLocal
  }

  /// Who connected over the Unix socket, as the kernel and the account database name them.
  public static func local(
    uid: UInt32, name: String?, groups: [(gid: UInt32, name: String?)]
  ) -> Caller {
    var subjects: [Subject] = [.user(uid), .anyLocal]
    if let name { subjects.append(.userNamed(name)) }
    for group in groups {
      subjects.append(.group(group.gid))
      if let name = group.name { subjects.append(.groupNamed(name)) }
    }
    return Caller(
      subjects: subjects, label: name.map { "uid:\(uid)(\($0))" } ?? "uid:\(uid)", transport: .socket)
  }

  /// Who holds a token.
  public static func token(_ name: String, scope: Scope? = nil, from address: NetworkAddress? = nil) -> Caller {
    Caller(subjects: [.token(name)], label: "token:\(name)", scope: scope, transport: .network(address))
  }

  /// Who shows an ID token of this provider. Names that can't stand in a policy must have been refused (`Subject.isClaim`).
  public static func oidc(
    _ provider: String, _ subject: String, groups: [String], from address: NetworkAddress? = nil
  ) -> Caller {
    let own = Subject.oidc(provider: provider, subject: subject)
    return Caller(
      subjects: [own] + groups.map { .oidcGroup(provider: provider, group: $0) }, label: "\(own)",
      transport: .network(address))
  }

  /// Who shows a hub operator's pass.
  public static func `operator`(_ name: String, from address: NetworkAddress? = nil) -> Caller {
    Caller(subjects: [.operator(name)], label: "operator:\(name)", transport: .network(address))
  }

  /// How closely a subject names a caller; the smaller, the closer.
  static func rank(_ subject: Subject) -> Int {
    switch subject {
    case .token, .oidc, .operator: 0
    case .userNamed: 1
    case .user: 2
    case .groupNamed, .oidcGroup: 3
    case .group: 4
    case .anyLocal: 5
    }
  }
}
