import Access
import Fleet
import Host
import Trust

/// The fleet's policy as this box holds it.
struct FleetStanding: Sendable {
  /// What the database says of it; nil: it is gone from there.
  var row: FleetPolicyRow?
  /// Nil: nothing that the fleet signed can be read here.
  var policy: FleetPolicy?
  /// Why it is not believed whole; nil: it is as it was signed.
  var damage: String?

  /// Unix seconds of its end, as long as it is believed.
  var end: Int64? { damage == nil ? policy?.expires : nil }

  func isReduced(at time: Int64) -> Bool { end.map { $0 <= time } ?? true }

  /// With what the box adds of its own.
  func composed(_ file: Policy, _ stored: [Binding], at time: Int64) throws(PolicyError) -> CombinedPolicy {
    let known = try known()
    return isReduced(at: time)
      ? known.reduced(with: file, bound: stored) : known.combined(with: file, bound: stored)
  }

  private func known() throws(PolicyError) -> FleetPolicy {
    if let policy { return policy }
    return try FleetStanding.unknown
  }

  /// Where not even the stale roles are known: whoever is on the box can see what is wrong, and a sync mends it.
  private static var unknown: FleetPolicy {
    get throws(PolicyError) {
      try FleetPolicy(
        parsing: Array(
          """
          {version: 1, serial: 1, expires: "1970-01-01T00:00:00Z", staleRoles: ["look"], policy: {version: 1,
           roles: {look: {summary: "see how the box is", allow: [{verbs: ["status.read"], resources: ["box:*"]},
             {verbs: ["model.list"], resources: ["model:*"]}, {verbs: ["report.read"], resources: ["report:*"]}]}},
           bindings: [{role: "look", subjects: ["local"]}]}}
          """.utf8))
    }
  }
}

/// A policy of the fleet's that this box did not take.
public struct FleetPolicyRefused: Error, Sendable, Hashable, CustomStringConvertible {
  public let name: String
  public let serial: Int64
  public let sha256: Digest
  public let reason: String

  public var description: String { "the fleet's policy \(name), serial \(serial), is refused: \(reason)" }
}

extension AccessControl.State {
  /// What decisions would be made from at this time, in Unix seconds.
  func composed(file: Policy? = nil, stored: [Binding]? = nil, at time: Int64) throws -> CombinedPolicy {
    let (file, stored) = (file ?? self.file, stored ?? self.stored)
    if let fleet { return try fleet.composed(file, stored, at: time) }
    return CombinedPolicy(policy: try AccessControl.merge(file, stored), ignored: [])
  }

  /// Takes over what `composed` makes.
  mutating func recompose(at time: Int64) throws {
    let made = try composed(at: time)
    (policy, ignored) = (made.policy, made.ignored)
    isReduced = fleet?.isReduced(at: time) ?? false
  }
}

extension AccessControl {
  /// The fleet's policy ends by itself when its time has come: before the state is looked at.
  func settle() {
    guard state.withLock({ $0.fleet?.end != nil }) else { return }
    let time = now()
    state.withLock { state in
      guard let fleet = state.fleet, state.isReduced != fleet.isReduced(at: time) else { return }
      do { try state.recompose(at: time) } catch {
        Log.shared.error("the policy can't be put together", ["reason": "\(error)"])
      }
    }
  }

  /// From now on decisions are made by this policy of the fleet's.
  func hold(_ standing: FleetStanding) throws {
    let time = now()
    try state.withLock { state in
      let before = state.fleet
      state.fleet = standing
      do { try state.recompose(at: time) } catch {
        state.fleet = before
        throw error
      }
      state.refusal = nil
    }
  }

  /// How the fleet's policy stands: `in force`, `stale` or `damaged`; nil: the box has had none.
  var fleetState: String? {
    settle()
    return state.withLock { state in
      state.fleet.map { $0.damage != nil ? "damaged" : state.isReduced ? "stale" : "in force" }
    }
  }

  /// The fleet's policy for people and programs; null: the box has had none.
  func fleetJSON() -> JSONValue {
    guard let word = fleetState else { return .null }
    let (fleet, ignored) = state.withLock { ($0.fleet, $0.ignored) }
    let (row, policy) = (fleet?.row, fleet?.policy)
    return [
      "name": row.map { .string($0.name) } ?? .null, "serial": row.map { .integer($0.serial) } ?? .null,
      "sha256": row.map { .string($0.sha256.hex) } ?? .null, "state": .string(word),
      "problem": fleet?.damage.map { .string($0) } ?? .null,
      "expires": policy.map { .integer($0.expires) } ?? .null,
      "staleRoles": .array((policy?.staleRoles ?? []).map { .string($0) }),
      "ceiling": policy?.ceiling.map { .array($0.words.map { .string($0) }) } ?? .null,
      "adopted": row.map { .integer($0.adoptedAt) } ?? .null,
      "replayed": row.map { .integer(Int64($0.replayed)) } ?? .null,
      "changed": row.map { .integer(Int64($0.changed)) } ?? .null,
      "ignored": .array(ignored.map { ["path": .string($0.path), "problem": .string($0.problem)] }),
    ]
  }

  /// The last policy of the fleet's that was refused since the agent began, and not taken since.
  func refusalJSON() -> JSONValue {
    guard let refusal = state.withLock(\.refusal) else { return .null }
    return [
      "name": .string(refusal.name), "serial": .integer(refusal.serial), "sha256": .string(refusal.sha256.hex),
      "reason": .string(refusal.reason),
    ]
  }
}

extension AccessControl {
  /// The fleet's policy for the compliance report; nil: the box has had none, and refused none.
  func fleetReport() -> ComplianceReport.Policy? {
    let word = fleetState
    let (fleet, ignored, refusal) = state.withLock { ($0.fleet, $0.ignored, $0.refusal) }
    guard word != nil || refusal != nil else { return nil }
    return ComplianceReport.Policy(
      name: fleet?.row?.name ?? refusal?.name, serial: fleet?.row?.serial, sha256: fleet?.row?.sha256.hex,
      expires: fleet?.policy?.expires, state: word ?? "none", ignored: ignored.count, refused: refusal?.reason)
  }
}
