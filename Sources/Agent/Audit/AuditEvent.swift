import Host
import Trust

/// Something that happened on the box, as it goes into the audit log.
public struct AuditEvent: Sendable, Hashable {
  /// "decision", "inference", "role", "token", "model", "sync", "start", "stop", "enroll", "attack", …
  public var kind: String
  /// Who did it: "uid:1000(alice)", "token:app1", "system".
  public var actor: String
  /// What else there is to say. The names `v`, `n`, `t`, `kind` and `actor` are the record's own. Never a prompt or
  /// an answer; at most their `PromptDigester` digests.
  public var fields: [String: JSONValue]

  public init(kind: String, actor: String, fields: [String: JSONValue] = [:]) {
    self.kind = kind
    self.actor = actor
    self.fields = fields
  }

  /// The record's canonical bytes: what is hashed, stored and exported.
  func record(index: UInt64, milliseconds: Int64) -> [UInt8] {
    var members = fields.mapValues(Self.settled)
    members["v"] = 1
    members["n"] = .integer(Int64(clamping: index))
    members["t"] = .integer(milliseconds)
    members["kind"] = .string(kind)
    members["actor"] = .string(actor)
    return JSONValue.object(members).encoded()
  }

  /// Numbers in the form that reading gives back: whole ones are integers, and there is no infinity.
  private static func settled(_ value: JSONValue) -> JSONValue {
    switch value {
    case .double(let number): Int64(exactly: number).map { .integer($0) } ?? (number.isFinite ? value : .null)
    case .array(let elements): .array(elements.map(settled))
    case .object(let members): .object(members.mapValues(settled))
    default: value
    }
  }
}

/// The record can't be made durable now, so the effect must not happen. The log tries again with every append and
/// recovers by itself when the cause has gone.
public struct AuditUnavailable: Error, CustomStringConvertible {
  public let cause: any Error
  public var description: String { "the audit log can't be written, so nothing may happen: \(cause)" }
}

/// The log on disk is not the one that was signed. The agent must not serve on it.
public struct AuditTampered: Error, Hashable, CustomStringConvertible {
  /// The first entry that is not as it was; nil when it can't be told.
  public let index: UInt64?
  public let reason: String

  public var description: String {
    let place = index.map { "from entry \($0) on: " } ?? ""
    return "the audit log was changed, \(place)\(reason). Keep a copy of the audit folder, find out who had access, "
      + "and move the folder away to start a new log"
  }
}
