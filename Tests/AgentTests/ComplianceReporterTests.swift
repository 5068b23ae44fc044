import Access
import Agent
import Fleet
import Storage
import Testing
import Trust

@Suite struct ComplianceReporterTests {
  @Test func theReportSaysWhatTheLogAndThePolicySay() async throws {
    let directory = "/tmp/skerry-report-\(Hex.encode(SecureRandom.bytes(6)))"
    defer {
      for name in (try? DurableFile.names(in: directory)) ?? [] { try? DurableFile.remove("\(directory)/\(name)") }
    }
    let key = SigningKey.generate()
    let hub = SigningKey.generate()
    let audit = try AuditLog(directory: directory, key: key, origin: "skerry/abc")
    for _ in 0..<5 { try await audit.append(AuditEvent(kind: .decision, actor: "system", fields: ["allowed": true])) }
    var note = audit.signedHead()
    note.signatures.append(note.cosigned(name: "hub", key: hub, time: 1_700_000_000))
    let witness = NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    try audit.store(cosigned: note, by: witness)
    try await audit.append(AuditEvent(kind: .sync, actor: "system", fields: ["event": "done", "hub": "h"]))

    let text =
      #"{version: 1, roles: {chat: {summary: "talk", allow: [{verbs: ["infer"], resources: ["model:*"]}]}},"#
      + #" bindings: [{role: "chat", subjects: ["group:users", "token:app1"]}]}"#
    let policy = try Policy(parsing: Array(text.utf8))
    let device = ComplianceReport.Device(
      id: "abc", name: "box", version: "0.1.0", key: audit.deviceKey.vkey, isEnrolled: true, hub: "https://hub",
      uptimeSeconds: 5, diskFree: nil)
    let facts = ComplianceReporter.Facts(
      device: device, models: [], policy: policy, tokens: [], repository: ComplianceReport.Repository(),
      sync: ComplianceReport.Sync(lastSuccess: 1_799_999_000, lastError: nil, outbox: 2),
      sandbox: ComplianceReport.Sandbox(mode: "preferred", isActive: true, reason: nil))
    let reporter = ComplianceReporter(audit: audit, key: key, now: { 1_800_000_000 }, gather: { facts })
    let report = try #require(
      ComplianceReport(verifying: try await reporter.envelope(), key: key.verifyingKey))
    #expect(report.audit.size == 6 && report.audit.root == audit.head().root)
    #expect(report.audit.cosignedSize == 5 && report.audit.cosignedAt == 1_700_000_000)
    #expect(report.audit.uncosignedTail == 1 && report.audit.witness == witness.vkey)
    #expect(try SignedNote(parsing: Array(report.audit.head.utf8)).verified(by: audit.deviceKey))
    let role = try #require(report.roles.first { $0.name == "chat" })
    #expect(role.holders == ["group:users", "token:app1"] && role.allows == ["infer on model:*"])
    #expect(report.generatedAt == 1_800_000_000 && report.findings.map(\.id) == ["audit-uncosigned-tail"])
  }
}
