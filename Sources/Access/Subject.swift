/// Whom a binding gives a role to.
public enum Subject: Hashable, Sendable, CustomStringConvertible {
  case user(UInt32)
  case userNamed(String)
  case group(UInt32)
  case groupNamed(String)
  case token(String)
  /// Whoever reaches the agent's Unix socket.
  case anyLocal

  /// How people write one, for error messages.
  public static let allowed = "uid:NUMBER, user:NAME, gid:NUMBER, group:NAME, token:NAME, local"

  /// Reads `uid:0`, `user:alice`, `gid:5`, `group:skerry`, `token:app1`, `local`; nil for anything else.
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
    case .anyLocal: "local"
    }
  }

  /// Whether whoever it names comes over the Unix socket, and so is `local` too.
  public var isLocal: Bool { if case .token = self { false } else { true } }

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

  /// How closely a subject names a caller; the smaller, the closer.
  static func rank(_ subject: Subject) -> Int {
    switch subject {
    case .token: 0
    case .userNamed: 1
    case .user: 2
    case .groupNamed: 3
    case .group: 4
    case .anyLocal: 5
    }
  }
}
