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
  /// Entries read until the end or the failure.
  public var entriesRead: UInt64 = 0
  /// What the witness's last head covers; nil when it never cosigned.
  public var cosignedSize: UInt64?
  /// When it cosigned, seconds since 1970, by the witness's clock.
  public var cosignedAt: UInt64?
  /// False when the device's key was taken from the export itself: then the export is whole, but not proven to be
  /// that device's.
  public var deviceKeyGiven = false
  public var witnessGiven = false

  public var isValid: Bool { failure == nil }
  public var firstBad: UInt64? { failure?.index }

  /// How many of the last entries only the device vouches for.
  public var uncosignedTail: UInt64? { size.map { $0 - min($0, cosignedSize ?? 0) } }

  public var description: String {
    if let failure { return "the audit log is NOT as it was signed: \(failure)" }
    let tail = uncosignedTail ?? 0
    let trust =
      deviceKeyGiven ? "" : "; the device's key was taken from the export itself: give it to be sure whose log it is"
    return
      "the audit log is as it was signed: \(size ?? 0) entries, of which the last \(tail) are not cosigned yet\(trust)"
  }
}

extension AuditVerdict {
  public var json: JSONValue {
    func number(_ value: UInt64?) -> JSONValue { value.map { .integer(Int64(clamping: $0)) } ?? .null }
    return .object([
      "valid": .bool(isValid), "firstBad": number(firstBad), "reason": failure.map { .string($0.reason) } ?? .null,
      "origin": origin.map { .string($0) } ?? .null, "size": number(size),
      "root": root.map { .string($0.hex) } ?? .null, "entriesRead": number(entriesRead),
      "cosignedSize": number(cosignedSize), "cosignedAt": number(cosignedAt), "uncosignedTail": number(uncosignedTail),
      "deviceKeyGiven": .bool(deviceKeyGiven), "witnessGiven": .bool(witnessGiven),
    ])
  }
}
