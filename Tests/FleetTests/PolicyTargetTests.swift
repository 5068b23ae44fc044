import FoundationEssentials
import Models
import Testing
import Trust

@testable import Fleet

@Suite struct PolicyTargetTests {
  private let key = SigningKey.generate()
  private var device: DeviceID { DeviceID(key: key.verifyingKey) }

  private func policy(_ name: String, serial: Int64 = 1) throws -> PolicyTarget {
    PolicyTarget(
      name: try #require(ModelName(name)), serial: serial, length: 7,
      sha256: Digest(of: Array("\(name) \(serial)".utf8)))
  }

  private func decide(_ named: [TUFTarget], images: [TUFTarget], unclear: Set<String> = []) throws -> Admission {
    let bytes = try TUFWriter.targets(
      version: 1, expires: Date(timeIntervalSince1970: 4_000_000_000), targets: named
    ).bound(to: TUFBinding(device: device.hex)).signed(by: [key])
    return try Admission(
      device: device, statement: try DirectorStatement(TUFTargets(TUFDocument(parsing: bytes, as: .targets))),
      images: Dictionary(uniqueKeysWithValues: images.map { ($0.path, Admission.Image($0, signers: ["k"])) }),
      unclear: unclear, known: [], floors: [:])
  }

  @Test func aTargetIsReadAsItWasWritten() throws {
    let made = try policy("ships", serial: 3)
    #expect(PolicyTarget(made.target) == made && made.path == "policies/ships.json5")
    #expect(made.filePath == "policies/\(made.sha256.hex).ships.json5")
    func bent(_ path: String? = nil, length: UInt64 = 7, _ custom: JSONValue? = nil) -> TUFTarget {
      TUFTarget(
        path: path ?? made.path, length: length, sha256: made.sha256, custom: custom ?? made.target.custom ?? .null)
    }
    #expect(PolicyTarget(bent()) != nil)
    for wrong in [
      bent("policies/boats.json5"), bent("policies/a/ships.json5"), bent("models/ships.json5"), bent("policies/.json5"),
      bent(length: 0), bent(nil, .null), bent(nil, ["skerry": ["kind": "model", "name": "ships", "serial": 3]]),
      bent(nil, ["skerry": ["kind": "policy", "name": "ships", "serial": 0]]),
      bent(nil, ["skerry": ["kind": "policy", "name": "ships"]]),
    ] {
      #expect(PolicyTarget(wrong) == nil, "\(wrong)")
    }
  }

  @Test func whatBothNameToTheLetterIsAdmitted() throws {
    let one = try policy("default")
    let admission = try decide([one.target], images: [one.target])
    #expect(admission.policy == one && admission.refusals.isEmpty && admission.malformed.isEmpty)
    #expect(try decide([], images: [one.target]).policy == nil)
    func refused(_ named: [TUFTarget], _ images: [TUFTarget], _ attack: Attack) throws {
      let admission = try decide(named, images: images)
      #expect(admission.policy == nil && admission.refusals.map(\.report.attack) == [attack])
    }
    try refused([one.target], [], .foreignImage)
    let other = TUFTarget(
      path: one.path, length: 7, sha256: one.sha256,
      custom: ["skerry": ["kind": "policy", "name": "default", "serial": 9]])
    try refused([other], [one.target], .directorDisagrees)
    try refused(
      [TUFTarget(path: one.path, length: 7, sha256: Digest(of: [1]), custom: one.target.custom)], [one.target],
      .directorDisagrees)
    try refused([try policy("ships").target, one.target], [one.target, try policy("ships").target], .malformed)
    let none = TUFTarget(path: one.path, length: 7, sha256: one.sha256, custom: nil)
    try refused([none], [none], .malformed)
    // Nobody could be asked: no attack, and no change.
    let unclear = try decide([one.target], images: [], unclear: [one.path])
    #expect(unclear.policy == nil && unclear.refusals.isEmpty)
  }

  @Test func assignmentsChooseOnePolicy() throws {
    let all = [try policy("default").target, try policy("ships").target]
    func chosen(_ words: [String]?) -> [String] { Assignment(words).choose(among: all).map(\.target.path) }
    #expect(chosen(nil) == ["policies/default.json5"] && chosen([]) == ["policies/default.json5"])
    #expect(chosen(["*", "policies/ships"]) == ["policies/ships.json5"])
    // One that is gone is none: no other takes its place.
    #expect(chosen(["policies/boats"]) == [])
    #expect(
      Assignment.isWord("policies/ships") && !Assignment.isWord("policies/") && !Assignment.isWord("policies/a/b"))
    let ships = try #require(ModelName("ships"))
    #expect(Assignment(nil).deciding(by: ships).words == ["*", "policies/ships"])
    #expect(Assignment(["*", "policies/ships"]).deciding(by: nil).words == nil)
    #expect(Assignment(["tiny", "policies/ships"]).deciding(by: nil).words == ["tiny"])
    // Other models, the same policy.
    #expect(Assignment(["tiny", "policies/ships"]).assigning(["small"]).words == ["small", "policies/ships"])
    #expect(Assignment(["tiny", "policies/ships"]).assigning(nil).words == ["*", "policies/ships"])
    #expect(Assignment(["tiny"]).assigning(nil).words == nil)
    let name = try #require(ModelName("tiny"))
    let version = try #require(ModelVersion("1"))
    #expect(
      Assignment(["tiny", "policies/ships"]).rollingBack(name, to: version).words == ["policies/ships", "tiny=1"])
  }

  @Test func theReportTellsOfThePolicy() {
    func found(_ state: String, refused: String? = nil) -> [String] {
      var facts = Facts()
      facts.policy = ComplianceReport.Policy(
        name: "default", serial: 1, sha256: nil, expires: 5, state: state, ignored: 0, refused: refused)
      #expect(facts.report().html().contains(state))
      return facts.found
    }
    #expect(found("in force") == [] && found("stale") == ["policy-stale"] && found("damaged") == ["policy-damaged"])
    #expect(found("in force", refused: "x") == ["policy-refused"])
  }
}
