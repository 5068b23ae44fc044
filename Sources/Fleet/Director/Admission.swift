import Models
import Trust

/// A model that both the image repository and the director name for this box.
public struct AdmittedModel: Sendable, Hashable {
  public var manifest: ModelManifest
  /// The ids of the keys that signed the image metadata which names it.
  public var signers: [String]
  /// The version that a signed rollback takes back; nil for anything else than a step back.
  public var rollbackFrom: ModelVersion?

  public init(_ manifest: ModelManifest, signers: [String], rollbackFrom: ModelVersion? = nil) {
    self.manifest = manifest
    self.signers = signers
    self.rollbackFrom = rollbackFrom
  }
}

/// What a box is to hold, decided from the two repositories' words and from what it has. Pure.
///
/// The rule (Uptane standard, section 5.4.4.4, "full verification"): installed is only what both name with equal path,
/// length, SHA-256 and `custom.skerry`, for this box's own id, and never an older version than the box has had, unless
/// the director signs that a rollback is meant. What is refused changes nothing that is installed.
public struct Admission: Sendable {
  /// A target as the image repository names it now.
  public struct Image: Sendable {
    public var target: TUFTarget
    public var signers: [String]

    public init(_ target: TUFTarget, signers: [String]) {
      self.target = target
      self.signers = signers
    }
  }

  /// A model that the box knows.
  public struct Known: Sendable, Hashable {
    public var manifest: ModelManifest
    /// It was given to callers: it is active, or was until its bytes were found damaged.
    public var wasActive: Bool

    public init(_ manifest: ModelManifest, wasActive: Bool) {
      self.manifest = manifest
      self.wasActive = wasActive
    }
  }

  /// Something that the director named and the box does not take.
  public struct Refusal: Sendable, Hashable {
    /// `NAME:VERSION` of a model that the image repository or the box knows; empty otherwise.
    public var model: String
    public var report: AttackReport
  }

  /// To be brought in, or mended where it is here already.
  public internal(set) var wanted: [AdmittedModel] = []
  /// To be left as it is: neither brought further nor removed.
  public internal(set) var kept: [ModelManifest] = []
  public internal(set) var refusals: [Refusal] = []
  /// The fleet's policy for this box; nil: none is named, or it is refused.
  public internal(set) var policy: PolicyTarget?
  /// Targets on which both agree and that are no model as Skerry publishes them.
  public internal(set) var malformed: [ManifestError] = []

  /// Decides.
  ///
  /// - Parameters:
  ///   - device: the box's own id.
  ///   - statement: the director's word; nil while none is to be trusted: nothing new comes in then.
  ///   - images: what the image repository says of every path that the statement or an installed model has.
  ///   - unclear: paths about which the image repository could not be asked: what is installed of them stays.
  ///   - known: the models on the box, without those that are on their way out.
  ///   - floors: the newest version of each name that the box has had since the last signed rollback.
  ///
  /// Throws the attack for a statement that is for another box; it counts as none at all.
  public init(
    device: DeviceID, statement: DirectorStatement?, images: [String: Image], unclear: Set<String> = [],
    known: [Known], floors: [ModelName: ModelVersion]
  ) throws(AttackReport) {
    guard let statement else {
      for model in known { keep(model, images, unclear) }
      return
    }
    guard statement.device == device else {
      throw AttackReport(.wrongDevice, role: "director/targets", reason: "it is for another box")
    }
    judgePolicy(statement, images, unclear)
    // Names about which director and image repository disagree: what is installed of them stays.
    var disputed: Set<String> = []
    for entry in statement.entries where entry.target.path.hasPrefix("models/") {
      if unclear.contains(entry.target.path) {
        disputed.insert(Admission.name(entry.target.path))
        continue
      }
      do {
        if let model = try Admission.judge(entry, images, known, floors) { wanted.append(model) }
      } catch let refusal {
        switch refusal {
        case .attack(let refusal): refusals.append(refusal)
        case .malformed(let error): malformed.append(error)
        }
        disputed.insert(Admission.name(entry.target.path))
      }
    }
    let chosen = Set(wanted.map(\.manifest))
    for model in known where disputed.contains(model.manifest.name.description) && !chosen.contains(model.manifest) {
      keep(model, images, unclear)
    }
    wanted.sort { ($0.manifest.name, $0.manifest.version) < ($1.manifest.name, $1.manifest.version) }
  }

  /// The one policy that the director names. A box that has had one keeps it while none is named.
  private mutating func judgePolicy(
    _ statement: DirectorStatement, _ images: [String: Image], _ unclear: Set<String>
  ) {
    let entries = statement.entries.map(\.target).filter { $0.path.hasPrefix(PolicyTarget.folder) }
    func refuse(_ attack: Attack, _ reason: String) {
      refusals.append(Refusal(model: "", report: AttackReport(attack, role: "director/targets", reason: reason)))
    }
    guard let target = entries.first, !unclear.contains(target.path) else { return }
    guard entries.count == 1 else { return refuse(.malformed, "it names \(entries.count) policies for one box") }
    guard let image = images[target.path]?.target else {
      return refuse(.foreignImage, "it names a policy that the image repository does not name")
    }
    let differing = Admission.differences(target, image)
    guard differing.isEmpty else {
      return refuse(
        .directorDisagrees, "the policy: another \(differing.joined(separator: ", ")) than the image repository")
    }
    policy = PolicyTarget(image)
    if policy == nil { refuse(.malformed, "it names a policy that is none as Skerry publishes them") }
  }

  /// What two targets of one path differ in.
  private static func differences(_ target: TUFTarget, _ image: TUFTarget) -> [String] {
    [
      target.length == image.length ? nil : "length",
      target.sha256 != nil && target.sha256 == image.sha256 ? nil : "sha256",
      target.custom?["skerry"] == image.custom?["skerry"] ? nil : "custom.skerry",
    ].compactMap(\.self)
  }

  /// What is here stays while the image repository has something under its path: a model that the publisher withdrew
  /// goes, whatever a director says or does not say.
  private mutating func keep(_ model: Known, _ images: [String: Image], _ unclear: Set<String>) {
    guard let image = images[model.manifest.targetPath] else {
      if unclear.contains(model.manifest.targetPath) { kept.append(model.manifest) }
      return
    }
    if model.wasActive, (try? ModelManifest(image.target)) == model.manifest {
      wanted.append(AdmittedModel(model.manifest, signers: image.signers))
    } else {
      kept.append(model.manifest)
    }
  }

  private enum Refused: Error {
    case attack(Refusal)
    case malformed(ManifestError)
  }

  private static func judge(
    _ entry: DirectorStatement.Entry, _ images: [String: Image], _ known: [Known], _ floors: [ModelName: ModelVersion]
  ) throws(Refused) -> AdmittedModel? {
    let target = entry.target
    func refused(_ attack: Attack, _ reason: String, model: String = "") -> Refused {
      .attack(Refusal(model: model, report: AttackReport(attack, role: "director/targets", reason: reason)))
    }
    guard let image = images[target.path] else {
      throw refused(.foreignImage, "it names a model that the image repository does not name")
    }
    let differing = differences(target, image.target)
    guard differing.isEmpty else {
      let label = (try? ModelManifest(image.target))?.label ?? "a model"
      throw refused(
        .directorDisagrees, "\(label): another \(differing.joined(separator: ", ")) than the image repository",
        model: label)
    }
    let manifest: ModelManifest
    do { manifest = try ModelManifest(image.target) } catch { throw .malformed(error) }
    var model = AdmittedModel(manifest, signers: image.signers)
    // What is here already is no step back, even beside a newer version.
    guard !known.contains(where: { $0.manifest == manifest && $0.wasActive }) else { return model }
    if let floor = floors[manifest.name], manifest.version < floor {
      guard entry.isRollback else {
        throw refused(
          .rollback,
          "\(manifest.label) is older than version \(floor), which the box has had, and no rollback is signed",
          model: manifest.label)
      }
      model.rollbackFrom = floor
    }
    return model
  }

  /// NAME of `models/NAME/VERSION/FILE`.
  private static func name(_ path: String) -> String {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    return parts.count > 1 ? String(parts[1]) : ""
  }
}
