import Fleet
import Host
import Storage
import Trust

/// Something that happened on the box, as it goes into the audit log: `AuditSchema` says what each kind may tell.
public struct AuditEvent: Sendable, Hashable {
  public var kind: AuditKind
  /// Who did it: "uid:1000(alice)", "token:app1", "system".
  public var actor: String
  /// What else there is to say, by the kind's members. Never a prompt or an answer; at most their `PromptDigester` digests.
  public var fields: [String: JSONValue]

  public init(kind: AuditKind, actor: String, fields: [String: JSONValue] = [:]) {
    self.kind = kind
    self.actor = actor
    self.fields = fields
  }

  /// The record's canonical bytes but for its index: what is hashed, stored and exported. A member that the schema does not
  /// have is a mistake of the caller's, which ends a debug build; otherwise the record says that it was left out.
  func draft(milliseconds: Int64) -> AuditDraft {
    var (members, faults) = AuditSchema.settle(kind, fields)
    let mistakes = faults.filter(\.isMistake)
    if !mistakes.isEmpty {
      assertionFailure("a record of kind \(kind.rawValue) is not as its schema says: \(mistakes)")
      Log.shared.error("an audit record was not as its schema says", ["kind": kind.rawValue, "members": "\(mistakes)"])
    }
    members["v"] = .integer(AuditSchema.version)
    members["t"] = .integer(milliseconds)
    members["kind"] = .string(kind.rawValue)
    members["actor"] = .string(AuditSchema.actor(actor))
    return AuditDraft(members)
  }

  /// What only says no, and what tells of the log's own trouble. It may take the room that is kept for it.
  var urgency: RecordLog.Urgency {
    switch kind {
    case .decision: fields["allowed"] == false ? .urgent : .ordinary
    case .limit, .attack, .audit, .stop: .urgent
    default: .ordinary
    }
  }

  /// The first entry that is left, when this record says that those before it were pruned.
  static func pruned(by record: UnsafeRawBufferPointer) -> UInt64? {
    // Nearly all are others; reading each would make the start of a box with a long log slow.
    guard record.starts(with: #"{"actor":"system","#.utf8), let value = try? JSONValue(parsing: record),
      value["kind"] == "audit", value["event"] == "pruned"
    else { return nil }
    return value["until"]?.integer.flatMap { UInt64(exactly: $0) }
  }
}

/// A record in canonical form whose index is not known yet: what stands before it and after it.
struct AuditDraft: Sendable {
  private let head: [UInt8]
  private let tail: [UInt8]

  fileprivate init(_ members: [String: JSONValue]) {
    // `n` has members on both sides: `kind` before it, `t` and `v` after it.
    let before = members.filter { $0.key.unicodeScalars.lexicographicallyPrecedes("n".unicodeScalars) }
    let after = members.filter { before[$0.key] == nil }
    head = JSONValue.object(before).encoded().dropLast() + Array(#","n":"#.utf8)
    tail = [0x2C] + JSONValue.object(after).encoded().dropFirst()
  }

  func record(index: UInt64) -> [UInt8] {
    let number = String(index).utf8
    var record: [UInt8] = []
    record.reserveCapacity(head.count + number.count + tail.count)
    record += head
    record += number
    record += tail
    return record
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
