import Fleet
public import Trust

/// Where everything signed comes from: a hub, or a stick that was filled at one. What arrives is untrusted; `Intake`
/// decides over it, and the same bytes have the same outcome whichever way they came.
public protocol FleetSource: ModelSource {
  /// A file of the image repository's metadata ("3.root.json"), nil when there is none of that name. It should stop
  /// reading after `limit` bytes and throw `SourceFault.endless`.
  func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]?
  /// The same of the director's metadata for this box.
  func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]?
  /// A small file of the image repository's, whole: `path` is where it lies among the targets. At most `limit` bytes.
  func target(_ path: String, _ digest: Digest, limit: Int) async throws -> [UInt8]
}

extension FleetSource {
  public func target(_ path: String, _ digest: Digest, limit: Int) async throws -> [UInt8] {
    throw RegistryError.notServed(path)
  }
}

/// How a source misbehaves, apart from what its bytes say.
public enum SourceFault: Error, Hashable, Sendable, CustomStringConvertible {
  /// More bytes than this came for one file.
  case endless(limit: Int)
  /// The bytes came too slowly.
  case slow

  public var description: String {
    switch self {
    case .endless(let limit): "the hub sent more than the \(limit) bytes that a file may have"
    case .slow: "the hub sends too slowly to be waited for"
    }
  }

  /// The attack that it stands for; `role` says on what.
  func report(_ role: String) -> AttackReport {
    switch self {
    case .endless(let limit): AttackReport(.endlessData, role: role, reason: "more than \(limit) bytes")
    case .slow: AttackReport(.slowRetrieval, role: role, reason: "the bytes came too slowly")
    }
  }
}
