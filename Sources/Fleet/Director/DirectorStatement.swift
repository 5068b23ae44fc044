import Models
import Trust

/// What the hub's director says to one box: the models that it is to have (Uptane's director targets).
///
/// It is a TUF targets metadata file with the box's id as `skerry.device` in its signed part. Each target is a copy of
/// the image repository's; a director may add `custom.skerryDirector`.
public struct DirectorStatement: Sendable {
  public struct Entry: Sendable, Hashable {
    public let target: TUFTarget
    /// An older version than the box has is meant: `custom.skerryDirector.rollback` is true.
    public let isRollback: Bool
  }

  /// No box is to have more models than these.
  public static let longest = 1000

  public let device: DeviceID
  public let version: Int64
  /// Sorted by path.
  public let entries: [Entry]

  /// Reads verified metadata. Throws an `AttackReport` for one that names no box or too much.
  public init(_ targets: TUFTargets) throws(AttackReport) {
    func refused(_ attack: Attack, _ reason: String) -> AttackReport {
      AttackReport(attack, role: "director/targets", reason: reason)
    }
    guard let device = TUFBinding(of: targets.document).device.flatMap({ DeviceID($0) }) else {
      throw refused(.malformed, "it names no box")
    }
    guard targets.targets.count <= DirectorStatement.longest else {
      throw refused(.endlessData, "\(targets.targets.count) models where \(DirectorStatement.longest) are the most")
    }
    self.device = device
    version = targets.document.version
    entries = targets.targets.map {
      Entry(target: $0, isRollback: $0.custom?[DirectorStatement.member]?["rollback"]?.bool == true)
    }
  }

  static let member = "skerryDirector"

  /// The director's copy of an image target.
  public static func target(_ image: TUFTarget, isRollback: Bool = false) -> TUFTarget {
    guard isRollback else { return image }
    var custom = image.custom?.object ?? [:]
    custom[member] = ["rollback": true]
    return TUFTarget(path: image.path, length: image.length, hashes: image.hashes, custom: .object(custom))
  }
}
