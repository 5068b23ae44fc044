import Trust

/// What verifying an audit export found.
public struct AuditVerdict: Sendable, Hashable, CustomStringConvertible {
  /// What is wrong, and where.
  public struct Failure: Error, Sendable, Hashable, CustomStringConvertible {
    /// The first entry that is not as signed; nil when it is the header or can't be narrowed down to one.
    public let index: UInt64?
    public let reason: String

    public var description: String { index.map { "entry \($0): \(reason)" } ?? reason }
  }

  /// nil when everything is as it was signed.
  public var failure: Failure?
  public var origin: String?
  /// What the signed head says.
  public var size: UInt64?
  public var root: Digest?
  /// Entries whose record is in the export, until the end or the failure.
  public var entriesRead: UInt64 = 0
  /// Entries of which only hashes are in it.
  public var leftOut: UInt64 = 0
  /// What the export says was asked for.
  public var selection = AuditSelection()
  /// What the witness's last head covers; nil when it never cosigned.
  public var cosignedSize: UInt64?
  /// When it cosigned, seconds since 1970, by the witness's clock.
  public var cosignedAt: UInt64?
  /// False when the device's key was taken from the export itself: then the export is whole, but not proven to be
  /// that device's.
  public var deviceKeyGiven = false
  public var witnessGiven = false
  /// The head that the auditor gave.
  public var knownHead = KnownHead.none

  public enum KnownHead: String, Sendable, Hashable {
    case none, contained
    /// It lies among entries that are left out, so that nothing can be said of it.
    case hidden
  }

  public var isValid: Bool { failure == nil }
  public var firstBad: UInt64? { failure?.index }

  /// How many of the last entries only the device vouches for.
  public var uncosignedTail: UInt64? { size.map { $0 - min($0, cosignedSize ?? 0) } }

  public var description: String {
    if let failure { return "the audit log is NOT as it was signed: \(failure)" }
    let tail = uncosignedTail ?? 0
    let missing = leftOut == 0 ? "" : " (\(entriesRead) in this export, \(leftOut) left out)"
    return
      "the audit log is as it was signed: \(size ?? 0) entries\(missing), of which the last \(tail) are not cosigned yet"
  }

  /// What the export proves, a sentence each.
  public var proven: [String] {
    guard isValid else { return [] }
    var said = ["the records in the export are, byte for byte and in order, those of the log that was signed"]
    if leftOut == 0 { said.append("no record is missing from the first to the last") }
    if deviceKeyGiven { said.append("the log is that of the device whose key you gave") }
    if let size = cosignedSize {
      let who = witnessGiven ? "the witness whose key you gave" : "the witness that the export names"
      said.append("\(who) saw the first \(size) entries, and they were not changed since")
    }
    if knownHead == .contained { said.append("the log contains the head that you gave, and continues it") }
    return said
  }

  /// What it can't prove, and what would.
  public var notProven: [String] {
    guard isValid else { return [] }
    var said: [String] = []
    if !deviceKeyGiven {
      said.append("whose log it is: the device's key was taken from the export itself; give it with --key")
    }
    if cosignedSize != nil, !witnessGiven {
      said.append("whose witness it was: its key was taken from the export itself; give it with --witness")
    }
    if let tail = uncosignedTail, tail > 0 {
      said.append("that the last \(tail) entries are all: only the device vouches for them until its next sync")
    }
    if knownHead == .none {
      said.append("that it is the newest state of the log: give the head that the hub cosigned last with --head")
    } else if knownHead == .hidden {
      said.append("that the log contains the head that you gave: it lies among the entries that are left out")
    }
    if leftOut > 0 {
      said.append(
        "what the \(leftOut) left-out entries say, and that nothing else was asked for than the export states")
    }
    return said
  }
}

extension AuditVerdict {
  public var json: JSONValue {
    func number(_ value: UInt64?) -> JSONValue { value.map { .integer(Int64(clamping: $0)) } ?? .null }
    return .object([
      "valid": .bool(isValid), "firstBad": number(firstBad), "reason": failure.map { .string($0.reason) } ?? .null,
      "origin": origin.map { .string($0) } ?? .null, "size": number(size),
      "root": root.map { .string($0.hex) } ?? .null, "entriesRead": number(entriesRead), "leftOut": number(leftOut),
      "selection": selection.json,
      "cosignedSize": number(cosignedSize), "cosignedAt": number(cosignedAt), "uncosignedTail": number(uncosignedTail),
      "deviceKeyGiven": .bool(deviceKeyGiven), "witnessGiven": .bool(witnessGiven),
      "knownHead": .string(knownHead.rawValue), "proven": .array(proven.map { .string($0) }),
      "notProven": .array(notProven.map { .string($0) }),
    ])
  }
}
