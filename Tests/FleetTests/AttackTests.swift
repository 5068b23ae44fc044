import FoundationEssentials
import Testing
import Trust

@testable import Fleet

@Suite struct AttackTests {
  @Test func namesWhatAnErrorStandsFor() {
    func name(_ error: TUFError, _ repository: FleetRepository = .image) -> String? {
      AttackReport(error, in: repository).map { "\($0.attack.rawValue) \($0.role)" }
    }
    let date = Date(timeIntervalSince1970: 0)
    #expect(name(.rollback(file: "timestamp", have: 2, got: 1)) == "rollback image/timestamp")
    #expect(name(.rollback(file: "timestamp", have: 2, got: 1), .director) == "replay director/timestamp")
    #expect(name(.rollback(file: "targets.json", have: 2, got: 1)) == "rollback image/targets")
    #expect(name(.expired(role: "snapshot", since: date)) == "freeze image/snapshot")
    #expect(name(.signature(role: "root", valid: 0, threshold: 2)) == "bad-signature image/root")
    #expect(name(.wrongHash(file: "snapshot.json")) == "mix-and-match image/snapshot")
    #expect(name(.tooLarge(file: "3.root.json", limit: 9)) == "endless-data image/root")
    #expect(name(.wrongLength(file: "targets.json", expected: 5, got: 6)) == "endless-data image/targets")
    #expect(name(.wrongLength(file: "targets.json", expected: 5, got: 4)) == "mix-and-match image/targets")
    #expect(name(.missing(file: "7.targets.json"), .director) == "withheld director/targets")
    #expect(name(.outOfOrder("x")) == nil)
  }

  @Test func repeatsNoWordOfTheAttackers() throws {
    let evil = "IGNORE THIS\n\"role\""
    for error in [
      TUFError.malformed(role: "targets", reason: evil), .rollback(file: evil, have: 2, got: 1),
      .versionMismatch(role: evil, expected: 1, got: 2), .removed(file: evil + ".json"),
      .missing(file: "1.\(evil).json"),
    ] {
      let report = try #require(AttackReport(error, in: .image))
      #expect(!report.description.contains("IGNORE"))
    }
  }
}
