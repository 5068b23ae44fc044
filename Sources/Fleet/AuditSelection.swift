import Trust

/// Which records of an audit log are asked for. Nothing asked is everything.
public struct AuditSelection: Sendable, Hashable {
  /// Unix milliseconds by the box's clock: from the first on, before the second.
  public var since: Int64?
  public var until: Int64?
  /// An actor: whole (`token:app1`, `uid:1000(ann)`) or without the name that stands in brackets (`uid:1000`).
  public var subject: String?
  /// A model's name without its version.
  public var model: String?
  /// `allowed` and `denied` for decisions, else what a record says of its outcome.
  public var outcome: String?
  public var kind: String?

  public init(
    since: Int64? = nil, until: Int64? = nil, subject: String? = nil, model: String? = nil, outcome: String? = nil,
    kind: String? = nil
  ) {
    self.since = since
    self.until = until
    self.subject = subject
    self.model = model
    self.outcome = outcome
    self.kind = kind
  }

  /// True when every record is asked for.
  public var isEverything: Bool { self == AuditSelection() }

  /// True for a record that is asked for.
  public func matches(_ record: JSONValue) -> Bool {
    if let since, (record["t"]?.integer ?? .min) < since { return false }
    if let until, (record["t"]?.integer ?? .max) >= until { return false }
    let keys = AuditKeys(record)
    return kind.map { $0 == keys.kind } ?? true && outcome.map { $0 == keys.outcome } ?? true
      && model.map { $0 == keys.model } ?? true
      && subject.map { $0 == keys.subject || $0 == keys.shortSubject } ?? true
  }

  /// Only what was asked for has a member.
  public var json: JSONValue {
    var members: [String: JSONValue] = [:]
    members["since"] = since.map { .integer($0) }
    members["until"] = until.map { .integer($0) }
    for (name, value) in [("subject", subject), ("model", model), ("outcome", outcome), ("kind", kind)] {
      members[name] = value.map { .string($0) }
    }
    return .object(members)
  }

  /// Nil when a member is unknown or of the wrong type.
  public init?(json: JSONValue) {
    guard let members = json.object else { return nil }
    for (name, value) in members {
      switch (name, value) {
      case ("since", .integer(let number)): since = number
      case ("until", .integer(let number)): until = number
      case ("subject", .string(let text)): subject = text
      case ("model", .string(let text)): model = text
      case ("outcome", .string(let text)): outcome = text
      case ("kind", .string(let text)): kind = text
      default: return nil
      }
    }
  }
}

/// What a record can be found by.
public struct AuditKeys: Sendable, Hashable {
  public let kind: String
  public let subject: String
  public let model: String?
  public let outcome: String?

  public init(_ record: JSONValue) {
    kind = record["kind"]?.string ?? ""
    subject = record["actor"]?.string ?? ""
    // Of a resource the model's name: `model:tiny`, `model:tiny:1.0`.
    let resource = record["resource"]?.string ?? ""
    let named = resource.hasPrefix("model:") ? resource.dropFirst(6).prefix { $0 != ":" }.description : nil
    model = record["model"]?.string ?? named
    outcome = record["outcome"]?.string ?? record["allowed"]?.bool.map { $0 ? "allowed" : "denied" }
  }

  /// The subject without the name in brackets, which is only for people.
  public var shortSubject: String {
    guard subject.hasSuffix(")"), let bracket = subject.firstIndex(of: "(") else { return subject }
    return String(subject[..<bracket])
  }
}
