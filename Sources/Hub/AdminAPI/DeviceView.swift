import Fleet
import Models
import Trust

/// Something about a box that its operator should know.
public struct Finding: Hashable, Sendable {
  public enum Severity: String, Sendable { case note, warning, critical }
  public let severity: Severity
  public let text: String
}

/// A box as operators see it, in the admin API, on the command line and on the dashboard.
public struct DeviceView: Sendable {
  public let device: DeviceRecord
  public let report: StoredReport?
  /// The worst first.
  public let findings: [Finding]

  public init(_ device: DeviceRecord, report: StoredReport?, hub: RepositoryVersions, now: Int64) {
    self.device = device
    self.report = report
    let found = DeviceView.findings(device, report, hub, now)
    findings = [Finding.Severity.critical, .warning, .note].flatMap { level in found.filter { $0.severity == level } }
  }

  private static func findings(
    _ device: DeviceRecord, _ report: StoredReport?, _ hub: RepositoryVersions, _ now: Int64
  ) -> [Finding] {
    var found: [Finding] = []
    func add(_ severity: Finding.Severity, _ text: String) { found.append(Finding(severity: severity, text: text)) }
    if device.revokedAt != nil {
      add(.note, "revoked: its requests are refused")
      return found
    }
    let silent = now - device.lastSeen
    if silent > 7 * 86400 { add(.warning, "not seen for \(silent / 86400) days") }
    guard let state = device.state else {
      add(.note, "has not synced yet")
      return found
    }
    for model in state.models where model.state == "corrupt" {
      add(.critical, "the stored weights of \(model.name) \(model.version) don't match their digest")
    }
    for word in device.assigned ?? [] {
      guard let name = Assignment.name(of: word)?.description,
        !state.models.contains(where: { $0.name == name && $0.state == "active" })
      else { continue }
      add(.warning, "\(name) is assigned and not active")
    }
    let cosigned = device.checkpoint?.size ?? 0
    if state.audit.size < cosigned {
      add(.critical, "the audit log is shorter (\(state.audit.size)) than the head that was cosigned (\(cosigned))")
    } else if state.audit.size == cosigned, let head = device.checkpoint, head.root != state.audit.root {
      add(.critical, "the audit log differs from the head that was cosigned")
    } else if state.audit.size > cosigned {
      add(.note, "\(state.audit.size - cosigned) audit records are not cosigned yet")
    }
    if state.sandbox != "active" { add(.warning, "the engine's sandbox: \(state.sandbox)") }
    if hub.timestamp > 0, state.repository.targets < hub.targets {
      add(.note, "behind: it has targets version \(state.repository.targets), the hub \(hub.targets)")
    }
    guard let report else {
      add(.note, "has not sent a report yet")
      return found
    }
    if !report.isSigned { add(.critical, "its report is not signed with its key") }
    return found + reported(report)
  }

  /// What the hub sees for itself, and fresher: a report that came in a sync was made before that sync had ended.
  private static let firstHand: Set = [
    "not-enrolled", "never-synced", "sync-overdue", "audit-never-cosigned", "audit-uncosigned-tail", "model-corrupt",
    "engine-unsandboxed",
  ]

  /// The other findings in the box's own report; what another version writes there is left out.
  private static func reported(_ report: StoredReport) -> [Finding] {
    (report.body["findings"]?.array ?? []).prefix(50).compactMap { value in
      guard let finding = try? value.decoded(as: ComplianceFinding.self), !firstHand.contains(finding.id) else {
        return nil
      }
      let severity: Finding.Severity =
        switch finding.severity {
        case .critical: .critical
        case .warning: .warning
        case .notice: .note
        }
      return Finding(severity: severity, text: String("\(finding.message) \(finding.remedy)".prefix(500)))
    }
  }

  public var json: JSONValue { .object(members) }

  /// With the report and the last events.
  public func detailedJSON(events: [StoredEvent]) -> JSONValue {
    var members = members
    if let report {
      members["report"] = [
        "created": .integer(report.createdAt), "received": .integer(report.receivedAt),
        "signed": .bool(report.isSigned), "body": report.body,
      ]
    }
    members["checkpoint"] = device.checkpoint.map { .string($0.note) } ?? .null
    members["events"] = .array(
      events.map { event in
        [
          "id": .string(event.id), "kind": .string(event.kind), "created": .integer(event.createdAt),
          "received": .integer(event.receivedAt), "body": event.body,
        ]
      })
    return .object(members)
  }

  /// Whose own signature a model bears, from the box's last report by the model's digest.
  public var publishers: [String: String] {
    var found: [String: String] = [:]
    for model in (report?.body["models"]?.array ?? []).prefix(1000) {
      guard let digest = model["sha256"]?.string, let value = model["publisherSignature"] else { continue }
      found[digest] = PublisherSignature(value)?.signer
    }
    return found
  }

  private var members: [String: JSONValue] {
    let state = device.state
    let publishers = publishers
    return [
      "id": .string(device.id.hex), "name": .string(device.name), "publicKey": .string(device.key.hex),
      "agentVersion": .string(device.agentVersion), "enrolled": .integer(device.enrolledAt),
      "lastSeen": .integer(device.lastSeen), "revoked": .bool(device.revokedAt != nil),
      "policy": report?.body["policy"] ?? .null,
      "assigned": device.assigned.map { .array($0.map { .string($0) }) } ?? .null,
      "models": .array(
        (state?.models ?? []).map { model in
          [
            "name": .string(model.name), "version": .string(model.version), "sha256": .string(model.sha256),
            "state": .string(model.state), "signer": publishers[model.sha256].map { .string($0) } ?? .null,
          ]
        }),
      "audit": [
        "size": .integer(Int64(clamping: state?.audit.size ?? 0)),
        "root": state.map { .string($0.audit.root.hex) } ?? .null,
        "cosignedSize": .integer(Int64(clamping: device.checkpoint?.size ?? 0)),
        "cosigned": device.checkpoint.map { .integer($0.cosignedAt) } ?? .null,
      ],
      "repository": state.flatMap { try? JSONValue(encoding: $0.repository) } ?? .null,
      "outbox": .integer(Int64(state?.outbox ?? 0)), "sandbox": state.map { .string($0.sandbox) } ?? .null,
      "reported": device.reportedAt.map { .integer($0) } ?? .null,
      "findings": .array(
        findings.map { ["severity": .string($0.severity.rawValue), "text": .string($0.text)] }),
    ]
  }
}
