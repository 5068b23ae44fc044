import Fleet
import FoundationEssentials
import Testing
import Trust

/// A box with nothing wrong; each test bends one thing.
struct Facts {
  static let now: Int64 = 1_795_651_200
  let key = SigningKey.generate()
  var device: ComplianceReport.Device
  var models = [
    ComplianceReport.Model(
      name: "tiny", version: "1.0", state: "active", sha256: Digest(of: [1]), length: 105_454_432,
      architecture: "llama",
      publisher: "Ann", license: "Apache-2.0", signers: ["8f3a"], installedAt: now - 500, problem: nil)
  ]
  var roles = [
    ComplianceReport.Role(
      name: "admin", summary: "everything", allows: ["role.manage on role:*", "infer on model:*"], holders: ["uid:0"])
  ]
  var tokens = [
    ComplianceReport.Token(name: "app", createdAt: now - 100, createdBy: "uid:0(root)", expiresAt: now + 100)
  ]
  var audit = ComplianceReport.Audit(
    size: 40, root: Digest(of: [2]), head: "skerry/x\n40\nAAAA\n", cosignedSize: 40, cosignedAt: now - 50,
    witness: "hub+1+x",
    hashesRebuiltFrom: nil)
  var repository = ComplianceReport.Repository(versions: ["root": 1], expires: ["timestamp": now + 1])
  var sync = ComplianceReport.Sync(lastSuccess: now - 60, lastError: nil, outbox: 0)
  var sandbox = ComplianceReport.Sandbox(mode: "required", isActive: true, reason: nil)
  var now = Self.now
  var clock = ComplianceReport.Clock(wall: now, floor: now - 60, doubt: nil, source: "reply")

  var policy: ComplianceReport.Policy?

  init() {
    device = ComplianceReport.Device(
      id: "0123456789abcdef", name: "box-1", version: "0.1.0", key: "skerry/x+1+y", isEnrolled: true,
      hub: "https://hub.example:8443", uptimeSeconds: 90_000, diskFree: 50 << 30)
  }

  func report() -> ComplianceReport {
    ComplianceReport(
      generatedAt: now, device: device, models: models, roles: roles, tokens: tokens, audit: audit,
      repository: repository, sync: sync, sandbox: sandbox, clock: clock, policy: policy)
  }

  var found: [String] { report().findings.map(\.id) }
}

@Suite struct ComplianceReportTests {
  @Test func aBoxAsItShouldBeHasNoFindings() {
    #expect(Facts().report().findings == [])
    #expect(Facts().report().html().contains("Nothing found wrong"))
  }

  @Test func whatIsWrongIsFound() {
    func found(_ change: (inout Facts) -> Void) -> [String] {
      var facts = Facts()
      change(&facts)
      return facts.found
    }
    #expect(found { $0.models[0].state = "corrupt" } == ["model-corrupt"])
    #expect(found { $0.models[0].problem = "the GGUF is truncated" } == ["model-problem"])
    #expect(found { $0.models[0].signers = [] } == ["model-unsigned"])
    #expect(found { $0.device.isEnrolled = false } == ["not-enrolled"])
    #expect(found { $0.device.diskFree = 1 << 20 } == ["disk-nearly-full"])
    #expect(found { $0.sync.lastSuccess = nil } == ["never-synced"])
    #expect(found { $0.sync.lastSuccess = Facts.now - 31 * 86_400 } == ["sync-overdue"])
    #expect(found { $0.repository.expires["timestamp"] = Facts.now } == ["metadata-expired"])
    #expect(found { $0.sandbox.isActive = false } == ["engine-unsandboxed"])
    #expect(found { $0.roles[0].holders.append("local") } == ["everyone-manages"])
    #expect(found { $0.tokens[0].expiresAt = nil } == ["token-without-end"])
    #expect(found { $0.tokens[0].expiresAt = Facts.now } == ["token-expired"])
    #expect(found { $0.repository.refusesAt = Facts.now } == [], "nothing has expired")
    #expect(
      found {
        $0.repository.expires["timestamp"] = Facts.now - 9
        $0.repository.refusesAt = Facts.now
      } == ["models-stale"])
    #expect(found { $0.clock.doubt = "behind" } == ["clock-wrong"])
    #expect(found { $0.clock.aheadOfHub = 2 * 86_400 } == ["clock-ahead"])
    #expect(found { $0.clock.refused = "it is too late" } == ["time-refused"])
    func audit(_ cosigned: UInt64, rebuilt: UInt64? = nil) -> ComplianceReport.Audit {
      ComplianceReport.Audit(
        size: 40, root: Digest(of: [2]), head: "h\n", cosignedSize: cosigned, cosignedAt: nil, witness: nil,
        hashesRebuiltFrom: rebuilt)
    }
    #expect(found { $0.audit = audit(0) } == ["audit-never-cosigned"])
    #expect(found { $0.audit = audit(39) } == ["audit-uncosigned-tail"])
    #expect(found { $0.audit = audit(40, rebuilt: 7) } == ["audit-hashes-rebuilt"])
  }

  @Test func theWorstComesFirstAndEveryFindingSaysWhatToDo() {
    var facts = Facts()
    facts.tokens[0].expiresAt = nil
    facts.sandbox.isActive = false
    facts.models[0].state = "corrupt"
    let findings = facts.report().findings
    #expect(findings.map(\.severity) == [.critical, .warning, .notice])
    #expect(findings.allSatisfy { !$0.message.isEmpty && !$0.remedy.isEmpty && $0.subject.contains(":") })
  }

  @Test func onlyTheDevicesSignatureMakesItTheDevicesReport() throws {
    let facts = Facts()
    let report = facts.report()
    let envelope = try report.signed(by: facts.key, keyID: "0123456789abcdef")
    #expect(ComplianceReport(verifying: envelope, key: facts.key.verifyingKey) == report)
    #expect(ComplianceReport(verifying: envelope, key: SigningKey.generate().verifyingKey) == nil)
    let other = DSSEEnvelope.sign(payload: try report.encoded(), type: "application/json", key: facts.key, keyID: "")
    #expect(ComplianceReport(verifying: other, key: facts.key.verifyingKey) == nil)
    let nothing = DSSEEnvelope.sign(payload: [], type: ComplianceReport.payloadType, key: facts.key, keyID: "")
    #expect(ComplianceReport(verifying: nothing, key: facts.key.verifyingKey) == nil)
  }

  /// Every text in the report comes from somewhere else: none of it becomes markup.
  @Test func noTextBecomesMarkup() throws {
    let hostile = "<script>alert(1)</script>\"'&\u{202E}\u{0}<img src=x>"
    var value = try JSONValue(encoding: Facts().report())
    func poisoned(_ value: JSONValue, _ key: String) -> JSONValue {
      switch value {
      // Digests and severities are checked types, not text.
      case .string(let text): ["sha256", "root", "severity"].contains(key) ? value : .string(text + hostile)
      case .array(let elements): .array(elements.map { poisoned($0, key) })
      case .object(let members): .object(Dictionary(uniqueKeysWithValues: members.map { ($0, poisoned($1, $0)) }))
      default: value
      }
    }
    value = poisoned(value, "")
    let page = (try value.decoded(as: ComplianceReport.self)).html()
    #expect(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"))
    #expect(
      !page.contains("<script") && !page.contains("<img") && !page.contains("\u{202E}") && !page.contains("\u{0}"))
  }

  @Test func thePageStandsAloneAndNamesWhatMatters() {
    var facts = Facts()
    facts.models[0].state = "corrupt"
    let page = facts.report().html()
    for text in [
      "tiny 1.0", Digest(of: [1]).hex, "8f3a", "uid:0", "role.manage on role:*", "0123456789abcdef",
      Digest(of: [2]).hex,
      "100.5 MiB", "2026-11-26T00:00:00Z", "1 critical", "Run skerry sync to mend them",
    ] {
      #expect(page.contains(text), "\(text)")
    }
    #expect(page.hasPrefix("<!doctype html>\n"))
    for outside in ["src=", "href=", "url(", "http://", "@import", "<link"] {
      #expect(!page.contains(outside), "\(outside)")
    }
  }
}
