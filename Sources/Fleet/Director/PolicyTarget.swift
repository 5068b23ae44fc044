public import Models
public import Trust

/// A fleet's policy as signed metadata names it: the target `policies/NAME.json5`, with its name and serial in
/// `custom.skerry`. The document itself is `Access.FleetPolicy`.
public struct PolicyTarget: Sendable, Hashable {
  public let name: ModelName
  public let serial: Int64
  /// Bytes.
  public let length: UInt64
  public let sha256: Digest

  public init(name: ModelName, serial: Int64, length: UInt64, sha256: Digest) {
    self.name = name
    self.serial = serial
    self.length = length
    self.sha256 = sha256
  }

  /// The policy that boxes get which have no other assigned.
  public static let standard = "default"

  /// The folder of all policies among the targets.
  public static let folder = "policies/"

  /// Nil when it is none, or its `custom.skerry` does not say of it what its path says.
  public init?(_ target: TUFTarget) {
    guard target.path.hasPrefix(PolicyTarget.folder), target.path.hasSuffix(PolicyTarget.ending),
      let name = ModelName(target.path.dropFirst(PolicyTarget.folder.count).dropLast(PolicyTarget.ending.count)),
      let fields = target.custom?["skerry"], fields["kind"]?.string == "policy",
      fields["name"]?.string == name.description, let serial = fields["serial"]?.integer, serial > 0,
      let sha256 = target.sha256, target.length > 0
    else { return nil }
    self.init(name: name, serial: serial, length: target.length, sha256: sha256)
  }

  private static let ending = ".json5"

  /// The target's path.
  public var path: String { "\(PolicyTarget.folder)\(name)\(PolicyTarget.ending)" }

  /// Where the file lies in a repository's `targets/`: TUF's consistent snapshots put the digest before the name.
  public var filePath: String { "\(PolicyTarget.folder)\(sha256.hex).\(name)\(PolicyTarget.ending)" }

  public var target: TUFTarget {
    TUFTarget(
      path: path, length: length, sha256: sha256,
      custom: ["skerry": ["kind": "policy", "name": .string(name.description), "serial": .integer(serial)]])
  }
}
