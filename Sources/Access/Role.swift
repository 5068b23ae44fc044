/// Verbs on resources, and when.
public struct Permission: Sendable, Hashable {
  public let verbs: [Verb]
  public let resources: [ResourcePattern]
  public let clause: Clause

  public init(verbs: [Verb], resources: [ResourcePattern], clause: Clause = .always) {
    self.verbs = verbs
    self.resources = resources
    self.clause = clause
  }
}

/// A named set of permissions, with those of the roles that it inherits.
public struct Role: Sendable, Hashable {
  public let name: String
  public let summary: String
  public let inherits: [String]
  /// Its own, without the inherited ones.
  public let permissions: [Permission]
  /// What is forbidden to whoever holds it, or a role that inherits it, active or not.
  public let forbids: [Permission]
  /// What each caller who holds it may use of the engines. Where it says nothing, what it inherits counts.
  public let limits: Limits
  /// What all its callers may use together. Not inherited.
  public let sharedLimits: Limits
  /// For how many days what was asked and answered under it is kept; nil: what it inherits says, else not at all.
  public let keepContentDays: Int?
  /// Whether the fleet's policy defines it, and not the box's own.
  public let isCentral: Bool

  public init(
    name: String, summary: String, inherits: [String], permissions: [Permission], forbids: [Permission] = [],
    limits: Limits = Limits(), sharedLimits: Limits = Limits(), keepContentDays: Int? = nil, isCentral: Bool = false
  ) {
    self.name = name
    self.summary = summary
    self.inherits = inherits
    self.permissions = permissions
    self.forbids = forbids
    self.limits = limits
    self.sharedLimits = sharedLimits
    self.keepContentDays = keepContentDays
    self.isCentral = isCentral
  }

  /// The same, known as the fleet's.
  var central: Role {
    Role(
      name: name, summary: summary, inherits: inherits, permissions: permissions, forbids: forbids, limits: limits,
      sharedLimits: sharedLimits, keepContentDays: keepContentDays, isCentral: true)
  }

  /// The same with one more role that it inherits.
  func inheriting(_ other: String) -> Role {
    Role(
      name: name, summary: summary, inherits: inherits + [other], permissions: permissions, forbids: forbids,
      limits: limits, sharedLimits: sharedLimits, keepContentDays: keepContentDays, isCentral: isCentral)
  }

  /// The names that roles and tokens may have, for error messages.
  public static let allowedNames = "1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"

  public static func isName(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard (1...64).contains(bytes.count) else { return false }
    let plain = bytes.allSatisfy { byte in
      switch byte {
      case 0x61...0x7A, 0x30...0x39, 0x2E, 0x5F, 0x2D: true
      default: false
      }
    }
    return plain && ![0x2E, 0x5F, 0x2D].contains(bytes[0])
  }
}

/// Gives a role to a subject.
public struct Binding: Hashable, Codable, Sendable, Comparable, CustomStringConvertible {
  public let role: String
  public let subject: String

  public init(role: String, subject: String) {
    self.role = role
    self.subject = subject
  }

  public static func < (one: Binding, other: Binding) -> Bool {
    (one.role, one.subject) < (other.role, other.subject)
  }

  public var description: String { "\(role) to \(subject)" }
}

/// Roles of which nobody may have more than a few: separation of duty (INCITS 359 §6.3 and §6.4). A role counts with
/// those that it inherits.
public struct SeparationSet: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Not held by one caller.
    case held = "static"
    /// Not active together in one request.
    case active = "dynamic"
  }

  public let name: String
  public let kind: Kind
  /// Two or more, sorted.
  public let roles: [String]
  /// From 1 to one less than there are roles.
  public let atMost: Int

  public init(name: String, kind: Kind, roles: [String], atMost: Int = 1) {
    self.name = name
    self.kind = kind
    self.roles = Set(roles).sorted()
    self.atMost = atMost
  }
}
