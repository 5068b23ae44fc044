import FoundationEssentials

/// The four top-level roles of a TUF repository.
public enum TUFRole: String, Sendable, Hashable, CaseIterable, Codable {
  case root, timestamp, snapshot, targets
}

/// Why a metadata file is not trusted. The trusted set is as it was before the file came.
public enum TUFError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file is no metadata of this role.
  case malformed(role: String, reason: String)
  /// Fewer distinct keys of the role signed than it takes.
  case signature(role: String, valid: Int, threshold: Int)
  case expired(role: String, since: Date)
  /// A version lower than the one already trusted; `file` is the role, or the file that a role lists.
  case rollback(file: String, have: Int64, got: Int64)
  /// The version is not the one that must come here.
  case versionMismatch(role: String, expected: Int64, got: Int64)
  case wrongHash(file: String)
  case wrongLength(file: String, expected: UInt64, got: UInt64)
  case tooLarge(file: String, limit: Int)
  /// The repository does not have a file that it must have.
  case missing(file: String)
  /// A snapshot no longer lists a file that the trusted one lists.
  case removed(file: String)
  /// It belongs to another repository or another box.
  case foreign(role: String)
  case unsupportedSpecification(role: String, version: String)
  /// A step out of the workflow's order: an error of the caller.
  case outOfOrder(String)

  public var description: String {
    switch self {
    case .malformed(let role, let reason): "the \(role) metadata can't be read: \(reason)"
    case .signature(let role, let valid, let threshold):
      "the \(role) metadata is not signed as the trusted root demands: \(valid) valid of \(threshold) needed signatures"
    case .expired(let role, let since):
      "the \(role) metadata expired at \(TUFTime.format(since)): sign a newer one, or check the clock"
    case .rollback(let file, let have, let got):
      "rollback: \(file) version \(got) is older than the trusted version \(have)"
    case .versionMismatch(let role, let expected, let got):
      "the \(role) metadata has version \(got) where version \(expected) must come"
    case .wrongHash(let file): "\(file) does not have the digest that the signed metadata lists"
    case .wrongLength(let file, let expected, let got): "\(file) has \(got) bytes where \(expected) are signed"
    case .tooLarge(let file, let limit): "\(file) is larger than the limit of \(limit) bytes"
    case .missing(let file): "the repository has no \(file)"
    case .removed(let file): "the snapshot no longer lists \(file), which the trusted one lists"
    case .foreign(let role): "the \(role) metadata belongs to another repository or another box"
    case .unsupportedSpecification(let role, let version):
      "the \(role) metadata is of TUF specification \(version.debugDescription); this program knows 1.x"
    case .outOfOrder(let step): "TUF workflow out of order: \(step)"
    }
  }
}
