import Fleet
import FoundationEssentials
import Host
import Models
import Storage
import Trust

/// What a sync does, by a file that a person carries: takes bundles of the hub in, and makes those that go back.
public actor BundleService {
  let stateDirectory: String
  let identity: DeviceIdentity
  let registry: ModelRegistry
  let sync: SyncService
  let access: AccessControl
  let log: AuditLog
  let tables: SyncTables
  let adoptsPolicies: Bool
  var isBusy = false

  private static let serialKey = "bundleSerial"
  private static let manifestKey = "bundleManifest"

  /// Removes what a killed import or export left.
  public init(
    configuration: AgentConfiguration, identity: DeviceIdentity, registry: ModelRegistry, sync: SyncService,
    access: AccessControl, log: AuditLog
  ) throws {
    stateDirectory = configuration.stateDirectory
    adoptsPolicies = configuration.bundle.policies
    self.identity = identity
    self.registry = registry
    self.sync = sync
    self.access = access
    self.log = log
    tables = sync.tables
    for name in try DurableFile.names(in: stateDirectory + "/bundle") {
      try DurableFile.remove("\(stateDirectory)/bundle/\(name)")
    }
  }

  var spoolDirectory: String { stateDirectory + "/bundle" }

  /// A bundle that was checked to its last byte and waits to be applied. The service stays busy until `apply` or
  /// `discard`.
  struct Staged: Sendable {
    let stage: BundleStage
    let signed: SignedBundleManifest
    /// 1.root.json, for a box that joins.
    let firstRoot: [UInt8]?
    let pending: PendingEnrollment?
  }

  // MARK: coming in

  /// Takes a whole bundle from `pieces` to the disk and checks it; nothing takes effect. What is refused is on record,
  /// as an attack where it stands for one. Throws `BundleError`, `BundleFailure`, `StorageError` and what `pieces` throw.
  func receive(_ pieces: some AsyncSequence<[UInt8], any Error> & Sendable, actor: String) async throws -> Staged {
    guard !isBusy else { throw BundleFailure.busy }
    isBusy = true
    do {
      return try await received(pieces)
    } catch {
      isBusy = false
      try await refused(error, actor: actor)
      throw error
    }
  }

  private func received(_ pieces: some AsyncSequence<[UInt8], any Error> & Sendable) async throws -> Staged {
    let pending = try PendingEnrollment.load(from: stateDirectory)
    let gate = try await gate(pending)
    let stage = try BundleStage(path: spoolDirectory + "/incoming", gate: gate)
    var waiting: [UInt8] = []
    for try await piece in pieces {
      waiting += piece
      guard waiting.count >= 1 << 18 else { continue }
      let batch = waiting
      waiting = []
      try await offPool { try stage.take(batch) }
    }
    let last = waiting
    let done = try await offPool {
      try stage.take(last)
      return try stage.finish()
    }
    guard let done = done as? BundleGate, let signed = done.signed else { throw BundleError.cut }
    return Staged(stage: stage, signed: signed, firstRoot: done.roots.firstRoot, pending: pending)
  }

  private func gate(_ pending: PendingEnrollment?) async throws -> BundleGate {
    let isEnrolled = await sync.currentEnrolment() != nil
    guard isEnrolled || pending != nil else { throw BundleFailure.notEnrolled }
    let image = isEnrolled ? try await registry.metadataState()?.root : nil
    let director = isEnrolled ? try await directorRoot() : nil
    let roots: BundleRoots
    do {
      roots = try BundleRoots(
        image: image, director: director, anchor: isEnrolled ? nil : pending?.root)
    } catch { throw BundleFailure.untrustedRoot(error) }
    return BundleGate(
      device: identity.id, roots: roots,
      lastSerial: isEnrolled ? try await tables.value(Self.serialKey).flatMap { Int64($0) } ?? 0 : 0,
      lastManifest: try await tables.value(Self.manifestKey).flatMap { Digest(hex: $0) })
  }

  /// Puts a refusal on record: one record for the bundle, and one that names the attack. A stream that was cut off by its
  /// caller is none.
  private func refused(_ error: any Error, actor: String) async throws {
    switch error {
    case let error as BundleError:
      if let attack = error.attack { try await attack.record(to: audit) }
    case BundleFailure.untrustedRoot(let error):
      if let attack = AttackReport(error, in: .image) { try await attack.record(to: audit) }
    case is BundleFailure, is StorageError: break
    default: return
    }
    try await audit(.bundle, actor, ["event": "refused", "reason": .string("\(error)".brief)])
  }

  /// Lets go of a bundle that was received, applied or not.
  func discard(_ staged: Staged) {
    staged.stage.remove()
    isBusy = false
  }

  /// Applies a checked bundle: what the hub answers this box, then everything signed through the intake, then policies.
  /// Each step is whole by itself, so that after a kill the same bundle, taken in again, comes to the same end.
  func apply(_ staged: Staged, actor: String, progress: @escaping ProgressHandler) async throws -> BundleOutcome {
    defer { discard(staged) }
    let serial = staged.signed.manifest.serial
    try await audit(.bundle, actor, ["event": "received", "serial": .integer(serial)])
    do {
      var outcome = BundleOutcome(serial: serial)
      try await answer(staged, actor: actor, &outcome)
      try await content(staged, progress, &outcome)
      await policies(staged, &outcome)
      if outcome.failures.isEmpty {
        // Last, so that a bundle that came in by halves may come again, even after a newer one was begun.
        try await tables.setValue(Self.manifestKey, Digest(of: staged.signed.encoded).hex)
        try await tables.setValue(Self.serialKey, String(serial))
      }
      try await record(outcome, actor: actor)
      return outcome
    } catch {
      try await audit(
        .bundle, actor,
        ["event": "failed", "serial": .integer(serial), "reason": .string("\(error)".brief)])
      throw error
    }
  }

  private func content(
    _ staged: Staged, _ progress: @escaping ProgressHandler, _ outcome: inout BundleOutcome
  ) async throws {
    let intake = Intake(registry: registry, device: identity.id, clock: sync.surroundings.clock, audit: audit)
    let taken = try await intake.run(
      from: BundleFleetSource(stage: staged.stage, device: identity.id), progress: progress)
    outcome.activated = taken.models.activated
    outcome.removed = taken.models.removed
    outcome.attacks = taken.attacks
    outcome.failures += taken.failures.map { SyncOutcome.Failure(model: $0.model, message: $0.message) }
    outcome.metadataVersion = await registry.trusted?.timestampVersion ?? 0
  }

  private func policies(_ staged: Staged, _ outcome: inout BundleOutcome) async {
    do {
      guard let bytes = try staged.stage.read(.policy, "roles.json5", limit: 1 << 20) else { return }
      guard adoptsPolicies else {
        outcome.policies = "off"
        return
      }
      outcome.policies = try await access.adopt(bytes, from: "a bundle") ? "adopted" : "unchanged"
    } catch {
      outcome.policies = "refused"
      outcome.failures.append(SyncOutcome.Failure(model: "", message: "\(error)"))
    }
  }

  private func record(_ outcome: BundleOutcome, actor: String) async throws {
    func list(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
    var fields: [String: JSONValue] = [
      "event": "done", "serial": .integer(outcome.serial), "activated": list(outcome.activated),
      "removed": list(outcome.removed), "failures": list(outcome.failures.map(\.message.brief)),
      "metadataVersion": .integer(outcome.metadataVersion), "acknowledged": .integer(Int64(outcome.acknowledged)),
    ]
    fields["policies"] = outcome.policies.map { .string($0) }
    try await audit(.bundle, actor, fields)
  }

  func audit(_ kind: AuditKind, _ actor: String, _ fields: [String: JSONValue]) async throws {
    _ = try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
  }

  private func directorRoot() async throws -> [UInt8]? { try await registry.directorState()?.root }

  /// Who this box is, and how far it has come with bundles.
  func status() async throws -> JSONValue {
    let enrolment = await sync.currentEnrolment()
    let pending = try PendingEnrollment.load(from: stateDirectory)
    return [
      "deviceID": .string(identity.id.hex), "enrolled": .bool(enrolment != nil),
      "hub": (enrolment?.hub ?? pending?.hub).map { .string($0) } ?? .null, "isAnswerAwaited": .bool(pending != nil),
      "serial": try await tables.value(Self.serialKey).flatMap { Int64($0) }.map { .integer($0) } ?? .null,
    ]
  }
}
