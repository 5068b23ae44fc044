import FoundationEssentials
import Models
import Testing
import Trust

@testable import Fleet

@Suite struct AdmissionTests {
  private let key = SigningKey.generate()
  private var device: DeviceID { DeviceID(key: key.verifyingKey) }

  private func target(_ name: String, _ version: String, _ content: String = "") -> TUFTarget {
    TUFTarget(
      path: "models/\(name)/\(version)/\(name).gguf", length: 5,
      sha256: Digest(of: Array("\(name) \(version) \(content)".utf8)),
      custom: [
        "skerry": [
          "kind": "model", "format": "gguf", "name": .string(name), "version": .string(version),
          "architecture": "llama", "contextLength": 64,
          "index": ["length": 60, "sha256": .string(Digest(of: Array("\(name)\(version)".utf8)).hex)],
        ]
      ])
  }

  private func statement(_ targets: [TUFTarget], device id: DeviceID? = nil) throws -> DirectorStatement {
    let bytes = try TUFWriter.targets(
      version: 1, expires: Date(timeIntervalSince1970: 4_000_000_000), targets: targets
    ).bound(to: TUFBinding(device: (id ?? device).hex)).signed(by: [key])
    return try DirectorStatement(TUFTargets(TUFDocument(parsing: bytes, as: .targets)))
  }

  private func decide(
    _ said: DirectorStatement?, images: [TUFTarget], known: [TUFTarget] = [], floors: [String: String] = [:],
    unclear: Set<String> = []
  ) throws -> Admission {
    try Admission(
      device: device, statement: said,
      images: Dictionary(uniqueKeysWithValues: images.map { ($0.path, Admission.Image($0, signers: ["k"])) }),
      unclear: unclear, known: known.map { Admission.Known(try ModelManifest($0), wasActive: true) },
      floors: Dictionary(
        uniqueKeysWithValues: floors.compactMap { entry in
          ModelName(entry.key).flatMap { name in ModelVersion(entry.value).map { (name, $0) } }
        }))
  }

  private func wanted(_ admission: Admission) -> [String] { admission.wanted.map(\.manifest.label) }

  @Test func whatBothNameIsWanted() throws {
    let (one, two) = (target("one", "1"), target("two", "1"))
    let admission = try decide(statement([one]), images: [one, two])
    #expect(wanted(admission) == ["one:1"])
    #expect(admission.refusals.isEmpty && admission.kept.isEmpty)
    #expect(admission.wanted[0].signers == ["k"])
  }

  @Test func aStatementThatNamesNoBoxOrAnotherIsNone() throws {
    let one = target("one", "1")
    let other = DeviceID(key: SigningKey.generate().verifyingKey)
    #expect(throws: AttackReport.self) { try decide(statement([one], device: other), images: [one]) }
    let unbound = try TUFWriter.targets(version: 1, expires: Date(timeIntervalSince1970: 4_000_000_000), targets: [one])
      .signed(by: [key])
    #expect(throws: AttackReport.self) {
      try DirectorStatement(TUFTargets(TUFDocument(parsing: unbound, as: .targets)))
    }
    let many = (0...DirectorStatement.longest).map { target("m\($0)", "1") }
    #expect(throws: AttackReport.self) { try statement(many) }
  }

  @Test func withoutAStatementWhatIsHereStaysAndNothingComes() throws {
    let (one, two) = (target("one", "1"), target("two", "1"))
    let admission = try decide(nil, images: [one, two], known: [one])
    #expect(wanted(admission) == ["one:1"] && admission.kept.isEmpty)
    // The publisher's withdrawal counts all the same.
    #expect(wanted(try decide(nil, images: [two], known: [one])) == [])
    // Not known is not withdrawn.
    let unclear = try decide(nil, images: [], known: [one], unclear: [one.path])
    #expect(wanted(unclear) == [] && unclear.kept.map(\.label) == ["one:1"])
  }

  @Test func aDisputedModelStaysAsItIs() throws {
    let (one, bent) = (target("one", "1"), target("one", "1", "bent"))
    for (said, image) in [(bent, one), (one, bent)] {
      let admission = try decide(statement([said]), images: [image], known: [one])
      #expect(admission.refusals.map(\.report.attack) == [.directorDisagrees])
      #expect(wanted(admission) + admission.kept.map(\.label) == ["one:1"])
      #expect(admission.wanted.allSatisfy { $0.manifest.sha256 == one.sha256 })
    }
    let newer = target("one", "2")
    let foreign = try decide(statement([newer]), images: [one], known: [one])
    #expect(foreign.refusals.map(\.report.attack) == [.foreignImage])
    #expect(wanted(foreign) == ["one:1"])
    // What the publisher withdrew goes, though the director clings to it.
    let withdrawn = try decide(statement([one]), images: [newer], known: [one])
    #expect(wanted(withdrawn) == [] && withdrawn.kept.isEmpty)
    let asked = try decide(statement([one]), images: [], known: [one], unclear: [one.path])
    #expect(asked.refusals.isEmpty && asked.kept.map(\.label) == ["one:1"])
  }

  @Test func noStepBackWithoutASignature() throws {
    let (old, new) = (target("one", "1.9"), target("one", "1.10"))
    let images = [old, new]
    let refused = try decide(statement([old]), images: images, known: [new], floors: ["one": "1.10"])
    #expect(refused.refusals.map(\.report.attack) == [.rollback] && wanted(refused) == ["one:1.10"])
    // Also when the newer one is gone by now.
    let gone = try decide(statement([old]), images: images, floors: ["one": "1.10"])
    #expect(gone.refusals.map(\.report.attack) == [.rollback] && wanted(gone) == [])
    let marked = try decide(
      statement([DirectorStatement.target(old, isRollback: true)]), images: images, known: [new],
      floors: ["one": "1.10"])
    #expect(wanted(marked) == ["one:1.9"] && marked.wanted[0].rollbackFrom?.description == "1.10")
    // Forward there is nothing to be signed, and beside a newer one what is here already stays.
    let forward = try decide(
      statement([DirectorStatement.target(new, isRollback: true)]), images: images, known: [old], floors: ["one": "1.9"]
    )
    #expect(wanted(forward) == ["one:1.10"] && forward.wanted[0].rollbackFrom == nil)
    #expect(
      wanted(try decide(statement([old, new]), images: images, known: images, floors: ["one": "1.10"])).count == 2)
  }

  /// Random words of both sides and random boxes: the rule holds whatever they say.
  @Test func theRuleHoldsForAll() throws {
    var random = SystemRandomNumberGenerator()
    let pool = ["a", "b", "c"].flatMap { name in
      ["1", "2", "3"].flatMap { version in ["", "x"].map { target(name, version, $0) } }
    }
    for _ in 0..<3000 {
      func some() -> [TUFTarget] {
        let chosen = pool.filter { _ in Int.random(in: 0..<4, using: &random) == 0 }
        return Dictionary(chosen.map { ($0.path, $0) }, uniquingKeysWith: { _, last in last }).values
          .sorted { $0.path < $1.path }
      }
      let (images, known) = (some(), some())
      let said = some().map { DirectorStatement.target($0, isRollback: Bool.random(using: &random)) }
      let floors = Dictionary(
        uniqueKeysWithValues: ["a", "b", "c"].map { ($0, String(Int.random(in: 1...3, using: &random))) })
      let hasStatement = Bool.random(using: &random)
      let admission = try decide(
        hasStatement ? statement(said) : nil, images: images, known: known, floors: floors)
      let manifests = try known.map { try ModelManifest($0) }
      for model in admission.wanted {
        let manifest = model.manifest
        let isHere = manifests.contains(manifest)
        let image = images.first { $0.path == manifest.targetPath }
        #expect(image?.sha256 == manifest.sha256)
        guard !isHere else { continue }
        let named = said.first { $0.path == manifest.targetPath }
        #expect(hasStatement && named?.sha256 == manifest.sha256)
        let isMarked = named?.custom?["skerryDirector"]?["rollback"] == true
        let floor = floors[manifest.name.description].flatMap { ModelVersion($0) }
        #expect(manifest.version >= (floor ?? manifest.version) || isMarked)
      }
    }
  }
}

@Suite struct AssignmentTests {
  @Test func wordsChoose() {
    func target(_ name: String, _ version: String) -> TUFTarget {
      TUFTarget(
        path: "models/\(name)/\(version)/\(name).gguf", length: 5, sha256: Digest(of: Array("\(name)\(version)".utf8)),
        custom: [
          "skerry": [
            "kind": "model", "format": "gguf", "name": .string(name), "version": .string(version),
            "architecture": "llama", "contextLength": 64,
            "index": ["length": 60, "sha256": .string(Digest(of: []).hex)],
          ]
        ])
    }
    let all = [target("a", "1.9"), target("a", "1.10"), target("b", "1"), target("notes", "x")]
    func choose(_ words: [String]?) -> [String] {
      Assignment(words).choose(among: all).map {
        $0.target.path.split(separator: "/")[1...2].joined(separator: ":") + ($0.isRollback ? "!" : "")
      }
    }
    #expect(choose(nil) == ["a:1.10", "b:1", "notes:x"])
    #expect(choose([]) == [])
    #expect(choose(["a"]) == ["a:1.10"])
    #expect(choose(["a:1.9", "ghost", "a:7"]) == ["a:1.9"])
    #expect(choose(["*", "a=1.9"]) == ["a:1.9!", "b:1", "notes:x"])
    #expect(choose(["a", "a:1.9"]) == ["a:1.10", "a:1.9"])
    #expect(choose(["a:1.10", "a=1.10"]) == ["a:1.10!"])
    for word in ["a", "a:1", "a=1", "*"] { #expect(Assignment.isWord(word)) }
    for word in ["", ":", "a:", "=1", "../x", "A", "a:1:2", "a b", "**"] {
      #expect(!Assignment.isWord(word), "\(word)")
    }
    let name = ModelName("a")
    let version = ModelVersion("1.9")
    if let name, let version {
      #expect(Assignment(nil).rollingBack(name, to: version).words == ["*", "a=1.9"])
      #expect(Assignment(["b", "a", "a:2"]).rollingBack(name, to: version).words == ["b", "a=1.9"])
    }
  }
}
